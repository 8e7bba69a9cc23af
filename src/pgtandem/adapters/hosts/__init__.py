"""The kinds of machines: this one (over SSH, to come)."""
