"""What it would mean if some nodes went down now: from what is seen, not from what is wished. Nothing is changed.

Values in, values out: the command shows the outcome, and the candidate rules are those that `failover` decides by.
"""

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

from pgtandem.model.candidates import Candidate
from pgtandem.model.facts import ABSENT, Unknown, value_or_none
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import STREAM_NAME, NodeName, slot_name
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.server import Sender, Server
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.candidates import failover_candidates, received_lsn
from pgtandem.plan.durability import called
from pgtandem.plan.roles import decide_primary
from pgtandem.plan.slot_cap import MEGABYTE
from pgtandem.postgres.sync_names import confirmations, render_sync_names

#: Values of synchronous_commit with which no commit waits for a standby, whatever synchronous_standby_names says.
_WAIT_FOR_NOBODY = ("off", "local")


@dataclass(frozen=True, slots=True)
class WalRate:
    """How fast the primary wrote WAL between two looks that were this many seconds apart."""

    bytes_per_second: float
    seconds: float


class Writes(Enum):
    """`WAIT`: the primary runs, and every commit waits for a standby that is not there. `STOP`: there is no primary."""

    GO_ON = "go on"
    WAIT = "wait"
    STOP = "stop"


class Becomes(Enum):
    """What becomes of a node. `AHEAD`: it has received more than the new primary and has to be rewound."""

    GOES_ON = "goes on"
    PROMOTED = "is promoted"
    FOLLOWS = "follows another node"
    AHEAD = "has to be rewound"
    BEHIND = "falls behind"
    DOWN = "is down"


@dataclass(frozen=True, slots=True)
class Loss:
    """What would be lost with the old primary. `acknowledged` says whether commits could be among it that were
    acknowledged to clients; `size_bytes` and `seconds` are what the look shows, None where that is not known."""

    acknowledged: bool
    size_bytes: int | None
    seconds: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one node, whom it follows then, and why."""

    name: NodeName
    becomes: Becomes
    upstream: NodeName | None
    why: str


@dataclass(frozen=True, slots=True)
class Retention:
    """WAL that an upstream keeps for a node that is away: how much already, the cap on it and the free bytes of its
    disk, and in how many seconds each is reached. None: no cap, not known, or never."""

    name: NodeName
    upstream: NodeName
    slot: str
    held_bytes: int | None
    cap_bytes: int | None
    cap_seconds: float | None
    free_bytes: int | None
    full_seconds: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer. `down` are the nodes asked about, `already` those beside them whose server does not answer now.
    Among `down` may be the archive's stream, by the name that it has in synchronous_standby_names.
    `promoted`, `candidates` and `loss` are about a primary that goes down; None and empty where it goes on."""

    primary: NodeName
    down: tuple[NodeName, ...]
    already: tuple[NodeName, ...]
    writes: Writes
    why: str
    after: str
    promoted: NodeName | None
    candidates: tuple[Candidate, ...]
    loss: Loss | None
    fates: tuple[Fate, ...]
    retention: tuple[Retention, ...]
    rate: WalRate | None


def what_if(topology: Topology, observed: Observed, down: tuple[NodeName, ...], rate: WalRate | None = None) -> Outcome:
    """What follows from these nodes, and perhaps the archive, going down at once, as things are now.

    For a cluster that is built. Raises what `decide_primary` raises where nobody can tell who the primary is.
    """
    primary = decide_primary(topology, observed)
    already = tuple(name for name, node in observed.nodes.items() if node.running is None and name not in down)
    away = (*down, *already)
    after = replace(
        observed,
        nodes={name: _gone(node) if name in away else node for name, node in observed.nodes.items()},
        stream=Unknown("its host is down") if STREAM_NAME in down else observed.stream,
    )
    if primary not in away:
        writes, why = _confirmed(observed, primary, away)
        fates = tuple(_beside_the_primary(topology, primary, away))
        kept = tuple(_kept(topology, observed, primary, away, rate))
        return Outcome(primary, down, already, writes, why, "", None, (), None, fates, kept, rate)
    candidates = failover_candidates(topology, after, (primary,))
    best = candidates[0] if candidates and candidates[0].fit else None
    why = f"{primary} is the primary" + ("" if primary in down else ", and its server does not answer now")
    if best is None:
        loss = Loss(True, None, None, f"nobody is fit to be promoted; it is all there again once {primary} is back")
        fates = tuple(Fate(name, Becomes.DOWN if name in away else Becomes.BEHIND, None,
                           "" if name in away else "there is nobody to follow")
                      for name in topology.names)  # fmt: skip
        return Outcome(primary, down, already, Writes.STOP, why, "", None, candidates, loss, fates, (), rate)
    return Outcome(
        primary,
        down,
        already,
        Writes.STOP,
        why,
        _after_the_promotion(topology, after, best.name, away),
        best.name,
        candidates,
        _loss(topology, observed, primary, best),
        tuple(_after_a_failover(topology, observed, primary, best, away)),
        tuple(_kept(topology, after, best.name, away, rate)),
        rate,
    )


def _gone(node: ObservedNode) -> ObservedNode:
    return replace(node, postmaster=ABSENT, server=ABSENT)


# --- whether commits go on


def _confirmed(observed: Observed, primary: NodeName, away: tuple[NodeName, ...]) -> tuple[Writes, str]:
    """What is in force counts, not what is wished."""
    server = observed.nodes[primary].running
    assert server is not None
    needed = _needed(server)
    if needed == 0:
        return Writes.GO_ON, "no commit waits for a standby"
    able = [called(sender.application_name) for sender in _confirming(server) if sender.application_name not in away]
    said = f"each commit waits for {needed} standby{'s' if needed > 1 else ''}, and {len(able)} can confirm"
    if len(able) < needed:
        return Writes.WAIT, said
    return Writes.GO_ON, f"{said}: {', '.join(able)}"


def _needed(server: Server) -> int:
    """How many standbys must confirm a commit by the settings in force."""
    names, commit = server.settings.get("synchronous_standby_names"), server.settings.get("synchronous_commit")
    if commit is not None and commit.value in _WAIT_FOR_NOBODY:
        return 0
    return confirmations(names.value) if names else 0


def _confirming(server: Server) -> list[Sender]:
    """Those whose word counts, or would where another one fails (sync_state potential)."""
    return [sender for sender in server.senders if sender.state == "streaming" and sender.sync_state != "async"]


def _after_the_promotion(topology: Topology, after: Observed, new: NodeName, away: tuple[NodeName, ...]) -> str:
    """Whether commits then wait for standbys that are not there, by the settings that the new primary has already."""
    server = after.nodes[new].running
    assert server is not None
    needed = _needed(server)
    able = [name for name in topology.confirmers(new) if name not in away]
    if len(able) >= needed:
        return ""
    return (
        f"commits then wait on {new}: each needs {needed} standby{'s' if needed > 1 else ''}, and {len(able)} can "
        "confirm until one is back, or synchronous is lowered"
    )


# --- what is lost


def _loss(topology: Topology, observed: Observed, primary: NodeName, best: Candidate) -> Loss:
    """By the arithmetic of synchronous commit nothing acknowledged, else what the look shows.

    A candidate is fit only where so many of those that could confirm are left that one of them has every acknowledged
    commit; so has the one that received the most. That counts while the wished settings are those in force.
    """
    server = observed.nodes[primary].running
    if server is None:
        return Loss(True, None, None, f"how far {primary} had written is not known: its server does not answer")
    written = server.current_lsn
    size = None if written is None or best.received is None else max(written - best.received, 0)
    seconds = _seconds(observed, server, best.name, size)
    fetched = _streamed(topology, server)
    if fetched is not None and written is not None and best.received is not None and fetched > best.received:
        # It asks the archive for what it lacks, before it is promoted.
        size = max(written - fetched, 0)
        seconds = 0.0 if size == 0 else seconds
    if _as_wished(topology, server, primary):
        count, could = topology.replication.synchronous.count, topology.confirmers(primary)
        crash = _unless_the_machine_crashes(server)
        if len(could) == 1:
            return Loss(False, size, seconds, f"each waited for {called(could[0])}{crash}")
        why = f"each waited for {count} of {', '.join(map(called, could))}, and {best.name} has received the most"
        if best.needs_streamed:
            why += " and is promoted with all that was streamed to the archive"
        return Loss(False, size, seconds, f"{why}{crash}")
    who = f"{best.name} had not" if fetched is None else f"neither {best.name} nor the archive's stream had"
    why = f"what {who} received from {primary} by this look; it changes with every write"
    return Loss(True, size, seconds, why)


def _streamed(topology: Topology, server: Server) -> Lsn | None:
    """Up to where the archive's disk has the WAL of a primary, None where none is streamed there."""
    if not topology.streams_to_archive:
        return None
    found = (sender for sender in server.senders if sender.application_name == STREAM_NAME)
    return next((sender.flush_lsn for sender in found), None)


def _as_wished(topology: Topology, server: Server, primary: NodeName) -> bool:
    """Whether commits wait for those standbys that the topology file says."""
    synchronous, could = topology.replication.synchronous, topology.confirmers(primary)
    names = server.settings.get("synchronous_standby_names")
    wished = render_sync_names(synchronous.method.value, min(synchronous.count, len(could)), could)
    return _needed(server) > 0 and names is not None and names.value == wished


def _unless_the_machine_crashes(server: Server) -> str:
    commit = server.settings.get("synchronous_commit")
    if commit is None or commit.value != "remote_write":
        return ""
    return ", unless its machine crashes too (remote_write)"


def _seconds(observed: Observed, server: Server, best: NodeName, size: int | None) -> float | None:
    """How old the oldest commit is that would be lost, at most: the flush lag that the primary has measured, or else
    the age of the last commit that the new primary has."""
    if size == 0:
        return 0.0
    for sender in server.senders:
        if sender.application_name == best and sender.flush_lag_seconds is not None:
            return sender.flush_lag_seconds
    there = observed.nodes[best].running
    return there.last_commit_age_seconds if there is not None else None


# --- what becomes of the others


def _beside_the_primary(topology: Topology, primary: NodeName, away: tuple[NodeName, ...]) -> Iterator[Fate]:
    for name in topology.names:
        upstream = topology.upstream_of(name, primary)
        if name in away:
            yield Fate(name, Becomes.DOWN, None, "")
            continue
        at, broken = upstream, None
        while at is not None and broken is None:
            broken = at if at in away else None
            at = topology.upstream_of(at, primary)
        if broken is None:
            yield Fate(name, Becomes.GOES_ON, upstream, "")
        else:
            yield Fate(name, Becomes.BEHIND, upstream, _until(topology, broken))


def _until(topology: Topology, broken: NodeName) -> str:
    meanwhile = (
        "it gets WAL from the archive alone, a whole segment at a time" if topology.archives else "it gets nothing"
    )
    return f"{meanwhile}, until {broken} is back or it is given another upstream"


def _after_a_failover(
    topology: Topology, observed: Observed, old: NodeName, best: Candidate, away: tuple[NodeName, ...]
) -> Iterator[Fate]:
    for name in topology.names:
        if name == best.name:
            yield Fate(name, Becomes.PROMOTED, None, "")
        elif name == old:
            yield Fate(name, Becomes.DOWN, None, _how_back(observed, old, best))
        elif name in away:
            yield Fate(name, Becomes.DOWN, None, "")
        else:
            yield _survivor(topology, observed, old, name, best, away)


def _how_back(observed: Observed, old: NodeName, best: Candidate) -> str:
    server = observed.nodes[old].running
    if server is None or server.current_lsn is None or best.received is None:
        return f"it comes back as a standby, rewound where it wrote more than {best.name} had (pgtandem rejoin {old})"
    ahead = server.current_lsn - best.received
    if ahead > 0:
        return f"it is {ahead} bytes ahead of {best.name} now: rewound before it follows (pgtandem rejoin {old})"
    return f"{best.name} has all of it now: it follows, or is rewound if it wrote more (pgtandem rejoin {old})"


def _survivor(
    topology: Topology,
    observed: Observed,
    old: NodeName,
    name: NodeName,
    best: Candidate,
    away: tuple[NodeName, ...],
) -> Fate:
    received, before = received_lsn(observed.nodes[name]), topology.upstream_of(name, old)
    upstream = topology.upstream_of(name, best.name)
    assert upstream is not None
    if received is not None and best.received is not None and received > best.received:
        why = f"it has received {received - best.received} bytes more than {best.name}"
        return Fate(name, Becomes.AHEAD, upstream, why)
    if upstream in away:
        return Fate(name, Becomes.BEHIND, upstream, _until(topology, upstream))
    if upstream == before:
        return Fate(name, Becomes.GOES_ON, upstream, "")
    return Fate(name, Becomes.FOLLOWS, upstream, f"it followed {before}")


# --- what is kept for those that are away


def _kept(
    topology: Topology, observed: Observed, primary: NodeName, away: tuple[NodeName, ...], rate: WalRate | None
) -> Iterator[Retention]:
    """The slots of nodes that are away, on upstreams that go on. One that a promotion makes holds nothing yet."""
    for name in topology.names:
        upstream = topology.upstream_of(name, primary)
        if name not in away or upstream is None or upstream in away:
            continue
        node = observed.nodes[upstream]
        server = node.running
        if server is None:
            continue
        slot = server.slots.get(slot_name(name))
        held = 0 if slot is None else slot.held_bytes
        cap = _cap(server)
        disk = value_or_none(node.disk) if topology.node(upstream).wal_directory is None else None
        free = None if disk is None else disk.free_bytes
        left = None if cap is None or held is None else max(cap - held, 0)
        fills = 2 if _archive_beside(topology, observed, upstream) else 1
        yield Retention(
            name,
            upstream,
            slot_name(name),
            held,
            cap,
            _time(left, rate),
            free,
            _time(None if free is None else free // fills, rate),
        )


def _cap(server: Server) -> int | None:
    setting = server.settings.get("max_slot_wal_keep_size")
    megabytes = -1 if setting is None else int(setting.value)
    return None if megabytes < 0 else megabytes * MEGABYTE


def _archive_beside(topology: Topology, observed: Observed, name: NodeName) -> bool:
    """Whether the WAL archive grows on the same disk."""
    archive, disk = value_or_none(observed.archive), value_or_none(observed.nodes[name].disk)
    if topology.archive is None or archive is None or archive.disk is None or disk is None:
        return False
    return topology.archive.host in (None, topology.node(name).host) and archive.disk.device == disk.device


def _time(size: int | None, rate: WalRate | None) -> float | None:
    return None if size is None or rate is None or rate.bytes_per_second <= 0 else size / rate.bytes_per_second


def wal_rate(before: Lsn | None, after: Lsn | None, seconds: float) -> WalRate | None:
    """From two positions of the primary, this many seconds apart."""
    if before is None or after is None or seconds <= 0:
        return None
    return WalRate(max(after - before, 0) / seconds, seconds)
