"""What the user wants: the cluster that one topology file describes."""

from collections.abc import Mapping
from enum import Enum

from pgtandem.model.names import STREAM_NAME, NodeName, PgbouncerName
from pgtandem.model.value import dataclass, field


class Durability(Enum):
    """The five levels of synchronous_commit (manual, 20.5.1)."""

    OFF = "off"
    LOCAL = "local"
    REMOTE_WRITE = "remote_write"
    ON = "on"
    REMOTE_APPLY = "remote_apply"


class Method(Enum):
    """How the standbys that must confirm are chosen (synchronous_standby_names, manual 20.6.2)."""

    NONE = "none"
    FIRST = "first"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Synchronous:
    """Who must confirm a commit: nobody, the first N of the standbys in the file's order, or any N of them."""

    method: Method
    count: int = 0

    def __str__(self) -> str:
        return "none" if self.method is Method.NONE else f"{self.method.value} {self.count}"


class Binaries(Enum):
    """Where the PostgreSQL programs are looked for, unless a folder is named."""

    AUTO = "auto"
    EMBEDDED = "embedded"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class HostAddress:
    """Where a node lives: this machine, or one reached over SSH."""

    url: str = "local"

    @property
    def is_local(self) -> bool:
        return self.url == "local"


LOCAL = HostAddress()


class Certificates(Enum):
    """Who makes the servers' certificates: pgtandem, or somebody else."""

    MANAGED = "managed"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS for replication and clients. With `required` every connection over TCP uses it.

    `ca` is the file with the CA certificates that signed the nodes' own ones, on the machine that pgtandem runs on;
    None where pgtandem makes the CA.
    """

    certificates: Certificates = Certificates.MANAGED
    required: bool = True
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One PostgreSQL server. `upstream` is None where it follows whoever is the primary. `certificate` and
    `certificate_key` are files of somebody else's on the node's host, for TLS with certificates of one's own.
    `wal_directory` is None where WAL is written in the data directory. `apply_delay` is how long it waits, as a
    standby, before it replays a commit that it has received ("1h"), None where it does not."""

    name: NodeName
    port: int
    data_directory: str
    host: HostAddress = LOCAL
    address: str = "127.0.0.1"
    upstream: NodeName | None = None
    zone: str | None = None
    apply_delay: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    wal_directory: str | None = None


@dataclass(frozen=True, slots=True)
class Replication:
    """`copy_bytes_per_second` is the most that a base backup for a standby may take, None without a limit."""

    durability: Durability = Durability.ON
    synchronous: Synchronous = Synchronous(Method.NONE)
    copy_bytes_per_second: int | None = None


class Compression(Enum):
    """How WAL is stored in the archive; what reads it back takes each of them."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """What a stored file's name ends with, as the programs of the same name write it."""
        return {"none": "", "lz4": ".lz4", "zstd": ".zst"}[self.value]


@dataclass(frozen=True, slots=True)
class Archive:
    """The WAL archive: a directory that holds one folder per system identifier.

    `host` is None where each node archives on its own host, and fetches what it lacks from the others. `level` is how
    hard `compression` tries. With `stream` it also gets WAL as it is written, by pg_receivewal, and with `synchronous`
    a commit may wait for what that has on its disk, as it may for a standby.
    """

    directory: str
    host: HostAddress | None = LOCAL
    compression: Compression = Compression.NONE
    level: int = 1
    stream: bool = False
    synchronous: bool = False

    @property
    def stored_as(self) -> tuple[str, ...]:
        """What the archiving scripts are told about it: nothing where WAL is stored as it is."""
        return () if self.compression is Compression.NONE else (self.compression.value, str(self.level))


@dataclass(frozen=True, slots=True)
class ForeignArchive:
    """A WAL archive that another tool keeps (pgBackRest, Barman, WAL-G): its archive_command and restore_command, as
    PostgreSQL is to run them. What it holds only that tool knows."""

    command: str
    restore: str

    @property
    def program(self) -> str:
        """What archives, as people call it: the first word, without its folder."""
        return self.command.split()[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class BackupPolicy:
    """How long base backups are kept: so many full ones, or those that are younger; None where nobody said. With
    `incremental` a backup copies only what changed, while the last full one is younger than `full_every_seconds`."""

    keep: int | None = None
    keep_for_seconds: float | None = None
    incremental: bool = False
    full_every_seconds: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Adoption:
    """The leave to take over a cluster that pgtandem did not build: the data directories with this system identifier
    that carry no marker. `roles` are what its standbys streamed as until then, and `slots` what they streamed through;
    both are replaced by pgtandem's own."""

    system_identifier: str
    roles: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pgbouncer:
    """A PgBouncer whose databases follow the primary. `file` is on its host: pgtandem writes it, and the user's own
    pgbouncer.ini includes it. `databases` lead to the primary and `read_only_databases` to standbys, each by the name
    that clients use, with the name that the servers use. `options` are added to each as they are ("pool_size=50").
    `admin_password_file` is a file on the machine that pgtandem runs on, None where the console asks for none."""

    name: PgbouncerName
    file: str
    host: HostAddress = LOCAL
    address: str = "127.0.0.1"
    port: int = 6432
    databases: Mapping[str, str] = field(default_factory=dict)
    read_only_databases: Mapping[str, str] = field(default_factory=dict)
    options: str = ""
    admin_user: str = "pgtandem"
    admin_password_file: str | None = None

    @property
    def all_databases(self) -> Mapping[str, str]:
        return {**self.databases, **self.read_only_databases}


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole wish. `nodes` keeps the file's order: the first one starts as the primary.

    `parameters` are PostgreSQL settings for all nodes, as texts of a configuration file without quotes. `hba_lines` are
    records of pg_hba.conf for all nodes, beside those for replication.
    `foreign_archive` is there instead of `archive` where another tool keeps the WAL.
    `bin_directory` is the folder of the PostgreSQL programs, None where `binaries` says where to look.
    """

    cluster: str
    postgresql: int
    nodes: tuple[Node, ...]
    replication: Replication = Replication()
    archive: Archive | None = None
    foreign_archive: ForeignArchive | None = None
    tls: Tls | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    hba_lines: tuple[str, ...] = ()
    binaries: Binaries = Binaries.AUTO
    bin_directory: str | None = None
    backup: BackupPolicy = BackupPolicy()
    adoption: Adoption | None = None
    pgbouncers: tuple[Pgbouncer, ...] = ()
    _by_name: Mapping[NodeName, Node] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # With fifty nodes a plan asks for one by its name a hundred thousand times.
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})

    def node(self, name: NodeName) -> Node:
        """Raises KeyError for a name that the topology does not have."""
        return self._by_name[name]

    @property
    def archives(self) -> bool:
        """Whether WAL is archived, by pgtandem or by another tool."""
        return self.archive is not None or self.foreign_archive is not None

    @property
    def archive_hosts(self) -> tuple[HostAddress, ...]:
        """Where WAL is archived, or will be after a role change."""
        if self.archive is None:
            return ()
        return (self.archive.host,) if self.archive.host else tuple(dict.fromkeys(node.host for node in self.nodes))

    @property
    def streams_to_archive(self) -> bool:
        """Whether the archive also gets WAL as it is written."""
        return self.archive is not None and self.archive.stream

    @property
    def stream_confirms(self) -> bool:
        """Whether the archive's stream is one of those that a commit may wait for."""
        waits = self.replication.synchronous.method is not Method.NONE
        return waits and self.archive is not None and self.archive.stream and self.archive.synchronous

    @property
    def names(self) -> tuple[NodeName, ...]:
        return tuple(node.name for node in self.nodes)

    def upstream_of(self, name: NodeName, primary: NodeName) -> NodeName | None:
        """Whom a node follows while `primary` is the primary; None for the primary itself.

        The declared chain of upstreams is followed where it ends at the primary. Where it does not (it ends at a node
        that follows "the primary" by default, or runs into a loop because roles were swapped), only the first link
        that can still reach the primary counts.
        """
        if name == primary:
            return None
        declared = self.node(name).upstream
        if declared is None or declared == primary:
            return primary
        seen = {name}
        at: NodeName | None = declared
        while at is not None and at != primary:
            if at in seen:
                return primary
            seen.add(at)
            at = self.node(at).upstream
        return declared

    def standbys_of(self, upstream: NodeName, primary: NodeName) -> tuple[NodeName, ...]:
        """The nodes that follow `upstream` directly while `primary` is the primary, in the file's order."""
        return tuple(name for name in self.names if self.upstream_of(name, primary) == upstream)

    def confirming(self, primary: NodeName) -> tuple[NodeName, ...]:
        """The standbys whose word a commit may wait for while `primary` is the primary: those that follow it directly.

        Not a delayed one: it is never promoted, so what it alone has confirmed could be lost; and with remote_apply
        every commit would wait for its delay.
        """
        return tuple(name for name in self.standbys_of(primary, primary) if self.node(name).apply_delay is None)

    def confirmers(self, primary: NodeName) -> tuple[str, ...]:
        """Everybody whose word a commit may wait for, by the names in synchronous_standby_names: those standbys, and
        last the archive's stream, so that with "first N" it counts where a standby is not there."""
        return (*self.confirming(primary), *((STREAM_NAME,) if self.stream_confirms else ()))
