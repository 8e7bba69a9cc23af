"""Nodes that the command line names."""

import difflib

from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.topology import Topology


def named_node(topology: Topology, name: str | None) -> NodeName | None:
    """The node of that name, None for None. Raises PgtandemError PT-1006 for one that the topology does not have."""
    if name is None or name in topology.names:
        return None if name is None else NodeName(name)
    close = difflib.get_close_matches(name, topology.names, 1)
    raise PgtandemError(
        "PT-1006",
        f'cluster {topology.cluster} has no node "{name}"',
        next_step=f'did you mean "{close[0]}"?' if close else f"its nodes are {', '.join(topology.names)}",
    )
