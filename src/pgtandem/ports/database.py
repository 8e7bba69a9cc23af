"""A server, asked over SQL: one session per node, its questions and changes named by what they mean."""

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName, Secret, SlotName
from pgtandem.model.server import Server
from pgtandem.model.value import dataclass
from pgtandem.ports.pgbouncer import Console, ConsoleAccess

if TYPE_CHECKING:
    from pgtandem.model.examined import Examination  # only doctor needs it


class DatabaseUnreachable(PgtandemError):
    """The server does not accept a connection (PT-2004)."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__("PT-2004", f"could not connect to {node}", why=why)


class DatabaseRefused(PgtandemError):
    """The server refused a query (PT-2005)."""

    def __init__(self, node: str, what: str, why: str) -> None:
        super().__init__("PT-2005", f"{node} refused to {what}", why=why)


class Encryption(Enum):
    """What a session asks of its connection.

    ANY takes TLS where the server has it and checks nothing. With the others the server's certificate is checked in
    full; one that does not pass (it is expired, say, and pgtandem came to renew it) is accepted only where the server
    proves by SCRAM with channel binding that it knows the password and ends this very TLS connection itself.
    PREFERRED goes on without TLS where the server has none, REQUIRED does not.
    """

    ANY = "any"
    PREFERRED = "preferred"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a node's server as its superuser.

    `name` is what the server's certificate must be for, where `address` leads there by another way ("" for the same);
    `root_certificate` is the path of the CA's certificates; `database` is where the session is.
    """

    node: NodeName
    address: str
    port: int
    user: str
    password: Secret | None
    encryption: Encryption = Encryption.ANY
    name: str = ""
    root_certificate: str | None = None
    database: str = "postgres"


@dataclass(frozen=True, slots=True)
class BackupStart:
    """Where a base backup starts, of which data directory it is, and the size of its WAL segments."""

    lsn: Lsn
    data_directory: str
    segment_bytes: int


@dataclass(frozen=True, slots=True)
class BackupEnd:
    """Where it ends, and what belongs into the copy as backup_label and tablespace_map ("" where none is needed)."""

    lsn: Lsn
    label: str
    tablespace_map: str


class Session(Protocol):
    """A connection as superuser. Every method may raise DatabaseUnreachable and DatabaseRefused.

    Nothing here waits for a synchronous standby: the session commits locally.
    """

    async def observe(self, replication_password: Secret | None, superuser_password: Secret | None = None) -> Server:
        """Everything at once. The passwords are only compared with what the server has stored, never sent."""
        ...

    async def examine(self) -> "Examination":
        """The second, richer look, which only `doctor` takes."""
        ...

    async def put_replication_role(self, name: str, verifier: str) -> None:
        """Creates the role, or corrects it: login, replication, no superuser, no limit, this SCRAM verifier."""
        ...

    async def set_password(self, name: str, verifier: str) -> None:
        """The role has the password of this SCRAM verifier from now on; who is logged in stays."""
        ...

    async def end_sender(self, application_name: str) -> None:
        """Ends the connections of a standby that streams from here: it connects again."""
        ...

    async def put_rewind_role(self, name: str, verifier: str, seconds: float) -> None:
        """Creates the role, or corrects it: for so many seconds it may log in with the password of this SCRAM verifier
        and read the files of the data directory with the functions that pg_rewind calls, and nothing else. From 11 on.
        """
        ...

    async def drop_role(self, name: str) -> None:
        """Ends who is logged in as it, and drops the role with its rights; not there is fine. It owns nothing."""
        ...

    async def set_superuser_password(self, name: str, verifier: str) -> None:
        """Gives an existing role this SCRAM verifier as its password, and changes nothing else of it."""
        ...

    async def disable_role(self, name: str) -> None:
        """Takes login and replication from a role; not there is fine. Raises DatabaseRefused for a superuser."""
        ...

    async def create_slot(self, name: SlotName) -> None:
        """A physical slot that keeps WAL from now on; there already is fine."""
        ...

    async def keep_wal(self, name: str) -> None:
        """Keeps WAL from the last checkpoint on as long as this session lives, by a temporary slot of that name. Raises
        DatabaseRefused where no slot is to be had."""
        ...

    async def drop_slot(self, name: SlotName) -> None:
        """Ends who uses the slot, and drops it; not there is fine."""
        ...

    async def reload(self) -> None:
        """Makes the server read its configuration files again."""
        ...

    async def reset_setting(self, name: str) -> None:
        """ALTER SYSTEM RESET: takes the setting out of postgresql.auto.conf."""
        ...

    async def checkpoint(self) -> None:
        """An immediate checkpoint; on a standby a restartpoint. Returns when it is done."""
        ...

    async def position(self) -> tuple[bool, Lsn | None]:
        """Whether it is in recovery, and up to where it has replayed whole records, or written WAL to disk."""
        ...

    async def promote(self) -> None:
        """Tells a standby to become the primary, and does not wait for that. From 12 on."""
        ...

    async def wake_summarizer(self) -> bool:
        """Has the server's WAL summarizer look for more WAL now; whether there is one. Before it ends its recovery, a
        server waits for what that has yet to summarize (17 and later), and it sleeps for up to 30 seconds."""
        ...

    async def resume_replay(self) -> None:
        """Lets a paused replay go on; paused at its recovery target, the server ends its recovery."""
        ...

    async def finish_segment(self) -> tuple[str, Lsn]:
        """Writes something small and switches to a new segment: the finished segment's name, and where it ended."""
        ...

    async def commit_something(self) -> None:
        """A small transaction with a time of its own: a recovery to a moment needs a later commit to stop at. It waits
        for no standby."""
        ...

    async def archived(self) -> tuple[str | None, int]:
        """The last archived segment, and how often archiving failed."""
        ...

    async def write_proof(self, token: str) -> None:
        """Writes the row that standbys are then asked for (table pgtandem.proof in the database postgres)."""
        ...

    async def read_proof(self) -> str | None:
        """The token of that row, None where there is none yet."""
        ...

    async def has_database(self, name: str) -> bool:
        """Whether there is such a database that sessions may be opened in."""
        ...

    async def check_query(self, query: str) -> str | None:
        """What is wrong with somebody's query, in the server's words; "" where nothing is, None where that cannot be
        told: several statements at once, a table that somebody else has locked. The server reads the query in a
        transaction that may only read, as any session in this database would; nothing of it is carried out."""
        ...

    async def start_backup(self, label: str) -> BackupStart:
        """Starts a base backup, with a checkpoint at once: files may be copied from now on (manual, 26.3.4).

        The backup is this session's: where that ends, it is given up. So it needs a session of its own
        (`World.own_session`). Refused while this session has one already.
        """
        ...

    async def stop_backup(self) -> BackupEnd:
        """Ends it; everything must have been copied by now, the control file last. It does not wait until the archive
        has the WAL that the copy needs. Refused where the standby that is copied was promoted meanwhile."""
        ...

    async def close(self) -> None: ...


class Database(Protocol):
    """Opens sessions."""

    async def connect(self, access: Access, *, deadline_seconds: float = 5) -> Session:
        """Raises DatabaseUnreachable."""
        ...

    async def served_certificate(
        self, node: NodeName, address: str, port: int, *, deadline_seconds: float = 5
    ) -> bytes | None:
        """The certificate (DER) that a server shows to whoever connects, None where it does not speak TLS. It is only
        looked at, never trusted. Raises DatabaseUnreachable."""
        ...

    async def console(self, access: ConsoleAccess, *, deadline_seconds: float = 5) -> Console:
        """The admin console of a PgBouncer. Raises DatabaseUnreachable."""
        ...
