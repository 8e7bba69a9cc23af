"""The traps of streaming replication: rules from (Topology, Observed, Examined) to findings. Pure.

One file per group of the catalogue, one function per rule. A rule says nothing about what could not be seen: `status`
and `plan` tell what is unknown, and a finding must be true.
"""
