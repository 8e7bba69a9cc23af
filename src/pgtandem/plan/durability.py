"""What each single failure would mean for a topology, in words: do writes stop, what can be lost."""

from collections.abc import Iterator

from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.model.plan import Consequence
from pgtandem.model.topology import Durability, Method, Topology
from pgtandem.plan.groups import hosts, zones


def single_failures(topology: Topology, primary: NodeName) -> tuple[Consequence, ...]:
    """One line per node that can fail, the primary first; then zones and hosts with several nodes, as far as their
    failure means more than that of each of their nodes."""
    rows = [_primary_fails(topology, primary)]
    candidates = topology.confirmers(primary)
    synchronous = topology.replication.synchronous
    for name in topology.names:
        if name == primary:
            continue
        below = _below(topology, name, primary)
        confirms = name in candidates and synchronous.method is not Method.NONE
        left = len(candidates) - 1
        if confirms and left < synchronous.count:
            writes = f"stop: {synchronous.count} must confirm, {left} of {len(candidates)} can"
        else:
            writes = "go on"
        loss = "nothing"
        if below:
            loss += f"; {', '.join(below)} stay{'s' if len(below) == 1 else ''} behind until {name} is back"
        rows.append(Consequence(f"{name} fails", writes, loss))
    return (*rows, *_archive_fails(topology, primary), *_together(topology, primary))


def _archive_fails(topology: Topology, primary: NodeName) -> Iterator[Consequence]:
    """Where commits may wait for the archive's stream: its host, or its disk."""
    candidates, synchronous = topology.confirmers(primary), topology.replication.synchronous
    if STREAM_NAME not in candidates:
        return
    left = len(candidates) - 1
    writes = f"stop: {synchronous.count} must confirm, {left} of {len(candidates)} can"
    yield Consequence("the archive fails", writes if left < synchronous.count else "go on", "nothing")


def _down(topology: Topology, down: tuple[NodeName, ...]) -> tuple[str, ...]:
    """Who cannot confirm when these nodes' hosts fail: the archive's stream too, where its host is one of those."""
    on = {topology.node(name).host for name in down}
    away = topology.stream_confirms and topology.archive is not None and topology.archive.host in on
    return (*down, STREAM_NAME) if away else tuple(down)


def _together(topology: Topology, primary: NodeName) -> Iterator[Consequence]:
    """A zone or a host with several nodes, where the nodes' own lines do not say what its failure means. Hosts that are
    zones as well are told once, and that everything is gone with a single host is no news."""
    told: set[tuple[NodeName, ...]] = {topology.names} if len(hosts(topology)) == 1 else set()
    for group in (*zones(topology), *hosts(topology)):
        if len(group.nodes) < 2 or group.nodes in told:
            continue
        told.add(group.nodes)
        failure = f"{group} ({', '.join(group.nodes)}) fails"
        if primary in group.nodes:
            yield from _primary_with_others(topology, primary, group.nodes, failure)
        else:
            yield from _standbys_together(topology, primary, group.nodes, failure)


def _standbys_together(
    topology: Topology, primary: NodeName, down: tuple[NodeName, ...], failure: str
) -> Iterator[Consequence]:
    candidates, synchronous = topology.confirmers(primary), topology.replication.synchronous
    left = sum(name not in _down(topology, down) for name in candidates)
    alone = len(candidates) - 1
    if synchronous.method is not Method.NONE and left < synchronous.count <= alone:
        writes = f"stop: {synchronous.count} must confirm, {left} of {len(candidates)} can"
        yield Consequence(failure, writes, "nothing", several=True)


def _primary_with_others(
    topology: Topology, primary: NodeName, down: tuple[NodeName, ...], failure: str
) -> Iterator[Consequence]:
    left = [node.name for node in topology.nodes if node.name not in down and node.apply_delay is None]
    candidates, synchronous = topology.confirmers(primary), topology.replication.synchronous
    if not left:
        if any(node.apply_delay is None for node in topology.nodes if node.name != primary):
            loss = "everything that is nowhere else, if its disks are lost"
            yield Consequence(failure, "stop until one of them is back", loss, several=True)
        return
    if synchronous.method is Method.NONE:
        return
    # Enough of those that went down together may have been the ones that confirmed.
    gone = [name for name in candidates if name in _down(topology, down)]
    if synchronous.method is Method.FIRST:
        unsafe = len(gone) >= synchronous.count and set(candidates[: synchronous.count]) <= set(gone)
    else:
        unsafe = len(gone) >= synchronous.count
    if unsafe:
        loss = f"acknowledged commits that only {' and '.join(map(called, gone))} had confirmed"
        yield Consequence(failure, "stop until a standby is promoted", loss, several=True)


def called(name: str) -> str:
    """One of those who may confirm, in words."""
    return "the archive" if name == STREAM_NAME else name


def _primary_fails(topology: Topology, primary: NodeName) -> Consequence:
    candidates = topology.confirmers(primary)
    if not any(node.apply_delay is None for node in topology.nodes if node.name != primary):
        return Consequence(f"{primary} fails", "stop until it is back", _only_delayed(topology, primary))
    writes = "stop until a standby is promoted"
    synchronous, durability = topology.replication.synchronous, topology.replication.durability
    if synchronous.method is Method.NONE:
        loss = "commits that no standby had received yet"
        if topology.streams_to_archive:
            loss = "commits that neither a standby nor the archive's stream had received yet"
        if durability is Durability.OFF:
            loss += "; even a restart loses the last 0.6 s or so"
    else:
        loss = f"no acknowledged commit, if {_who_confirmed(topology, primary)} is promoted"
        if STREAM_NAME in candidates:
            loss += " with what was streamed to the archive"
        if durability is Durability.REMOTE_WRITE:
            loss += " and its machine did not crash at the same time"
    return Consequence(f"{primary} fails", writes, loss)


def _only_delayed(topology: Topology, primary: NodeName) -> str:
    delayed = [node.name for node in topology.nodes if node.name != primary]
    if topology.stream_confirms:
        return "no acknowledged commit: a restore from the archive has every one"
    if not delayed and topology.streams_to_archive:
        return "if its disk is lost, what the archive's stream had not received; the rest is in a restore"
    if not delayed:
        return "everything, if its disk is lost"
    return f"if its disk is lost, what had not reached {' or '.join(delayed)}, which is never promoted by itself"


def _who_confirmed(topology: Topology, primary: NodeName) -> str:
    synchronous, candidates = topology.replication.synchronous, topology.confirming(primary)
    if STREAM_NAME in topology.confirmers(primary):
        return candidates[0] if len(candidates) == 1 else "the standby that has received the most"
    if synchronous.count >= len(candidates):
        return candidates[0] if len(candidates) == 1 else "any standby"
    if synchronous.method is Method.FIRST:
        return " or ".join(candidates[: synchronous.count])
    return "the standby that has received the most"


def _below(topology: Topology, name: NodeName, primary: NodeName) -> tuple[NodeName, ...]:
    """The standbys that stream through a node, directly or not."""
    found: list[NodeName] = []
    pending = [name]
    while pending:
        for below in topology.standbys_of(pending.pop(), primary):
            if below not in found and below != name:
                found.append(below)
                pending.append(below)
    return tuple(found)


def durability_in_words(topology: Topology) -> str:
    """One sentence: what a commit waits for."""
    replication = topology.replication
    method, count = replication.synchronous.method, replication.synchronous.count
    if method is Method.NONE:
        if replication.durability is Durability.OFF:
            return "a commit waits for nothing, not even the primary's own disk"
        alone = "a commit waits for the primary's own disk only"
        if topology.archive is not None and topology.archive.synchronous:
            # The key alone asks for nothing, which whoever wrote it may not expect.
            return f'{alone}: nobody has to confirm it, nor has the archive (synchronous = "none" under [replication])'
        return alone
    if count == 1:
        whom = "the first connected standby" if method is Method.FIRST else "any one standby"
    else:
        whom = f"the first {count} connected standbys" if method is Method.FIRST else f"any {count} standbys"
    if topology.stream_confirms:
        whom += " (the archive is the last of them)" if method is Method.FIRST else " (the archive counts as one)"
    until = {
        Durability.REMOTE_WRITE: "has written it (not yet flushed)",
        Durability.ON: "has flushed it to disk",
        Durability.REMOTE_APPLY: "has replayed it, so that it can be read there",
    }[replication.durability]
    return (
        f"a commit waits until {whom} {until}"
        if count == 1
        else (f"a commit waits until {whom} {until.replace('has ', 'have ', 1)}")
    )
