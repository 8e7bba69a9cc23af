"""Who is the primary, or becomes it: what the servers say, and the file's first node only where there is nothing."""

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.facts import Absent, Known, Unknown
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
    promised = promised_primaries(observed)
    if promised:
        # Somebody may have told it to promote itself, and that may be under way: nobody else may be the primary now.
        if len(promised) > 1 or set(claims) - set(promised):
            raise _two_promised(promised, claims)
        return promised[0]
    if len(claims) == 1:
        return claims[0]
    if len(claims) > 1:
        raise _two_primaries(claims, observed)
    resting = resting_primary(observed)
    if resting is not None:
        return resting
    standbys = tuple(name for name, node in observed.nodes.items() if node.directory)
    _refuse_left_out(topology, observed, standbys)
    if standbys:
        raise PgtandemError(
            "PT-3002",
            f"no node of cluster {topology.cluster} is the primary",
            why=f"{_names(standbys)} {'has' if len(standbys) == 1 else 'have'} the data of a standby, and no data "
            "directory of a primary was found; a new primary made from nothing would not have those rows.",
            next_step="pgtandem failover   (or bring the old primary's data directory back)",
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


def claims_primary(node: ObservedNode) -> bool:
    """Whether a node's data directory would start as a primary: it is a whole cluster that no signal file makes a
    standby, and that did not last run as one."""
    data, control = node.directory, node.control
    if data is None or control is None or not data.ours:
        return False
    return not data.standby_signal and not data.recovery_signal and not control.was_standby


def seen_as_standby(node: ObservedNode) -> bool:
    """Whether a node is seen to be a standby, or to have no data at all."""
    if isinstance(node.reachable, Unknown) or isinstance(node.data, Unknown) or isinstance(node.postmaster, Unknown):
        return False
    if node.running is not None:
        return node.running.in_recovery
    if node.directory is None:
        return isinstance(node.data, Absent)
    if node.control is None or claims_primary(node) or is_fenced(node):
        return False
    # One that lives and cannot be asked: its control file tells what it runs as.
    return node.control.was_standby or node.directory.backup_label


def is_fenced(node: ObservedNode) -> bool:
    """Whether a node last ran as a primary, does not run now, and would start as a standby: a role change was cut off
    after the primary was stopped. A copy that never ran has a backup_label and is none."""
    data, control = node.directory, node.control
    if data is None or control is None or not data.ours or not data.standby_signal or data.backup_label:
        return False
    stopping = isinstance(node.postmaster, Known) and node.postmaster.value.state is PostmasterState.STOPPING
    return not control.was_standby and (isinstance(node.postmaster, Absent) or stopping)


def resting_primary(observed: Observed) -> NodeName | None:
    """The fenced primary that can go on, because nobody was promoted since: no node is on a later timeline.

    Only for a look in which everything is known and nobody runs as a primary or was chosen to be promoted.
    """
    latest = max((timeline_of(node) for node in observed.nodes.values()), default=0)
    found = [name for name, node in observed.nodes.items() if is_fenced(node) and timeline_of(node) == latest]
    return found[0] if len(found) == 1 else None


def promised_primaries(observed: Observed) -> tuple[NodeName, ...]:
    """The nodes that were chosen to be promoted and may be about to: nobody, they themselves neither, is on a later
    timeline than the note names."""
    latest = max((timeline_of(node) for node in observed.nodes.values()), default=0)
    return tuple(
        name
        for name, node in observed.nodes.items()
        if node.directory is not None and (node.directory.promotion or 0) >= latest > 0
    )


def timeline_of(node: ObservedNode) -> int:
    """The timeline of a server or of its data, 0 where there is none."""
    if node.running is not None:
        return node.running.timeline
    control = node.control
    return max(control.timeline, control.min_recovery_timeline or 0) if control else 0


def _two_promised(promised: tuple[NodeName, ...], claims: tuple[NodeName, ...]) -> PgtandemError:
    names = tuple(dict.fromkeys((*promised, *claims)))
    problems = [Problem(name, f"{name} was chosen to be promoted") for name in promised]
    problems += [Problem(name, f"{name} would start as a primary") for name in claims if name not in promised]
    return PgtandemError(
        "PT-3001",
        f"{_names(names)} could each become the primary",
        why="A failover was cut off. Whichever is started, the other must not be able to start as a primary any more.",
        next_step=f"pgtandem failover --to {promised[0]}",
        problems=tuple(problems),
    )


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
    """A primary that is to be stopped has the signal too: what it was when it last ran is in its control file."""
    signal = bool(node.directory and node.directory.standby_signal)
    return signal and (node.control is None or node.control.was_standby)


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
        next_step=f"pgtandem rejoin {names[0]}   (or {' or '.join(names[1:])}: the one whose rows since then may be "
        "taken back; they are kept aside)",
        problems=tuple(problems),
    )


def _names(names: tuple[NodeName, ...]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
