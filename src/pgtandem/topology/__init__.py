"""From TOML to Topology and back: all problems at once, each with its place and what to write instead."""
