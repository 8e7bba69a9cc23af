"""Point-in-time recovery: what can be restored, what is asked for, and where."""

from enum import Enum

from pgtandem.model.backup import Backup
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.plan import NodeFiles
from pgtandem.model.topology import HostAddress
from pgtandem.model.value import dataclass

#: What a restored server is called beside the cluster: it is none of its nodes.
RESTORED = NodeName("restored")


class TargetKind(Enum):
    """What a restore may stop at (manual, 19.5.6: Recovery Target)."""

    LATEST = "latest"
    TIME = "time"
    LSN = "lsn"
    XID = "xid"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to stop: at the end of the archive, after the last commit before a moment (seconds since 1970), at a
    position, after a transaction, at a named restore point. `text` is it as it is shown and told to PostgreSQL. `lsn`
    is where it is, as far as that is known."""

    kind: TargetKind
    text: str
    moment: float | None = None
    lsn: Lsn | None = None

    def __str__(self) -> str:
        return {
            TargetKind.LATEST: "the end of the archive",
            TargetKind.TIME: self.text,
            TargetKind.LSN: f"LSN {self.text}",
            TargetKind.XID: f"transaction {self.text}",
            TargetKind.NAME: f'restore point "{self.text}"',
        }[self.kind]


@dataclass(frozen=True, slots=True)
class Point:
    """A place in WAL that recovery can stop at: of a named restore point, or of the end of a transaction ("COMMIT" or
    "ABORT" is its name). `time` is in seconds since 1970, None where that is not known."""

    name: str
    lsn: Lsn
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Searched:
    """What was found in WAL from one position to another, in order; `trouble` is why not all of it was read, "" where
    it was: then nothing follows from what is not among them."""

    points: tuple[Point, ...]
    begin: Lsn
    end: Lsn
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """What one backup can be brought to on a timeline: from one position to before another, and about from when to
    when (None where there is nothing to tell by). `missing` is the segment that would be next; with `hole` there is
    later WAL that cannot be reached without it. From `streamed_from` on it is in a segment that
    was streamed in part, whose last record may not be whole. `spoilt` is the backup of its chain that is known to be
    damaged, None where none is."""

    timeline: Timeline
    backup: Backup
    begin: Lsn
    end: Lsn
    begin_time: float | None
    end_time: float | None
    missing: str
    hole: bool = False
    streamed_from: Lsn | None = None
    spoilt: Backup | None = None

    @property
    def sure_end(self) -> Lsn:
        return self.end if self.streamed_from is None else self.streamed_from


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """A whole restore as it was asked for: the chain of backups (the full one first), where to stop, into which folder
    of which host, on which port. `like` is the node whose host, programs and ways to the archive are used. `files` are
    that node's files with the settings of recovery still left out; `restore_command` is how it gets WAL. `floor` are
    settings that recovery must not have less of. `drill` is when a restore for trial was begun (seconds since 1970).
    `spaces` are the folders that its tablespaces get, by their OIDs, and `wal` the one of its pg_wal, None where that
    is in the data directory. `contested` is a segment of the archive that may be another server's, with the node that
    cannot archive its own. `breaks_off` is the segment that is missing where the archive has WAL behind its end. `note`
    is a file that leads to the folder of a restore for trial, None where one looks there anyway. `replaces` says that
    it is to take the place of `like`."""

    target: Target
    timeline: Timeline
    chain: tuple[Backup, ...]
    expected_end: Lsn
    directory: str
    host: HostAddress
    address: str
    port: int
    like: NodeName
    files: NodeFiles
    restore_command: str
    floor: tuple[tuple[str, str], ...] = ()
    promote: bool = False
    drill: float | None = None
    spaces: tuple[tuple[str, str], ...] = ()
    wal: str | None = None
    contested: tuple[str, str] | None = None
    breaks_off: str | None = None
    note: str | None = None
    replaces: bool = False

    @property
    def places(self) -> tuple[str, ...]:
        """What a restored server fills outside its data directory."""
        return (*(folder for _, folder in self.spaces), *((self.wal,) if self.wal else ()))

    @property
    def backup(self) -> Backup:
        return self.chain[-1]

    @property
    def place(self) -> str:
        """Its folder, with the host where that is another one than this machine."""
        return self.directory if self.host.is_local else f"{self.directory} on {self.login}"

    @property
    def login(self) -> str:
        """Who and where ssh is asked for, as in postgres@10.0.0.3."""
        return self.host.url.removeprefix("ssh://")
