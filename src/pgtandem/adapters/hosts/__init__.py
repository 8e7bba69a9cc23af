"""The kinds of machines: this one , and over SSH (not wired to the topology yet)."""
