"""How a client reaches the cluster."""

import difflib

from pgtandem.errors import PgtandemError
from pgtandem.model.names import SUPERUSER, NodeName
from pgtandem.model.topology import Topology
from pgtandem.postgres.conninfo import render_uri


def client_uri(topology: Topology, passfile: str | None, *, node: str | None = None, read_only: bool = False) -> str:
    """A libpq URI over all nodes, or one. The password is not in it: the passfile has it.

    Raises PgtandemError PT-1006 for a node that the topology does not have.
    """
    nodes = topology.nodes
    parameters = {"target_session_attrs": "prefer-standby" if read_only else "read-write", "connect_timeout": "3"}
    if node is not None:
        if node not in topology.names:
            close = difflib.get_close_matches(node, topology.names, 1)
            raise PgtandemError(
                "PT-1006",
                f'cluster {topology.cluster} has no node "{node}"',
                next_step=f'did you mean "{close[0]}"?' if close else f"its nodes are {', '.join(topology.names)}",
            )
        nodes = (topology.node(NodeName(node)),)
        del parameters["target_session_attrs"]
    if passfile is not None:
        parameters["passfile"] = passfile
    return render_uri([(n.address, n.port) for n in nodes], SUPERUSER, "postgres", parameters)
