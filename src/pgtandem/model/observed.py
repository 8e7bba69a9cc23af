"""What there is: every fact that was found about hosts, data directories and servers, at one moment.

Anything that could not be found out is an `Unknown` with its reason, never an exception: a plan, a status table and a
finding all read the same value.
"""

from collections.abc import Mapping
from enum import Enum

from pgtandem.model.backup import Backups
from pgtandem.model.beyond import Beyond
from pgtandem.model.facts import ABSENT, Fact, Unknown, value_or_none
from pgtandem.model.layout import HostCluster, Registration, Service
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName, PgbouncerName
from pgtandem.model.passwords import Passwords
from pgtandem.model.pooling import ObservedPgbouncer
from pgtandem.model.server import Server
from pgtandem.model.stream import ObservedStream
from pgtandem.model.topology import HostAddress
from pgtandem.model.value import dataclass, field

NOT_LOOKED = Unknown("it was not looked at")

#: In the name of a half-made copy; and of one that was a node's data until pg_rewind was at work in it.
LEFTOVER_MARK = ".pgtandem-new."
REWOUND_MARK = f"{LEFTOVER_MARK}rewind."


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """A file system: bytes in all and free for an ordinary account, and an id that tells file systems apart."""

    total_bytes: int
    free_bytes: int
    device: str


@dataclass(frozen=True, slots=True)
class Programs:
    """The PostgreSQL programs of one major version: their folder, the version in words ("18.4") and whether the
    account that servers run as can execute them. `origin` is "embedded", "system" or "named". `copy_to` is where a
    copy that the account can reach would be made, "" where that is not needed. `missing` are programs that should be
    there too. `tls`: whether they were built with TLS, None where nobody asked; `rewind`: whether pg_rewind is there.

    `newer` is another version of the same major that is out of the account's reach, of which these are an older copy:
    what looks uses the older one, what starts uses the copy that is made first."""

    directory: str
    version: str
    origin: str
    usable: bool = True
    copy_to: str = ""
    missing: tuple[str, ...] = ()
    newer: "Programs | None" = None
    tls: bool | None = None
    rewind: bool = True

    @property
    def to_copy(self) -> "Programs | None":
        """What must be copied before servers can be started with it."""
        return self.newer or (None if self.usable else self)

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0].partition("beta")[0].partition("rc")[0])


@dataclass(frozen=True, slots=True)
class System:
    """What a host runs on, as far as PostgreSQL's packages differ by it.

    `name` is the distribution in words, `ids` its name and those of what it is like (ID and ID_LIKE of os-release),
    `version` its number. `majors` are the major versions of PostgreSQL that are installed, and `named_version` the
    version in the folder that the topology file names, both looked for where the wanted one is not. `clusters` are
    those that postgresql-common knows, None where it is not installed. `systemd` says whether systemd runs the host.
    """

    name: str = ""
    ids: tuple[str, ...] = ()
    version: str = ""
    majors: tuple[int, ...] = ()
    named_version: str = ""
    clusters: tuple[HostCluster, ...] | None = None
    systemd: bool = False


@dataclass(frozen=True, slots=True)
class ControlData:
    """What pg_controldata says of a data directory (texts as in the C locale). `hints`: whether wal_log_hints is on."""

    system_identifier: str
    state: str
    timeline: Timeline
    checkpoint_lsn: Lsn
    min_recovery_lsn: Lsn
    checksums: bool
    wal_segment_bytes: int
    settings: Mapping[str, str] = field(default_factory=dict)
    min_recovery_timeline: Timeline | None = None
    hints: bool = False

    @property
    def was_standby(self) -> bool:
        """Whether the server last ran as a standby."""
        return self.state in ("shut down in recovery", "in archive recovery")


@dataclass(frozen=True, slots=True)
class Marker:
    """The note that pgtandem leaves in every data directory that it makes, or takes over: then it is `adopted`."""

    cluster: str
    node: NodeName
    adopted: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A data directory that exists and is not empty. `entries` are the names of its first files.

    `files` holds pgtandem's own files in it by their relative path, None for one that is missing; `passfile_ok` says
    whether the passfile has the lines that this cluster's nodes need. `hba_block` and `settings_included` tell of the
    owned block in pg_hba.conf and of the include line in postgresql.conf. `promotion` is the timeline on which this
    node was chosen to be promoted: the note that is written before a server is told to. `outside` are the folders
    that its symbolic links lead to, by the link: "pg_wal", and "pg_tblspc/OID" of each tablespace. `adoptable` says
    that it has no marker, and that the topology file names its cluster as one to take over. `replaced_records` are the
    records of pg_hba.conf for nobody but the replication roles that pgtandem's own one replaces, `md5_records` the
    others for replication that ask for MD5.
    """

    entries: tuple[str, ...]
    major: Fact[int] = ABSENT
    control: Fact[ControlData] = ABSENT
    marker: Marker | None = None
    files: Mapping[str, str | None] = field(default_factory=dict)
    passfile_ok: bool = False
    hba_block: str | None = None
    settings_included: bool = False
    standby_signal: bool = False
    recovery_signal: bool = False
    backup_label: bool = False
    auto_settings: Mapping[str, str] = field(default_factory=dict)
    promotion: Timeline | None = None
    outside: Mapping[str, str] = field(default_factory=dict)
    adoptable: bool = False
    replaced_records: tuple[str, ...] = ()
    md5_records: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it is a node's of some cluster of pgtandem, or about to become one because the topology file says so.
        Whose node it is, the marker tells."""
        return self.marker is not None or self.adoptable

    @property
    def tablespaces(self) -> tuple[str, ...]:
        """Where its tablespaces are."""
        return tuple(target for link, target in self.outside.items() if link.startswith("pg_tblspc/"))


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why the account that servers run as cannot have a folder where it is to be: the path that stands in the way, a
    sentence, and the command that mends it ("" where there is none)."""

    path: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class LocalWal:
    """The WAL in a data directory's own pg_wal: the number of the last segment that it has, whole or in part. Segments
    that were only prepared ahead do not count."""

    last_segment: int


class PostmasterState(Enum):
    """What the last line of postmaster.pid says (manual, 18.3; PostgreSQL 10 and later)."""

    STARTING = "starting"
    STOPPING = "stopping"
    READY = "ready"
    STANDBY = "standby"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A living server process of a data directory. `socket` is the folder of its first Unix socket, "" for none."""

    pid: int
    port: int
    state: PostmasterState
    socket: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server's certificate says: its common name, the names and IP addresses that it is for, from when to when
    it is valid (seconds since 1970), the SHA-256 of its content; and whether the cluster's CA signed it."""

    fingerprint: str
    name: str
    names: tuple[str, ...]
    valid_from: float
    valid_until: float
    ours: bool


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA that every node and client of the cluster trusts: its certificates as PEM, and when the first of them is
    not valid any more (seconds since 1970)."""

    text: str
    valid_until: float


@dataclass(frozen=True, slots=True)
class NodeTls:
    """A node's part in TLS. `certificate` is that of the file which its server is to use, `key` whether the private key
    lies beside it, `trust` the CA certificates in the node's hands (as PEM), and `served` the certificate that the
    server shows to who connects now: Absent where it does not speak TLS, or does not run."""

    certificate: Fact[Certificate]
    key: bool
    trust: str | None
    served: Fact[Certificate] = ABSENT


@dataclass(frozen=True, slots=True)
class ArchiveFolder:
    """The WAL archive. `systems` are the system identifiers that have a folder in it; where there is one on each of
    several hosts, on all of them, and `elsewhere` those that only some have. `disk` is the fullest one, and `disk_of`
    says of which host, "" where that is this machine. `segments` are this cluster's, as runs of numbers, looked at only
    where a standby does not stream or the primary has archived nothing since it crashed.
    `newer` are the timelines above that of the lowest running primary (of who would start as one
    where none runs) which have a history file there, one after the
    other, as a server that looks for the latest timeline would find them."""

    systems: tuple[str, ...]
    disk: DiskSpace | None = None
    segments: Fact[tuple[tuple[int, int], ...]] = NOT_LOOKED
    elsewhere: tuple[str, ...] = ()
    newer: tuple[int, ...] = ()
    disk_of: str = ""


@dataclass(frozen=True, slots=True)
class WalWay:
    """How a node gets to the WAL of another host, by that host's name in the node's ssh configuration. `answer` is what
    a real ssh was told there (the rights), Unknown with the reason where it is not as it should be."""

    source: str
    answer: Fact[str]


@dataclass(frozen=True, slots=True)
class KeysOnHost:
    """The nodes of the cluster whose keys are let in on one host, and the folders of the keys that were made there
    (NODE.SYSTEM-IDENTIFIER, or NODE by an earlier pgtandem)."""

    granted: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CutOffRestore:
    """What a restore left that was cut off. `command` is the one that began it, "" for one that is half unpacked; the
    folder that it stands in; where what the node had before is kept ("" as long as that is in its place); whether the
    restored data has the node's place, or is about to get it and nothing has it now; whether a server runs beside the
    node; the folders outside that it has for itself, for tablespaces and WAL."""

    command: str
    directory: str
    aside: str = ""
    in_place: bool = False
    runs: bool = False
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedNode:
    """Everything about one node. `reachable` is Unknown with the reason when its host could not be asked at all;
    then every other fact is Unknown too. `system` is what its host runs on. `account` is what servers run as.
    `port_holder` says who else listens on the node's port. `leftovers` are half-made copies of an interrupted run,
    beside the data directory, and `leftover_bytes` what they hold. `obstacle` is what keeps the account from the folder
    that the data directory lies in; looked for where there is no data to be seen. `registration` is what
    postgresql-common has about it, Absent where that does not concern the node; `service` is the systemd unit of its
    server. `replaced` are data directories of this node that a new copy took the place of. `wal` is looked at only
    where a standby does not stream. `claimed` are folders outside that the leftovers had begun to fill. `blocked` says
    of folders outside, which a node without data would get, why it cannot have them. `wal_disk` is that of its
    wal_directory, Absent where WAL lies with the data. `beyond` is what only a primary that is down has.
    `merges` are folders in which the data directory is, beside its place: a new copy was being put together with it
    when that was cut off, and all that it needs is there. `drills` are the folders of restores for trial that were cut
    off, each with whether its server runs, `restores` what other restores left. `archive_said` is what the archive
    command of a server that cannot archive wrote into its log last. `tablespace_disks` are those that the cluster's
    tablespaces are on, or would be, by their paths, and `mounted` the folders outside that disks are mounted on; both
    are looked at for plans. `unarchived` is what a node that does not run, and was the primary when it last did, had
    not archived: files of pg_wal."""

    reachable: Fact[bool] = NOT_LOOKED
    account: Fact[str] = NOT_LOOKED
    programs: Fact[Programs] = NOT_LOOKED
    data: Fact[DataDirectory] = NOT_LOOKED
    postmaster: Fact[Postmaster] = NOT_LOOKED
    server: Fact[Server] = NOT_LOOKED
    port_holder: Fact[str] = ABSENT
    disk: Fact[DiskSpace] = NOT_LOOKED
    leftovers: tuple[str, ...] = ()
    leftover_bytes: int = 0
    obstacle: Fact[Obstacle] = ABSENT
    system: System = System()
    registration: Fact[Registration] = ABSENT
    service: Fact[Service] = ABSENT
    tls: Fact[NodeTls] = ABSENT
    replaced: tuple[str, ...] = ()
    wal: Fact[LocalWal] = NOT_LOOKED
    claimed: tuple[str, ...] = ()
    blocked: Mapping[str, Obstacle] = field(default_factory=dict)
    wal_disk: Fact[DiskSpace] = ABSENT
    beyond: Fact[Beyond] = NOT_LOOKED
    merges: tuple[str, ...] = ()
    drills: tuple[tuple[str, bool], ...] = ()
    restores: tuple[CutOffRestore, ...] = ()
    archive_said: str = ""
    tablespace_disks: Mapping[str, DiskSpace] = field(default_factory=dict)
    mounted: tuple[str, ...] = ()
    unarchived: tuple[str, ...] = ()

    @property
    def running(self) -> Server | None:
        """The server's own facts, None where it does not run or could not be asked."""
        return value_or_none(self.server)

    @property
    def directory(self) -> DataDirectory | None:
        return value_or_none(self.data)

    @property
    def control(self) -> ControlData | None:
        return value_or_none(self.directory.control) if self.directory else None


@dataclass(frozen=True, slots=True)
class ObservedHost:
    """What one host of several is like. `clock_ahead_seconds` is how far its clock is ahead of the one here (less what
    the look itself may have taken), `libc` the C library and its version. `blocked` has the nodes whose address and
    port it surely cannot reach, each with the reason; a node that is not in it was reached, or could not be tried."""

    clock_ahead_seconds: Fact[float] = NOT_LOOKED
    libc: Fact[str] = NOT_LOOKED
    blocked: Mapping[NodeName, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FormerNode:
    """A node that pgtandem built and that the topology file no longer has: where it is, and what is left of it."""

    name: NodeName
    data_directory: str
    port: int
    observed: ObservedNode
    host: HostAddress


@dataclass(frozen=True, slots=True)
class Observed:
    """The whole look: the topology's nodes, the archive (or what keeps the account from making it), the nodes that were
    built earlier and removed since, the hosts by their URL where there are several, the CA; and when it was taken
    (seconds since 1970). `ways` are the ones that the nodes' WAL takes over SSH, `keys` what there is of keys for that,
    by the host's URL. `backups` are the base backups in the archive, `passwords` the stored ones, `pgbouncers` those
    of the topology. `cannot_compress` are the hosts, by their URL, that lack the program for the archive's compression;
    looked at for plans only. `stream` is the receiver of the archive's stream, Absent where none is wanted and nothing
    of one is left."""

    nodes: Mapping[NodeName, ObservedNode]
    archive: Fact[ArchiveFolder] = ABSENT
    former: tuple[FormerNode, ...] = ()
    archive_obstacle: Fact[Obstacle] = ABSENT
    hosts: Mapping[str, ObservedHost] = field(default_factory=dict)
    authority: Fact[Authority] = ABSENT
    now: float = 0.0
    ways: Mapping[NodeName, tuple[WalWay, ...]] = field(default_factory=dict)
    keys: Mapping[str, KeysOnHost] = field(default_factory=dict)
    backups: Fact[Backups] = NOT_LOOKED
    passwords: Passwords = Passwords()
    pgbouncers: Mapping[PgbouncerName, ObservedPgbouncer] = field(default_factory=dict)
    cannot_compress: tuple[str, ...] = ()
    stream: Fact[ObservedStream] = ABSENT

    def primaries(self) -> tuple[NodeName, ...]:
        """The nodes whose server runs and is not in recovery."""
        return tuple(name for name, node in self.nodes.items() if node.running and not node.running.in_recovery)

    def system_identifiers(self) -> dict[NodeName, str]:
        """The system identifier of each node that has one."""
        return {name: node.control.system_identifier for name, node in self.nodes.items() if node.control}


def is_rewound(path: str) -> bool:
    """Whether a half-made copy is a data directory that pg_rewind was at work in."""
    return REWOUND_MARK in path.rpartition("/")[2]
