"""The metrics of one look, as Prometheus reads them. Pure: a look in, metric families out.

Names follow the conventions: base units, `_total` for what only grows, moments as seconds since 1970. What is not known
has no sample: a gap in a plot, never a zero.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from pgtandem import __version__
from pgtandem.model.facts import value_or_none
from pgtandem.model.lsn import Lsn
from pgtandem.model.observed import Observed
from pgtandem.model.server import Server
from pgtandem.model.topology import Topology
from pgtandem.observe.health import ClusterHealth, cluster_health
from pgtandem.observe.tls_health import certificate_of
from pgtandem.postgres.sync_names import confirmations

ROLES = ("primary", "standby", "unknown")
STATES = (
    *("running", "streaming", "catching up", "startup", "backup", "stopping", "delayed", "not streaming"),
    *("starting", "stopped", "not built", "half copied", "foreign data", "unreachable", "unknown"),
)
SYNC_STATES = ("async", "potential", "sync", "quorum")


@dataclass(frozen=True, slots=True)
class LookStatistics:
    """How the exporter's own looks went: how many so far, and how long the last one took."""

    looks: int = 0
    seconds: float = 0.0


def metrics(topology: Topology, observed: Observed, statistics: LookStatistics) -> Iterator[Metric]:
    """Every metric, with the label `cluster` on each."""
    health = cluster_health(topology, observed)
    made = _Families(topology.cluster)
    info = InfoMetricFamily("pgtandem_build", "The version of pgtandem that looks.")
    info.add_metric([], {"version": __version__})
    yield info
    _of_cluster(made, topology, observed, health)
    _of_nodes(made, topology, observed, health)
    _of_stages(made, observed, health)
    _of_slots(made, health)
    _of_archive(made, observed)
    _of_backups(made, observed)
    made.gauge("look_timestamp_seconds", "When these values were looked at.", (), [((), observed.now)])
    made.gauge("look_duration_seconds", "How long the last look took.", (), [((), statistics.seconds)])
    made.counter("looks", "Looks at the cluster since the exporter started.", (), [((), statistics.looks)])
    yield from made.families


Samples = Iterable[tuple[tuple[str, ...], float | int | None]]


class _Families:
    """The families made so far."""

    def __init__(self, cluster: str) -> None:
        self.families: list[Metric] = []
        self._cluster = cluster

    def gauge(self, name: str, words: str, labels: Sequence[str], samples: Samples) -> None:
        self._put(GaugeMetricFamily(f"pgtandem_{name}", words, labels=["cluster", *labels]), samples)

    def counter(self, name: str, words: str, labels: Sequence[str], samples: Samples) -> None:
        self._put(CounterMetricFamily(f"pgtandem_{name}", words, labels=["cluster", *labels]), samples)

    def _put(self, family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> None:
        for labels, value in samples:
            if value is not None:
                family.add_metric([self._cluster, *labels], float(value))
        self.families.append(family)


def _of_cluster(made: _Families, topology: Topology, observed: Observed, health: ClusterHealth) -> None:
    made.gauge(
        "primaries",
        "Servers that run and take writes; anything but 1 is wrong.",
        (),
        [((), len(observed.primaries()))],
    )
    made.gauge(
        "problems", "What pgtandem status says is wrong, as a number of sentences.", (), [((), len(health.problems))]
    )
    server = observed.nodes[health.primary].running if health.primary else None
    names = server.settings.get("synchronous_standby_names") if server else None
    required = None if server is None else (confirmations(names.value) if names else 0)
    able = None if server is None else _able(server)
    made.gauge(
        "synchronous_required_standbys", "Standbys that must confirm each commit, as in force.", (), [((), required)]
    )
    made.gauge("synchronous_able_standbys", "Standbys that can confirm a commit now.", (), [((), able)])
    waiting = any(problem.startswith("WRITES WAIT") for problem in health.problems)
    made.gauge(
        "writes_waiting",
        "1 where commits wait for standbys that are not there.",
        (),
        [((), None if server is None else int(waiting))],
    )
    del topology


def _able(server: Server) -> int:
    return sum(sender.state == "streaming" and sender.sync_state != "async" for sender in server.senders)


def _of_nodes(made: _Families, topology: Topology, observed: Observed, health: ClusterHealth) -> None:
    nodes = health.nodes
    running = {node.name: observed.nodes[node.name].running for node in nodes}
    made.gauge(
        "node_up",
        "1 where the node's server answers, 0 where it does not or cannot be reached.",
        ("node",),
        [((node.name,), int(running[node.name] is not None)) for node in nodes],
    )
    made.gauge(
        "node_role",
        "1 for the role that the node has, 0 for the others.",
        ("node", "role"),
        [((node.name, role), int(node.role == role)) for node in nodes for role in ROLES],
    )
    made.gauge(
        "node_state",
        "1 for the state that the node is in, 0 for the others; a healthy one is running or streaming.",
        ("node", "state"),
        [((node.name, state), int(node.state == state)) for node in nodes for state in STATES],
    )
    made.gauge("node_timeline", "The timeline.", ("node",), [((node.name,), node.timeline) for node in nodes])
    made.gauge(
        "node_lag_bytes",
        "WAL that the primary has written and the node has not replayed.",
        ("node",),
        [((node.name,), node.lag_bytes) for node in nodes],
    )
    made.gauge(
        "node_replay_lag_seconds",
        "How old the last commit is that the node has replayed; 0 where it has everything.",
        ("node",),
        [((node.name,), node.replay_lag_seconds) for node in nodes],
    )
    made.gauge(
        "node_sync_state",
        "1 for the part that a standby has in synchronous commit, 0 for the others.",
        ("node", "sync_state"),
        [
            ((node.name, state), int(node.sync_state == state))
            for node in nodes
            if node.sync_state
            for state in SYNC_STATES
        ],
    )
    for name, words, position in _POSITIONS:
        made.counter(
            name, words, ("node",), [((node.name,), _position(running[node.name], position)) for node in nodes]
        )
    made.gauge(
        "node_pending_restart_settings",
        "Settings that were changed and take effect at a restart only.",
        ("node",),
        [
            ((node.name,), sum(setting.pending_restart for setting in server.settings.values()))
            for node in nodes
            if (server := running[node.name])
        ],
    )
    made.gauge(
        "node_databases_size_bytes",
        "The size of all databases.",
        ("node",),
        [((node.name,), server.size_bytes) for node in nodes if (server := running[node.name])],
    )
    disks = [(node.name, disk) for node in nodes if (disk := value_or_none(observed.nodes[node.name].disk))]
    made.gauge(
        "node_disk_free_bytes",
        "Free on the disk of the data directory.",
        ("node",),
        [((name,), disk.free_bytes) for name, disk in disks],
    )
    made.gauge(
        "node_disk_size_bytes",
        "The size of the disk of the data directory.",
        ("node",),
        [((name,), disk.total_bytes) for name, disk in disks],
    )
    made.gauge(
        "node_certificate_expiry_timestamp_seconds",
        "When the certificate expires that the node shows.",
        ("node",),
        [
            ((node.name,), certificate.valid_until)
            for node in nodes
            if topology.tls and (certificate := certificate_of(observed, node.name))
        ],
    )


#: Positions count WAL from the beginning of the cluster, in bytes: their rate is the WAL rate.
_POSITIONS = (
    ("wal_written_bytes", "WAL that a primary has written.", "current_lsn"),
    ("wal_received_bytes", "WAL that a standby has received and flushed.", "receive_lsn"),
    ("wal_replayed_bytes", "WAL that a standby has replayed.", "replay_lsn"),
)


def _position(server: Server | None, attribute: str) -> int | None:
    at: Lsn | None = getattr(server, attribute) if server else None
    return None if at is None else at.position


def _of_stages(made: _Families, observed: Observed, health: ClusterHealth) -> None:
    bytes_behind: list[tuple[tuple[str, ...], float | None]] = []
    seconds_behind: list[tuple[tuple[str, ...], float | None]] = []
    for node in health.nodes:
        if node.stages is None or node.upstream is None:
            continue
        each = node.stages
        for stage, lag in (
            ("sent", each.sent_lag_bytes),
            ("write", each.write_lag_bytes),
            ("flush", each.flush_lag_bytes),
            ("replay", each.replay_lag_bytes),
        ):
            bytes_behind.append(((node.name, node.upstream, stage), lag))
        upstream = observed.nodes[node.upstream].running
        for sender in upstream.senders if upstream else ():
            if sender.application_name == node.name:
                idle = each.replay_lag_bytes == 0
                for stage, seconds in (
                    ("write", sender.write_lag_seconds),
                    ("flush", sender.flush_lag_seconds),
                    ("replay", sender.replay_lag_seconds),
                ):
                    seconds_behind.append(((node.name, node.upstream, stage), 0.0 if idle else seconds))
    made.gauge(
        "stage_lag_bytes",
        "How far a standby is behind its upstream at a stage: what is not sent, written, flushed, replayed.",
        ("node", "upstream", "stage"),
        bytes_behind,
    )
    made.gauge(
        "stage_lag_seconds",
        "The same in time, as the upstream measures it; 0 where the standby has everything.",
        ("node", "upstream", "stage"),
        seconds_behind,
    )


def _of_slots(made: _Families, health: ClusterHealth) -> None:
    slots = health.slots
    labels = ("node", "slot")
    made.gauge(
        "slot_active",
        "1 where a slot is in use.",
        labels,
        [((slot.node, slot.name), int(slot.active)) for slot in slots],
    )
    made.gauge(
        "slot_lost",
        "1 where a slot no longer holds the WAL that it should.",
        labels,
        [((slot.node, slot.name), int(slot.wal_status == "lost")) for slot in slots if slot.wal_status],
    )
    made.gauge(
        "slot_held_bytes",
        "WAL that a slot keeps on disk.",
        labels,
        [((slot.node, slot.name), slot.held_bytes) for slot in slots],
    )
    made.gauge(
        "slot_room_bytes",
        "How much more WAL a slot may keep before it is lost; none without a cap.",
        labels,
        [((slot.node, slot.name), slot.room_bytes) for slot in slots],
    )


def _of_backups(made: _Families, observed: Observed) -> None:
    backups = value_or_none(observed.backups)
    kept = backups.kept if backups else ()
    made.gauge("backups", "Base backups in the archive.", (), [((), len(kept) if backups is not None else None)])
    last = [((), kept[-1].ended)] if kept else []
    made.gauge("backup_last_timestamp_seconds", "When the last base backup ended.", (), last)


def _of_archive(made: _Families, observed: Observed) -> None:
    archivers = [
        (name, seen.running.archiver)
        for name, seen in observed.nodes.items()
        if seen.running and seen.running.archiver and not seen.running.in_recovery
    ]
    made.gauge(
        "archive_waiting_segments",
        "WAL segments that are not archived yet.",
        ("node",),
        [((name,), archiver.waiting_segments) for name, archiver in archivers],
    )
    made.gauge(
        "archive_failing",
        "1 where the last attempt to archive failed.",
        ("node",),
        [((name,), int(archiver.failing)) for name, archiver in archivers],
    )
    made.gauge(
        "archive_last_success_timestamp_seconds",
        "When a segment was archived last.",
        ("node",),
        [
            ((name,), observed.now - archiver.last_archived_age_seconds)
            for name, archiver in archivers
            if archiver.last_archived_age_seconds is not None
        ],
    )
    folder = value_or_none(observed.archive)
    disk = folder.disk if folder else None
    for name, what, count in (
        ("free", "Free on the archive's disk, on the fullest where it has several.", disk.free_bytes if disk else None),
        ("size", "The size of that disk.", disk.total_bytes if disk else None),
    ):
        made.gauge(f"archive_disk_{name}_bytes", what, (), [((), count)])
    made.counter(
        "archived_segments",
        "Segments archived since the statistics were reset.",
        ("node",),
        [((name,), archiver.archived_count) for name, archiver in archivers],
    )
    made.counter(
        "archive_failures",
        "Attempts to archive that failed since the statistics were reset.",
        ("node",),
        [((name,), archiver.failed_count) for name, archiver in archivers],
    )
