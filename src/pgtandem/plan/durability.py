"""What each single failure would mean for a topology, in words: do writes stop, what can be lost."""

from pgtandem.model.names import NodeName
from pgtandem.model.plan import Consequence
from pgtandem.model.topology import Durability, Method, Topology


def single_failures(topology: Topology, primary: NodeName) -> tuple[Consequence, ...]:
    """One line per node that can fail, the primary first."""
    rows = [_primary_fails(topology, primary)]
    candidates = topology.confirming(primary)
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
    return tuple(rows)


def _primary_fails(topology: Topology, primary: NodeName) -> Consequence:
    candidates = topology.confirming(primary)
    if not any(node.apply_delay is None for node in topology.nodes if node.name != primary):
        return Consequence(f"{primary} fails", "stop until it is back", _only_delayed(topology, primary))
    writes = "stop until a standby is promoted"
    synchronous, durability = topology.replication.synchronous, topology.replication.durability
    if synchronous.method is Method.NONE:
        loss = "commits that no standby had received yet"
        if durability is Durability.OFF:
            loss += "; even a restart loses the last 0.6 s or so"
    else:
        who = _who_confirmed(topology, candidates)
        loss = f"no acknowledged commit, if {who} is promoted"
        if durability is Durability.REMOTE_WRITE:
            loss += " and its machine did not crash at the same time"
    return Consequence(f"{primary} fails", writes, loss)


def _only_delayed(topology: Topology, primary: NodeName) -> str:
    delayed = [node.name for node in topology.nodes if node.name != primary]
    if not delayed:
        return "everything, if its disk is lost"
    return f"if its disk is lost, what had not reached {' or '.join(delayed)}, which is never promoted by itself"


def _who_confirmed(topology: Topology, candidates: tuple[NodeName, ...]) -> str:
    synchronous = topology.replication.synchronous
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
        return "a commit waits for the primary's own disk only"
    if count == 1:
        whom = "the first connected standby" if method is Method.FIRST else "any one standby"
    else:
        whom = f"the first {count} connected standbys" if method is Method.FIRST else f"any {count} standbys"
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
