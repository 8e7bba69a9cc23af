"""Which standby may become the primary: a table of rules, each with the value seen, the threshold and the verdict.

Values in, values out: commands show the table, the later failover agent decides by it.
"""

from collections.abc import Iterator

from pgtandem.model.candidates import Candidate, Check, Verdict
from pgtandem.model.facts import Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName, slot_name
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.server import Sender, Server
from pgtandem.model.topology import Method, Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.acknowledged import acknowledged_check, quorum
from pgtandem.plan.roles import timeline_of
from pgtandem.postgres.versions import STANDBY_FLOOR

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a candidate may be behind when a switchover begins: writes pause until it has everything. And for how
    long the clients of a PgBouncer may be made to wait."""

    lag_bytes: int = 16 * MEGABYTE
    lag_seconds: float = 10.0
    pause_seconds: float = 30.0


def switchover_candidates(
    topology: Topology, observed: Observed, primary: NodeName, limits: Limits
) -> tuple[Candidate, ...]:
    """Every other node as a successor of a primary that runs, the best one first."""
    found = [
        switchover_candidate(topology, observed, primary, name, limits) for name in topology.names if name != primary
    ]
    return tuple(sorted(found, key=lambda candidate: (not candidate.fit, candidate.rank)))


def switchover_candidate(
    topology: Topology, observed: Observed, primary: NodeName, name: NodeName, limits: Limits
) -> Candidate:
    """One node as the successor of a primary that runs."""
    node, top = observed.nodes[name], observed.nodes[primary].running
    assert top is not None
    sender = _sender(top, name)
    checks = (
        *_standby_checks(node, topology.node(name).apply_delay),
        _streaming(sender, primary),
        *_lag(node, sender, top, limits),
        *_settings(topology, observed, name),
        *_room(topology, node, name),
        *_records(node),
    )
    synchronous = sender is not None and sender.sync_state in ("sync", "quorum")
    same_zone = topology.node(name).zone == topology.node(primary).zone
    rank = (not synchronous, not same_zone, topology.names.index(name))
    return Candidate(name, checks, received_lsn(node), tuple(map(int, rank)))


def failover_candidates(
    topology: Topology,
    observed: Observed,
    lost: tuple[NodeName, ...],
    gone: tuple[NodeName, ...] = (),
    *,
    archive_lost: bool = False,
) -> tuple[Candidate, ...]:
    """Every other node as the successor of a primary that is gone, the best one first: the one that received the most.

    `lost` are the nodes that may have been the primary, `gone` those without data of which one may have been. Where
    commits wait for standbys, nobody is fit who could lack an acknowledged one; with `archive_lost` what the archive
    alone had confirmed does not count. What a delayed standby has received counts for nobody: it is never promoted.
    """
    latest = max((timeline_of(node) for node in observed.nodes.values()), default=0)
    olds = (*lost, *gone)
    received = {
        name: lsn
        for name in topology.names
        if name not in lost and topology.node(name).apply_delay is None
        if timeline_of(observed.nodes[name]) == latest
        if (lsn := received_lsn(observed.nodes[name])) is not None
    }
    most = max(received.values(), default=None)
    found = []
    for name in topology.names:
        if name in olds:
            continue
        checks = [*_standby_checks(observed.nodes[name], topology.node(name).apply_delay)]
        if observed.nodes[name].running is not None:
            timeline = timeline_of(observed.nodes[name])
            checks.append(
                _holds(
                    "timeline", str(timeline), f"the latest: {latest}", timeline == latest, f"pgtandem rejoin {name}"
                )
            )
            own = received.get(name)
            ahead = [other for other, lsn in received.items() if lsn == most]
            checks.append(
                _holds(
                    "received",
                    str(own or received_lsn(observed.nodes[name]) or "unknown"),
                    f"the most: {most}",
                    own is not None and own == most,
                    f"name {' or '.join(ahead)} instead",
                )
            )
            checks += [*_behind(observed.nodes[name], own, most), *_preferences(topology, name, olds)]
        # One that has received nothing since its start may have more than it has replayed. It counts for itself, if it
        # has the most even so, and not for others.
        sure = {other for other in received if _has_received(observed.nodes[other]) or other == name}
        every = [
            one for old in olds if (one := quorum(topology, observed, old, sure, archive_lost=archive_lost)) is not None
        ]
        if observed.nodes[name].running is not None:
            checks += map(acknowledged_check, every)
        here = topology.node(name).zone
        same_zone = any(topology.node(old).zone == here for old in olds)
        rank = (-(received[name].position if name in received else 0), not same_zone, topology.names.index(name))
        streamed = any(one.needs_stream for one in every) and not archive_lost
        found.append(Candidate(name, tuple(checks), received.get(name), tuple(map(int, rank)), streamed))
    return tuple(sorted(found, key=lambda candidate: (not candidate.fit, candidate.rank)))


def _behind(node: ObservedNode, own: Lsn | None, most: Lsn | None) -> Iterator[Check]:
    """How far it is behind, in bytes and in seconds: told beside what it received, which decides."""
    server = node.running
    assert server is not None
    if own is not None and most is not None:
        age = server.last_commit_age_seconds
        commit = "" if age is None else f"; last commit {age:.0f} s ago"
        yield Check("lag", f"{most - own} bytes{commit}", "", Verdict.GOOD)
    if own is not None and server.replay_lsn is not None:
        yield Check("to replay", f"{max(own - server.replay_lsn, 0)} bytes", "", Verdict.GOOD)


def _preferences(topology: Topology, name: NodeName, lost: tuple[NodeName, ...]) -> Iterator[Check]:
    """Zone and part in confirming commits, where the topology file knows them."""
    if any(node.zone for node in topology.nodes):
        zones = dict.fromkeys(topology.node(old).zone or "none" for old in lost)
        yield Check("zone", topology.node(name).zone or "none", f"preferred: {' or '.join(zones)}", Verdict.GOOD)
    if topology.replication.synchronous.method is not Method.NONE:
        confirms = any(name in topology.confirming(old) for old in lost)
        yield Check("synchronous", "may confirm" if confirms else "confirms nothing", "", Verdict.GOOD)


def _has_received(node: ObservedNode) -> bool:
    return node.running is not None and node.running.receive_lsn is not None


def received_lsn(node: ObservedNode) -> Lsn | None:
    """How far a standby that runs has WAL: streamed, or replayed from the archive."""
    server = node.running
    if server is None:
        return None
    return max((lsn for lsn in (server.receive_lsn, server.replay_lsn) if lsn is not None), default=None)


def _standby_checks(node: ObservedNode, wished_delay: str | None) -> Iterator[Check]:
    server = node.running
    if server is None:
        reasons = [fact.reason for fact in (node.reachable, node.postmaster, node.server) if isinstance(fact, Unknown)]
        verdict = Verdict.UNKNOWN if reasons else Verdict.BAD
        yield Check("server", reasons[0] if reasons else "does not run", "runs", verdict, "pgtandem apply")
        return
    yield Check("server", "runs", "runs", Verdict.GOOD)
    role = "standby" if server.in_recovery else "primary"
    yield _holds("role", role, "standby", server.in_recovery, "pgtandem status")
    yield _holds("replay", "paused" if server.replay_paused else "goes on", "goes on", not server.replay_paused,
                 "SELECT pg_wal_replay_resume()")  # fmt: skip
    # Up to 11 the server does not show it: there it counts what the topology file says.
    setting = server.settings.get("recovery_min_apply_delay")
    seen = f"{setting.value} ms" if setting is not None and setting.value not in ("0", "") else None
    delay = wished_delay or seen
    yield _holds("delay", delay or "none", "none", delay is None,
                 "name another standby; this one is late on purpose")  # fmt: skip


def _streaming(sender: Sender | None, primary: NodeName) -> Check:
    state = "nothing" if sender is None else sender.state
    return _holds(
        "stream", state, f"streaming from {primary}", sender is not None and sender.state == "streaming",
        "pgtandem status",
    )  # fmt: skip


def _lag(node: ObservedNode, sender: Sender | None, top: Server, limits: Limits) -> Iterator[Check]:
    server = node.running
    if server is None or sender is None:
        return
    if server.replay_lsn is None or top.current_lsn is None:
        yield Check("lag", "unknown", f"at most {limits.lag_bytes} bytes", Verdict.UNKNOWN)
        return
    behind = max(top.current_lsn - server.replay_lsn, 0)
    yield _holds("lag", f"{behind} bytes", f"at most {limits.lag_bytes} bytes", behind <= limits.lag_bytes,
                 "wait until it has caught up, or --max-lag-bytes")  # fmt: skip
    seconds = 0.0 if behind == 0 else _late_seconds(server, sender)
    yield _holds("replay lag", f"{seconds:.1f} s", f"at most {limits.lag_seconds:g} s", seconds <= limits.lag_seconds,
                 "wait until it has caught up, or --max-lag-seconds")  # fmt: skip


def _late_seconds(server: Server, sender: Sender) -> float:
    """How late a standby is that lacks something. What it has replayed it tells only with its next word, and on a quiet
    cluster that comes wal_receiver_status_interval (10 s) later: all that time the primary takes for its lag. So what
    the standby says itself counts where that is less; where it has replayed all that it has, what is on its way."""
    if server.replay_age_seconds == 0:
        return sender.flush_lag_seconds or 0.0
    return min((at for at in (sender.replay_lag_seconds, server.replay_age_seconds) if at is not None), default=0.0)


def _settings(topology: Topology, observed: Observed, name: NodeName) -> Iterator[Check]:
    """Once it is the primary, no other node may have less of what a standby must have (manual, 26.4.3)."""
    server = observed.nodes[name].running
    if server is None:
        return
    for other in topology.names:
        there = observed.nodes[other].running
        if there is None or other == name:
            continue
        for key in STANDBY_FLOOR:
            mine, theirs = _number(server, key), _number(there, key)
            if mine > theirs:
                yield Check(
                    key,
                    f"{mine}, and {theirs} on {other}",
                    "not above any other node's",
                    Verdict.BAD,
                    f"write {key} = {mine} for all nodes, then pgtandem apply",
                )


def _room(topology: Topology, node: ObservedNode, name: NodeName) -> Iterator[Check]:
    """Once it is the primary, it needs a slot for each standby that follows it, and a WAL sender beside what it serves
    now. The slot of one that has none yet is made before anything else."""
    server = node.running
    if server is None:
        return
    below = topology.standbys_of(name, name)
    slots = len(set(server.slots) | {slot_name(other) for other in below})
    others = sum(sender.application_name not in below for sender in server.senders)
    for key, needed in (("max_replication_slots", slots), ("max_wal_senders", len(below) + others)):
        there = server.settings.get(key)
        if there is not None and there.value.isdigit() and int(there.value) < needed:
            advice = f"write {key} = {needed} or more for all nodes, then pgtandem apply"
            yield Check(key, there.value, f"{needed}, for those that follow it", Verdict.BAD, advice)


def _records(node: ObservedNode) -> Iterator[Check]:
    """Its rules for who may connect must be those of the file, in which every standby is let in."""
    for rule in node.running.hba if node.running else ():
        if rule.broken:
            advice = "correct that line, then pgtandem apply"
            yield Check("pg_hba.conf", f"line {rule.line}: {rule.error}", "can be read", Verdict.BAD, advice)
            return


def _number(server: Server, key: str) -> int:
    setting = server.settings.get(key)
    return int(setting.value) if setting is not None and setting.value.isdigit() else 0


def _sender(server: Server, name: NodeName) -> Sender | None:
    found = [sender for sender in server.senders if sender.application_name == name]
    return next((sender for sender in found if sender.state == "streaming"), found[0] if found else None)


def _holds(rule: str, value: str, threshold: str, holds: bool, advice: str) -> Check:
    return Check(rule, value, threshold, Verdict.GOOD if holds else Verdict.BAD, advice)
