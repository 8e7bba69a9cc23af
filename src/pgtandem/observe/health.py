"""What a look means: each node's role, state and lag, and what is wrong. A pure reading of Observed, for every view."""

from collections.abc import Iterator, Mapping

from pgtandem.model.facts import Absent, Known, Unknown
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import STREAM_NAME, NodeName, slot_name
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.plan import WARNING
from pgtandem.model.server import ReplayHold, Sender, Server
from pgtandem.model.topology import Method, Node, Topology
from pgtandem.model.value import dataclass
from pgtandem.model.words import size_in_words
from pgtandem.observe.archive_health import archive_in_words, archive_problems, archive_remarks
from pgtandem.observe.backup_health import backup_problems, backups_in_words
from pgtandem.observe.flow import SlotHealth, Stages, slots, stages
from pgtandem.observe.tls_health import tls_in_words, tls_problems
from pgtandem.plan.archive_room import archive_room
from pgtandem.plan.between_hosts import clocks_apart
from pgtandem.plan.cut_off import cut_off_drills, cut_off_restores, half_restored
from pgtandem.plan.durability import called
from pgtandem.plan.keeper import keeper_remarks
from pgtandem.plan.layout import remarks
from pgtandem.plan.minor_versions import runs_older
from pgtandem.plan.pgbouncer_health import PgbouncerHealth, pgbouncer_health, pgbouncer_problems
from pgtandem.plan.slot_cap import wal_disk
from pgtandem.plan.stream_health import StreamHealth, stream_health, stream_problems
from pgtandem.postgres.conf import RECOVERY_FILE, parse_settings
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.sync_names import confirmations
from pgtandem.postgres.versions import untested

_WAIT_FOR_NOBODY = ("off", "local")


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One line of the status table. `lag_bytes` is what the primary has written and this node has not replayed;
    None where it cannot be known. An idle standby that has everything has a lag of 0 seconds.
    With an `apply_delay` it is behind on purpose. `stages` is its lag by stage, None for who does not stream.
    `replay_hold` is who holds its replay up."""

    name: NodeName
    role: str
    state: str
    upstream: NodeName | None
    timeline: int | None
    lag_bytes: int | None
    replay_lag_seconds: float | None
    port: int
    zone: str | None = None
    sync_state: str | None = None
    apply_delay: str | None = None
    stages: Stages | None = None
    replay_hold: ReplayHold | None = None


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """The whole table, sentences about synchronous commit, the archive and TLS (None without it), and what is wrong,
    gravest first. `archive_waiting_segments` and `archive_age_seconds` tell how many segments are not archived yet, and
    how long ago the last one was, `archive_free_bytes` what is free on its disk; None where that is not known.
    `backups` is a sentence, None where there are none. `stream` is the archive's stream, None where none is
    asked for."""

    cluster: str
    primary: NodeName | None
    nodes: tuple[NodeHealth, ...]
    synchronous: str
    archive: str
    tls: str | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    slots: tuple[SlotHealth, ...] = ()
    archive_waiting_segments: int | None = None
    archive_age_seconds: float | None = None
    archive_free_bytes: int | None = None
    backups: str | None = None
    stream: StreamHealth | None = None
    pgbouncers: tuple[PgbouncerHealth, ...] = ()


def cluster_health(topology: Topology, observed: Observed) -> ClusterHealth:
    primaries = observed.primaries()
    primary = primaries[0] if len(primaries) == 1 else None
    nodes = tuple(_node(topology, observed, name, primary) for name in topology.names)
    server = observed.nodes[primary].running if primary else None
    archiver = server.archiver if server and topology.archives else None
    pgbouncers = pgbouncer_health(topology, observed, primary)
    stream, room = stream_health(topology, observed, primary), archive_room(topology, observed)
    problems = _problems(topology, observed, nodes, pgbouncers)
    if primary is not None:
        problems += stream_problems(stream)
    return ClusterHealth(
        cluster=topology.cluster,
        primary=primary,
        nodes=nodes,
        synchronous=_synchronous(topology, observed, primary),
        archive=archive_in_words(topology, observed, primary),
        tls=tls_in_words(topology, observed),
        problems=(*problems, *backup_problems(observed)),
        remarks=(*_remarks(topology, observed), *archive_remarks(topology, observed), *_delayed(nodes)),
        slots=slots(observed),
        archive_waiting_segments=archiver.waiting_segments if archiver else None,
        archive_age_seconds=archiver.last_archived_age_seconds if archiver else None,
        archive_free_bytes=room.free_bytes if room else None,
        backups=backups_in_words(observed),
        stream=stream,
        pgbouncers=pgbouncers,
    )


def _remarks(topology: Topology, observed: Observed) -> Iterator[str]:
    if warning := untested(topology.postgresql):
        yield f"{WARNING}{warning}."
    for name in topology.names:
        yield from remarks(topology, name, observed.nodes[name])
        if older := runs_older(observed.nodes[name]):
            yield f"{name} waits for a restart: {older} (pgtandem apply)."
    for each in (*cut_off_drills(topology, observed), *cut_off_restores(topology, observed)):
        yield f"{each}."
    yield from keeper_remarks(topology, observed)


def _delayed(nodes: tuple[NodeHealth, ...]) -> Iterator[str]:
    for node in nodes:
        if node.state == "delayed":
            yield (
                f"{node.name} replays what it has, {node.apply_delay} late, and streams again after that; until then "
                f"its slot on {node.upstream} keeps the WAL that follows."
            )


def _node(topology: Topology, observed: Observed, name: NodeName, primary: NodeName | None) -> NodeHealth:
    seen, node = observed.nodes[name], topology.node(name)
    server = seen.running
    top = primary or _last_primary(topology, observed)
    upstream = topology.upstream_of(name, top)
    is_primary = server is not None and not server.in_recovery
    sender = None if is_primary else _sender(topology, observed, name)
    control = seen.control
    return NodeHealth(
        name=name,
        role=_role(seen),
        state=_state(seen, sender[1] if sender else None, node),
        upstream=None if is_primary else (sender[0] if sender else upstream),
        timeline=server.timeline if server else (control.timeline if control else None),
        lag_bytes=0 if is_primary else _lag_bytes(observed, seen, primary),
        replay_lag_seconds=0.0 if is_primary else _lag_seconds(observed, seen, primary, streams=sender is not None),
        port=seen.postmaster.value.port if isinstance(seen.postmaster, Known) else node.port,
        zone=node.zone,
        sync_state=sender[1].sync_state if sender else None,
        apply_delay=None if is_primary else node.apply_delay,
        stages=_stages(observed, *sender) if sender else None,
        replay_hold=server.replay_hold if server else None,
    )


def _last_primary(topology: Topology, observed: Observed) -> NodeName:
    """Whom the others were to follow where no primary runs, or several do: the one that is down and was it, if it is
    one; else the first of the topology file."""
    was = [name for name, seen in observed.nodes.items() if seen.running is None and _role(seen) == "primary"]
    return was[0] if len(was) == 1 else topology.names[0]


def _sender(topology: Topology, observed: Observed, name: NodeName) -> tuple[NodeName, Sender] | None:
    """Who sends WAL to a node, as the upstreams see it. Where several standbys that are still to be taken over call
    themselves the same, it is the one that the standby itself names, or that sends to its address."""
    called = {name, _foreign_name(observed.nodes[name])}
    found = [
        (upstream, sender)
        for upstream, seen in observed.nodes.items()
        for sender in (seen.running.senders if seen.running else ())
        if upstream != name and sender.application_name in called
    ]
    server = observed.nodes[name].running
    if len(found) > 1 and server and server.receiver:
        told = (server.receiver.sender_host, server.receiver.sender_port)
        named = [each for each in found if (topology.node(each[0]).address, topology.node(each[0]).port) == told]
        found = named or found
        here = [each for each in found if each[1].client_address == topology.node(name).address]
        found = here or found
    return found[0] if found else None


def _foreign_name(seen: ObservedNode) -> str:
    """What a standby that is still to be taken over calls itself; the node's own name where it is pgtandem's."""
    data, server = seen.directory, seen.running
    if data is None or server is None or not data.adoptable:
        return ""
    told = parse_settings(data.files.get(RECOVERY_FILE) or "").get("primary_conninfo", "")
    shown = server.settings.get("primary_conninfo")
    try:
        return parse_conninfo(told or (shown.value if shown else "")).get("application_name", "walreceiver")
    except ValueError:
        return ""


def _stages(observed: Observed, upstream: NodeName, sender: Sender) -> Stages | None:
    server = observed.nodes[upstream].running
    return stages(server, sender) if server else None


def _role(seen: ObservedNode) -> str:
    """ "primary" or "standby" of what runs, or would start; "unknown" where nothing tells."""
    if seen.running:
        return "standby" if seen.running.in_recovery else "primary"
    data = seen.directory
    if data is None or not data.ours:
        return "unknown"
    was_standby = data.standby_signal or (seen.control is not None and seen.control.was_standby)
    return "standby" if was_standby else "primary"


def _state(seen: ObservedNode, sender: Sender | None, node: Node) -> str:
    if isinstance(seen.reachable, Unknown):
        return "unreachable"
    if isinstance(seen.data, Absent):
        return "half copied" if seen.merges else "not built"
    if isinstance(seen.data, Known) and not seen.data.value.ours:
        return "foreign data"
    if isinstance(seen.postmaster, Absent):
        return "stopped"
    if seen.running is None:
        return "starting" if isinstance(seen.postmaster, Known) else "unknown"
    if not seen.running.in_recovery:
        return "running"
    if sender is None:
        return "delayed" if node.apply_delay and seen.running.delaying else "not streaming"
    return "catching up" if sender.state == "catchup" else sender.state


def _lag_bytes(observed: Observed, seen: ObservedNode, primary: NodeName | None) -> int | None:
    top = observed.nodes[primary].running if primary else None
    if top is None or seen.running is None or top.current_lsn is None or seen.running.replay_lsn is None:
        return None
    return max(top.current_lsn - seen.running.replay_lsn, 0)


def _lag_seconds(observed: Observed, seen: ObservedNode, primary: NodeName | None, *, streams: bool) -> float | None:
    """How long what the primary has committed may be missing here. The last commit that was replayed may be old because
    none came after it for a while: what was written after the primary's last checkpoint cannot be missing for longer
    than that is ago."""
    server = seen.running
    if server is None:
        return None
    if _lag_bytes(observed, seen, primary) == 0:
        return 0.0
    top = observed.nodes[primary].running if primary else None
    # All that was received may be replayed, and is still not all where nothing is received any more.
    age = server.replay_age_seconds if streams or top is None else server.last_commit_age_seconds
    bound = _since_checkpoint(top, server) if top else None
    return age if bound is None else bound if age is None else min(age, bound)


def _since_checkpoint(top: Server, server: Server) -> float | None:
    """How long ago the primary's last checkpoint began, where this standby has everything from before it."""
    if top.redo_lsn is None or server.replay_lsn is None or server.timeline != top.timeline:
        return None
    return top.redo_age_seconds if server.replay_lsn >= top.redo_lsn else None


def _synchronous(topology: Topology, observed: Observed, primary: NodeName | None) -> str:
    synchronous = topology.replication.synchronous
    if synchronous.method is Method.NONE:
        return "no standby has to confirm a commit"
    if primary is None:
        return "unknown while there is no single primary"
    server = observed.nodes[primary].running
    assert server is not None
    candidates = topology.confirmers(primary)
    names = server.settings.get("synchronous_standby_names")
    if names is None or not names.value:
        return f"not in force yet: no standby has to confirm a commit, {synchronous} is wished (pgtandem plan)"
    able = sum(s.application_name in candidates and s.state == "streaming" for s in server.senders)
    left = able - synchronous.count
    text = f"{synchronous.count} of {len(candidates)} must confirm, {able} can"
    if left < 0:
        return f"{text}: writes wait"
    of = "a standby or the archive" if topology.stream_confirms else "a standby"
    return f"{text}: {left + 1} more failure{'s' if left else ''} of {of} stop{'' if left else 's'} writes"


def _problems(
    topology: Topology, observed: Observed, nodes: tuple[NodeHealth, ...], pgbouncers: tuple[PgbouncerHealth, ...]
) -> list[str]:
    if nodes and all(node.state == "not built" for node in nodes):
        return [f"no node of cluster {topology.cluster} has data: build it (pgtandem up), or bring its disks back"]
    primaries = observed.primaries()
    problems: list[str] = []
    if len(primaries) > 1:
        problems.append(_two_primaries(observed, primaries))
    elif not primaries:
        problems.append(_no_primary(observed))
    problems += [str(each) for each in half_restored(topology, observed)]
    problems += [problem for name in primaries for problem in _waiting_writes(topology, observed, name)]
    primary = primaries[0] if len(primaries) == 1 else None
    problems += pgbouncer_problems(topology, observed, pgbouncers, primary)
    for node in nodes:
        if node.state not in ("running", "streaming", "delayed"):
            problems.append(f"{node.name} is {node.state}{_reason(observed.nodes[node.name])}")
    problems += _slot_problems(topology, observed)
    problems += _hba_problems(observed)
    apart = clocks_apart(topology, observed)
    problems += [apart] if apart else []
    problems += archive_problems(topology, observed)
    for name in primaries:
        server = observed.nodes[name].running
        pending = [key for key, setting in (server.settings if server else {}).items() if setting.pending_restart]
        if pending:
            problems.append(f"{name} needs a restart for {', '.join(sorted(pending))}")
    return problems + tls_problems(topology, observed)


def _no_primary(observed: Observed) -> str:
    unseen = [
        name
        for name, seen in observed.nodes.items()
        if isinstance(seen.reachable, Unknown) or isinstance(seen.postmaster, Unknown)
    ]
    if unseen:
        return f"no primary is seen; {' or '.join(unseen)} may be it, and cannot be looked at"
    return "no primary runs: nothing can be written"


def _two_primaries(observed: Observed, primaries: tuple[NodeName, ...]) -> str:
    """Where each is, where they parted, and what to do."""
    servers = {name: server for name in primaries if (server := observed.nodes[name].running)}
    where = "; ".join(
        f"{name} on timeline {server.timeline} at {server.current_lsn}" for name, server in servers.items()
    )
    points = [
        f"{name} left timeline {switch.timeline} at {switch.at}"
        for name, server in servers.items()
        for switch in server.history
        if any(other is not server and other.timeline == switch.timeline for other in servers.values())
    ]
    parted = f"; {'; '.join(points)}" if points else ""
    since = _written_since(servers)
    if since:
        parted += "; written since then: " + ", ".join(
            f"{size_in_words(count)} on {name}" for name, count in since.items()
        )
    return (
        f"TWO PRIMARIES: {where}{parted}: rows written since are on one of them only. Choose whose rows may be taken "
        f"back: pgtandem rejoin {' or '.join(primaries)} (they are kept aside)"
    )


def _written_since(servers: Mapping[NodeName, Server]) -> dict[NodeName, int]:
    """How much WAL each of two primaries wrote since they parted, nothing where that point is not known."""
    if len(servers) != 2:
        return {}
    ends: list[dict[Timeline, Lsn | None]] = []
    for server in servers.values():
        left: dict[Timeline, Lsn | None] = {switch.timeline: switch.at for switch in server.history}
        ends.append({**left, server.timeline: server.current_lsn})
    # The latest timeline that both have been on, and the earlier of the points at which they left it.
    common = max(set(ends[0]) & set(ends[1]), default=None)
    if common is None:
        return {}
    at = min((lsn for lsn in (ends[0][common], ends[1][common]) if lsn is not None), default=None)
    if at is None:
        return {}
    return {name: max(server.current_lsn - at, 0) for name, server in servers.items() if server.current_lsn is not None}


def _waiting_writes(topology: Topology, observed: Observed, primary: NodeName) -> list[str]:
    """What is in force counts, not what is wished: a value that somebody else set makes commits wait as well."""
    server = observed.nodes[primary].running
    assert server is not None
    names, commit = server.settings.get("synchronous_standby_names"), server.settings.get("synchronous_commit")
    needed = confirmations(names.value) if names else 0
    able = sum(s.state == "streaming" and s.sync_state != "async" for s in server.senders)
    if able >= needed or (commit is not None and commit.value in _WAIT_FOR_NOBODY):
        return []
    missing = [
        called(name)
        for name in topology.confirmers(primary)
        if not any(s.application_name == name and s.state == "streaming" for s in server.senders)
    ]
    whom = f" (missing: {', '.join(missing)})" if missing else ""
    standbys = "standby has" if needed == 1 else "standbys have"
    back = "bring them back" if called(STREAM_NAME) in missing else "bring the standbys back"
    back = "bring the archive's stream back" if missing == [called(STREAM_NAME)] else back
    how = f"{back} (pgtandem apply)" if missing else "see what pgtandem plan says"
    if topology.replication.synchronous.method is not Method.NONE:
        how += ', or let writes go on without them: synchronous = "none" under [replication], then pgtandem apply'
    return [f"WRITES WAIT on {primary}: {needed} {standbys} to confirm each commit and {able} can{whom}: {how}"]


def _reason(seen: ObservedNode) -> str:
    if seen.merges:
        return ": its new copy is whole, and was cut off while it was put together (pgtandem apply finishes it)"
    for fact in (seen.reachable, seen.data, seen.postmaster, seen.server):
        if isinstance(fact, Unknown):
            return f". {fact.sentence}"
    disk = wal_disk(seen)
    size = seen.control.wal_segment_bytes if seen.control else 0
    if disk is not None and disk.free_bytes < size:
        return f": its disk has {size_in_words(disk.free_bytes)} free. Make room there, but never in pg_wal by hand"
    return ""


def _hba_problems(observed: Observed) -> list[str]:
    """A line for connections that this server can never have (hostssl while ssl is off) is told; the file is read all
    the same. One that cannot be read keeps the whole file from being read."""
    problems = []
    for name, seen in observed.nodes.items():
        for rule in seen.running.hba if seen.running else ():
            if rule.error is None:
                continue
            if rule.kind or "cannot match" in rule.error:
                problems.append(f"line {rule.line} of pg_hba.conf on {name} matches nobody: {rule.error}")
            else:
                problems.insert(
                    0,
                    f"{name} cannot read line {rule.line} of its pg_hba.conf: {rule.error}: it goes on with the rules "
                    "that it read before, and would not start",
                )
    return problems


def _slot_problems(topology: Topology, observed: Observed) -> list[str]:
    problems = []
    owners: dict[str, NodeName] = {slot_name(name): name for name in topology.names}
    for name, seen in observed.nodes.items():
        for slot in seen.running.slots.values() if seen.running else ():
            if slot.wal_status in ("lost", "unreserved"):
                owner = owners.get(slot.name)
                who = f"{owner} needs" if owner else "it should hold"
                problems.append(
                    f"slot {slot.name} on {name} is {slot.wal_status}: it no longer holds the WAL that {who}"
                )
    return problems
