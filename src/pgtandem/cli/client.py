"""How a client reaches the cluster."""

import socket
from dataclasses import replace

from pgtandem.cli.named import named_node
from pgtandem.errors import PgtandemError
from pgtandem.model.names import SUPERUSER
from pgtandem.model.topology import Node, Topology
from pgtandem.observe.cluster import Observer
from pgtandem.ports import World
from pgtandem.postgres.certificates import VERIFY
from pgtandem.postgres.conninfo import render_uri

_DATABASE = "postgres"
_CONNECT_SECONDS = "3"
_PROBE_SECONDS = 3.0

#: Variables of libpq that would lead elsewhere than to this cluster, or with another password.
_MISLEADING = ("PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR", "PGPASSWORD", "PGLOADBALANCEHOSTS")


def client_uri(
    topology: Topology,
    passfile: str | None,
    *,
    root: str | None = None,
    node: str | None = None,
    read_only: bool = False,
    old_client: bool = False,
) -> str:
    """A libpq URI over all nodes, or one. The password is not in it: the passfile has it. `root` is the file with the
    certificates of the cluster's CA. `old_client` says that it is for a client before 14 (`is_old`).

    Raises PgtandemError PT-1006 for a node that the topology does not have.
    """
    nodes = _in_turn(topology, node, read_only=read_only)
    parameters = {} if node else {"target_session_attrs": _target(read_only, old_client)}
    parameters["connect_timeout"] = _CONNECT_SECONDS
    if passfile is not None:
        parameters["passfile"] = passfile
    if topology.tls is not None:
        parameters["sslmode"] = VERIFY
        if root is not None:
            parameters["sslrootcert"] = root
    return render_uri([(n.address, n.port) for n in nodes], SUPERUSER, _DATABASE, parameters)


def client_environment(
    topology: Topology,
    passfile: str | None,
    before: dict[str, str],
    *,
    root: str | None = None,
    node: str | None = None,
    read_only: bool = False,
    old_client: bool = False,
) -> dict[str, str]:
    """The same as variables of libpq: a client's own options (a database, a user) still win over them.

    Raises PgtandemError PT-1006 for a node that the topology does not have.
    """
    nodes = _in_turn(topology, node, read_only=read_only)
    variables = {key: value for key, value in before.items() if key not in _MISLEADING}
    variables |= {
        "PGHOST": ",".join(n.address for n in nodes),
        "PGPORT": ",".join(str(n.port) for n in nodes),
        "PGUSER": SUPERUSER,
        "PGDATABASE": _DATABASE,
        "PGCONNECT_TIMEOUT": _CONNECT_SECONDS,
        "PGTARGETSESSIONATTRS": "any" if node else _target(read_only, old_client),
    }
    if passfile is not None:
        variables["PGPASSFILE"] = passfile
    if topology.tls is not None:
        variables["PGSSLMODE"] = VERIFY
        if root is not None:
            variables["PGSSLROOTCERT"] = root
    return variables


def refuse_unbuilt(topology: Topology, world: World, passfile: str | None) -> None:
    """Raises PgtandemError PT-2007 for a cluster that was never built from here: nobody could connect to it."""
    if passfile is None and not world.workspace.built_nodes():
        raise PgtandemError(
            "PT-2007",
            f"cluster {topology.cluster} is not built",
            next_step="pgtandem up",
        )


def refuse_silent(topology: Topology, *, node: str | None = None) -> None:
    """Raises PgtandemError PT-2004 where no server listens at all: a client would say so once per node."""
    nodes = _nodes(topology, node)
    if any(_listens(n) for n in nodes):
        return
    what = f"{node} does not accept" if node else f"no node of cluster {topology.cluster} accepts"
    raise PgtandemError(
        "PT-2004",
        f"{what} connections",
        why=f"Nothing listens on {', '.join(f'{n.address} port {n.port}' for n in nodes)}.",
        next_step="pgtandem status   (what is wrong)   or   pgtandem up   (starts what does not run)",
    )


def _listens(node: Node) -> bool:
    try:
        socket.create_connection((node.address, node.port), _PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def _target(read_only: bool, old_client: bool) -> str:
    """Before 14 libpq has no word for standbys: the first host that answers then, of `standbys_first`."""
    if not read_only:
        return "read-write"
    return "any" if old_client else "prefer-standby"


def is_old(major: int) -> bool:
    """Whether a client of this major may not know target_session_attrs=prefer-standby (manual of 14, 34.1.2)."""
    return major < 14


async def standbys_first(topology: Topology, world: World) -> Topology:
    """The topology with its nodes in another order: standbys that run, then those that do not, the primary last."""
    observed = await Observer(topology, world).cluster()

    def rank(node: Node) -> int:
        server = observed.nodes[node.name].running
        return 1 if server is None else 0 if server.in_recovery else 2

    return replace(topology, nodes=tuple(sorted(topology.nodes, key=rank)))


def _in_turn(topology: Topology, node: str | None, *, read_only: bool) -> tuple[Node, ...]:
    """In the order in which a client tries them: who only reads is led to a delayed standby last."""
    nodes = _nodes(topology, node)
    return tuple(sorted(nodes, key=lambda n: n.apply_delay is not None)) if read_only else nodes


def _nodes(topology: Topology, node: str | None) -> tuple[Node, ...]:
    if node is None:
        return topology.nodes
    found = named_node(topology, node)
    assert found is not None
    return (topology.node(found),)
