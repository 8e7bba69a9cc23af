"""Who is the primary, or becomes it: what the servers say, and the file's first node only where there is nothing."""

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.lsn import Lsn
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
    _refuse_left_out(topology, observed, standbys)
    if standbys:
        raise PgtandemError(
            "PT-3002",
            f"no node of cluster {topology.cluster} is the primary",
            why=f"{_names(standbys)} {'has' if len(standbys) == 1 else 'have'} the data of a standby, and no data "
            "directory of a primary was found; a new primary made from nothing would not have those rows.",
            next_step="bring the old primary's data directory back, or promote the standby that has received the most: "
            f"pg_ctl promote -D {topology.node(_furthest(observed, standbys)).data_directory}",
        )
    return topology.nodes[0].name


def _refuse_left_out(topology: Topology, observed: Observed, standbys: tuple[NodeName, ...]) -> None:
    """The topology file names no primary that is there, and a node that it no longer names has the rows."""
    left = [former for former in observed.former if former.observed.directory]
    primaries = [former for former in left if _is_primary(former.observed)]
    if primaries:
        what = f"the primary of cluster {topology.cluster}, {primaries[0].name}, is not in the topology file any more"
    elif left and not standbys:
        names = _names(tuple(former.name for former in left))
        what = f"what holds the data of cluster {topology.cluster}, {names}, is not in the topology file any more"
    else:
        return
    former = (primaries or left)[0]
    raise PgtandemError(
        "PT-3002",
        what,
        why=f"Its rows are in {former.data_directory}, and no other node is a primary that has them.",
        next_step=f"put [nodes.{former.name}] back with that data_directory",
    )


def _is_primary(node: ObservedNode) -> bool:
    return not node.running.in_recovery if node.running else claims_primary(node)


def _furthest(observed: Observed, standbys: tuple[NodeName, ...]) -> NodeName:
    """The standby that has received the most WAL, as far as that can be seen; the first one of several."""

    def position(name: NodeName) -> tuple[int, Lsn]:
        node = observed.nodes[name]
        server, control = node.running, node.control
        if server:
            return server.timeline, server.receive_lsn or server.replay_lsn or Lsn(0)
        return (control.timeline, max(control.min_recovery_lsn, control.checkpoint_lsn)) if control else (0, Lsn(0))

    return max(standbys, key=position)


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
    for name, node in (*observed.nodes.items(), *((former.name, former.observed) for former in observed.former)):
        if isinstance(node.reachable, Unknown):
            reason = node.reachable
            problems.append(Problem(name, f"could not look at {name}", reason.sentence, reason.next_step))
        elif isinstance(node.data, Unknown):
            problems.append(Problem(name, f"could not look at the data directory of {name}", node.data.sentence))
        elif isinstance(node.server, Unknown) and not (_surely_standby(node) or _on_its_way(node)):
            problems.append(Problem(name, f"could not ask the server of {name}", node.server.sentence))
    if problems:
        raise PgtandemError(
            "PT-3008",
            "cannot tell which node is the primary",
            why="No running primary was seen, and a node that cannot be asked may be it.",
            next_step="mend that, then run the same command again",
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
