"""The topology file of a cluster that was found: the usual text, with what somebody should know at its head."""

import textwrap

from pgtandem.topology.infer import Inferred
from pgtandem.topology.render import render_topology

_HEAD = """\
# Written by "pgtandem adopt" from what is there. Nothing was changed. Read it and correct it, then:
#   pgtandem doctor   what is wrong now, and why it matters
#   pgtandem plan     what pgtandem would do, each step with its reason
#   pgtandem apply    does it, after asking
"""


def adopted_text(inferred: Inferred, folder: str) -> str:
    lines = []
    for remark in inferred.remarks:
        lines += textwrap.wrap(remark, 100, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False)
    noticed = "# What was noticed:\n" + "\n".join(lines) + "\n" if lines else ""
    return f"{_HEAD}{noticed}\n{render_topology(inferred.topology, folder=folder)}"
