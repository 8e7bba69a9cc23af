"""What only `doctor` asks: a second, richer look at running servers and at the archive, beside Observed.

It costs more than a plan or a status table should; so it is a value of its own. A fact that a major version does not
have is None, as is everything of a server that was not asked.
"""

from collections.abc import Mapping

from pgtandem.model.facts import ABSENT, Fact
from pgtandem.model.names import NodeName
from pgtandem.model.observed import DiskSpace
from pgtandem.model.value import dataclass, field


@dataclass(frozen=True, slots=True)
class StoredRole:
    """A role that can log in and either replicates or is a superuser, or whose password is weakly stored.
    `expires_in_seconds` is None where its password never ends, `password_kind` "none", "md5", "scram-sha-256" or
    "plain"."""

    name: str
    superuser: bool
    replication: bool
    connection_limit: int
    expires_in_seconds: float | None
    password_kind: str


@dataclass(frozen=True, slots=True)
class RoleSetting:
    """A row of pg_db_role_setting: a setting of a role, of a database, or of both ("" for all)."""

    role: str
    database: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SlotDetail:
    """What a slot holds back beside WAL: ages in transactions, None where it holds none. `failover` and `synced` are
    None before 17."""

    name: str
    xmin_age: int | None = None
    catalog_xmin_age: int | None = None
    failover: bool | None = None
    synced: bool | None = None


@dataclass(frozen=True, slots=True)
class PreparedTransaction:
    """A transaction that waits for COMMIT PREPARED."""

    name: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class DatabaseDetail:
    """One database: since its statistics began, queries cancelled by replay and pages with a wrong checksum (None
    before 12, or without checksums); the version of its collation, as recorded and as the library has it now; how many
    files of relations that are not logged it has."""

    name: str
    conflicts: int = 0
    checksum_failures: int | None = None
    collation_recorded: str | None = None
    collation_actual: str | None = None
    unlogged_files: int = 0


@dataclass(frozen=True, slots=True)
class FileError:
    """A line of a configuration file that the server could not take over."""

    file: str
    line: int
    error: str


@dataclass(frozen=True, slots=True)
class Examination:
    """One server's second look. `lines` says where each setting stands ("FILE", LINE), for those from a file.

    `waiting_commits` are sessions that wait for a synchronous standby now, `waiting_seconds` since when the first does.
    `feedback_age` is the age in transactions of the oldest row version that a standby's queries hold on to.
    `checkpoint_timeline` is that of the last checkpoint. `extensions` are those of the database postgres,
    `available_extensions` those that the host has, empty where that
    cannot be told."""

    lines: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    file_errors: tuple[FileError, ...] = ()
    roles: Mapping[str, StoredRole] = field(default_factory=dict)
    role_settings: tuple[RoleSetting, ...] = ()
    sender_users: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, SlotDetail] = field(default_factory=dict)
    databases: Mapping[str, DatabaseDetail] = field(default_factory=dict)
    prepared: tuple[PreparedTransaction, ...] = ()
    waiting_commits: int = 0
    waiting_seconds: float = 0.0
    feedback_age: int | None = None
    checkpoint_timeline: int | None = None
    exclusive_backup: bool = False
    extensions: tuple[str, ...] = ()
    available_extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a node's host has for it: memory in all, and the file system that its WAL is written to; None where that
    could not be told."""

    memory_bytes: int | None = None
    wal_disk: DiskSpace | None = None


@dataclass(frozen=True, slots=True)
class ArchiveListing:
    """The names in the archive's folder of this cluster, sorted; WAL files by their own, however they are stored."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Examined:
    """The second look at everything: Absent for a node that does not run, Unknown with the reason for one that could
    not be asked."""

    nodes: Mapping[NodeName, Fact[Examination]] = field(default_factory=dict)
    archive: Fact[ArchiveListing] = ABSENT
    surroundings: Mapping[NodeName, Surroundings] = field(default_factory=dict)
