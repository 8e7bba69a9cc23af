"""What happened between looks: who became what, what was lost, what is well again. Pure: looks in, events out."""

from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.observe.health import ClusterHealth, NodeHealth, cluster_health

_WELL = ("running", "streaming", "delayed")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed: when it was seen (seconds since 1970), whether it is bad, one sentence."""

    at: float
    grave: bool
    text: str


class Chronicle:
    """Compares each look with what was known before. Knows a node's last role also while it is away."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._before: tuple[Observed, ClusterHealth] | None = None
        self._roles: dict[NodeName, str] = {}
        self._timelines: dict[NodeName, int] = {}
        self.events: list[Event] = []

    def add(self, observed: Observed, health: ClusterHealth | None = None) -> list[Event]:
        """What is new since the look before; nothing for the first one. It is kept in `events`, too."""
        health = health or cluster_health(self._topology, observed)
        found: list[tuple[bool, str]] = []
        for node in health.nodes:
            found += self._of_node(node, observed)
        if self._before is not None:
            was, was_health = self._before
            found += _of_slots(was_health, health, observed)
            found += _of_archive(was, was_health, observed, health)
            found += _of_writes(was_health, health)
            found += _of_primaries(was, observed)
        self._before = observed, health
        new = [Event(observed.now, grave, text) for grave, text in found]
        self.events = [*self.events, *new][-500:]
        return new

    def _of_node(self, node: NodeHealth, observed: Observed) -> list[tuple[bool, str]]:
        found: list[tuple[bool, str]] = []
        if self._before is not None:
            was = next(each for each in self._before[1].nodes if each.name == node.name)
            if was.state != node.state:
                found.append(_state_change(was, node))
        if observed.nodes[node.name].running is None:
            return found
        before = self._roles.get(node.name)
        if before is not None and before != node.role:
            found.append((False, f"{node.name} was a {before} and is a {node.role} now"))
        timeline, old = node.timeline, self._timelines.get(node.name)
        if timeline is not None:
            if old is not None and old != timeline:
                found.append((False, f"{node.name} is on timeline {timeline}, it was on {old}"))
            self._timelines[node.name] = timeline
        self._roles[node.name] = node.role
        return found


def _state_change(was: NodeHealth, node: NodeHealth) -> tuple[bool, str]:
    if node.state in _WELL and was.state not in _WELL:
        return False, f"{node.name} is back: {node.state}"
    return node.state not in (*_WELL, "catching up", "starting"), f"{node.name} is {node.state}, it was {was.state}"


def _of_slots(was: ClusterHealth, health: ClusterHealth, observed: Observed) -> list[tuple[bool, str]]:
    found: list[tuple[bool, str]] = []
    before = {(slot.node, slot.name): slot for slot in was.slots}
    now = {(slot.node, slot.name): slot for slot in health.slots}
    for key, slot in now.items():
        old = before.get(key)
        if old is None:
            continue
        if slot.wal_status == "lost" and old.wal_status != "lost":
            found.append((True, f"slot {slot.name} on {slot.node} is lost: it no longer holds the WAL that it should"))
        elif old.active and not slot.active:
            found.append((True, f"slot {slot.name} on {slot.node} is not in use any more, and keeps WAL"))
        elif slot.active and not old.active:
            found.append((False, f"slot {slot.name} on {slot.node} is in use"))
    for key, slot in before.items():
        if key not in now and observed.nodes[slot.node].running is not None:
            found.append((slot.active, f"slot {slot.name} on {slot.node} is gone"))
    return found


def _of_archive(
    was: Observed, was_health: ClusterHealth, observed: Observed, health: ClusterHealth
) -> list[tuple[bool, str]]:
    if health.primary is None or health.primary != was_health.primary:
        return []
    before, now = was.nodes[health.primary].running, observed.nodes[health.primary].running
    if before is None or now is None or before.archiver is None or now.archiver is None:
        return []
    if now.archiver.failing and not before.archiver.failing:
        return [(True, f"{health.primary} cannot archive {now.archiver.fails_at}")]
    if before.archiver.failing and not now.archiver.failing:
        return [(False, f"{health.primary} archives again")]
    return []


def _of_writes(was: ClusterHealth, health: ClusterHealth) -> list[tuple[bool, str]]:
    before, now = (any(text.startswith("WRITES WAIT") for text in each.problems) for each in (was, health))
    if now and not before:
        return [(True, "writes wait: too few standbys can confirm a commit")]
    return [(False, "writes go on")] if before and not now and health.primary else []


def _of_primaries(was: Observed, observed: Observed) -> list[tuple[bool, str]]:
    before, now = was.primaries(), observed.primaries()
    if len(now) > 1 and len(before) < 2:
        return [(True, f"there are {len(now)} primaries: {', '.join(now)}")]
    return [(True, "there is no primary")] if before and not now else []
