"""Who is the primary, or becomes it: what the servers say, and the file's first node only where there is nothing."""

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode, PostmasterState
from pgtandem.model.topology import Topology


def decide_primary(topology: Topology, observed: Observed) -> NodeName:
    """The node that is the primary, or that will be built as it.

    Raises PgtandemError: PT-3001 when two could claim it, PT-3002 when none can and making one could lose data,
    PT-3008 when a fact is missing that decides it.
    """
    running = observed.primaries()
    if len(running) > 1:
        raise _two_primaries(running, observed)
    if len(running) == 1:
        return running[0]
    _refuse_unknown(observed)
    claims = tuple(name for name, node in observed.nodes.items() if claims_primary(node))
    if len(claims) == 1:
        return claims[0]
    if len(claims) > 1:
        raise _two_primaries(claims, observed)
    standbys = tuple(name for name, node in observed.nodes.items() if node.directory)
    if standbys:
        raise PgtandemError(
            "PT-3002",
            f"no node of cluster {topology.cluster} is the primary",
            why=f"{_names(standbys)} has the data of a standby, and no data directory of a primary was found; "
            "a new primary made from nothing would not have those rows.",
            next_step="bring the old primary's data directory back, or promote a standby: "
            f"pg_ctl promote -D {_data_directory(topology, standbys[0])}",
        )
    return topology.nodes[0].name


def claims_primary(node: ObservedNode) -> bool:
    """Whether a node's data directory would start as a primary: it is a whole cluster that no signal file makes a
    standby, and that did not last run as one."""
    data, control = node.directory, node.control
    if data is None or control is None or data.marker is None:
        return False
    return not data.standby_signal and not data.recovery_signal and not control.was_standby


def _refuse_unknown(observed: Observed) -> None:
    """Without a running primary, a node that could not be looked at may be it."""
    problems = []
    for name, node in observed.nodes.items():
        if isinstance(node.reachable, Unknown):
            problems.append(Problem(name, f"could not look at {name}", node.reachable.reason))
        elif isinstance(node.data, Unknown):
            problems.append(Problem(name, f"could not look at the data directory of {name}", node.data.reason))
        elif isinstance(node.server, Unknown) and not (_surely_standby(node) or _on_its_way(node)):
            problems.append(Problem(name, f"could not ask the server of {name}", node.server.reason))
    if problems:
        raise PgtandemError(
            "PT-3008",
            "cannot tell which node is the primary",
            why="No running primary was seen, and a node that cannot be asked may be it.",
            problems=tuple(problems),
        )


def _on_its_way(node: ObservedNode) -> bool:
    """Whether its server starts up or shuts down: then it is what its data directory says, as one that does not run."""
    on_its_way = (PostmasterState.STARTING, PostmasterState.STOPPING)
    return isinstance(node.postmaster, Known) and node.postmaster.value.state in on_its_way


def _surely_standby(node: ObservedNode) -> bool:
    return bool(node.directory and node.directory.standby_signal)


def _two_primaries(names: tuple[NodeName, ...], observed: Observed) -> PgtandemError:
    problems = []
    for name in names:
        node = observed.nodes[name]
        server, control = node.running, node.control
        if server:
            position = f"timeline {server.timeline}, at {server.current_lsn}"
        elif control:
            position = f"stopped, timeline {control.timeline}, last checkpoint at {control.checkpoint_lsn}"
        else:
            position = "position unknown"
        problems.append(Problem(name, f"{name} is a primary: {position}"))
    return PgtandemError(
        "PT-3001",
        f"{_names(names)} are primaries of the same cluster",
        why="Rows written to one are not in the other. Nothing is changed while that is so.",
        next_step="stop the one whose rows may be lost, and move its data directory away before it is copied anew",
        problems=tuple(problems),
    )


def _names(names: tuple[NodeName, ...]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _data_directory(topology: Topology, name: NodeName) -> str:
    return topology.node(name).data_directory
