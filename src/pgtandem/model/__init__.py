"""Frozen values: names, positions in the WAL, Topology, Observed, Plan and Step. No input or output, no clock."""
