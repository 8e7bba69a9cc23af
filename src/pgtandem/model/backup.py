"""Base backups that lie in the archive, and what was proven about each."""

from enum import Enum

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.topology import LOCAL, HostAddress
from pgtandem.model.value import dataclass


class BackupKind(Enum):
    """Everything, or only what changed since another backup (17 and later)."""

    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class Verified:
    """The last check of a backup's content: when (seconds since 1970), and what was wrong, "" for nothing."""

    at: float
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Drill:
    """The last time that a backup was restored for trial: when, what was wrong ("" for nothing), how long the restore
    took, and how old the last transaction was that came back (None where there was none to tell by)."""

    at: float
    trouble: str = ""
    restore_seconds: float = 0.0
    lost_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    """One base backup: what it is of, and the folder that it lies in on a host.

    It can be restored to any moment from `stop_lsn` (and `ended`, seconds since 1970 by the primary's clock) on, as far
    as there is WAL. `parent` is the backup that an incremental one continues. `kept` says that it has its final name:
    until then it was not proven. `tablespaces` are their OIDs with the folders they had.
    `size_bytes` is what it takes up, and `data_bytes` what it unpacks to (0 where that is not known).
    """

    label: str
    kind: BackupKind
    node: NodeName
    cluster: str
    system_identifier: str
    postgresql: int
    timeline: Timeline
    start_lsn: Lsn
    stop_lsn: Lsn
    began: float
    ended: float
    segment_bytes: int
    parent: str | None = None
    tablespaces: tuple[tuple[str, str], ...] = ()
    size_bytes: int = 0
    data_bytes: int = 0
    host: HostAddress = LOCAL
    folder: str = ""
    kept: bool = True
    verified: Verified | None = None
    drill: Drill | None = None

    @property
    def sound(self) -> bool:
        """Whether its content was checked, and nothing was wrong."""
        return self.kept and self.verified is not None and not self.verified.trouble


@dataclass(frozen=True, slots=True)
class HalfMade:
    """What an interrupted run left of a backup: a folder that no restore looks at."""

    host: HostAddress
    folder: str


@dataclass(frozen=True, slots=True)
class Reader:
    """Who restores from backups of these labels just now, in words, and says so again every minute."""

    who: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backups:
    """The backups of one cluster, oldest first, on all hosts of its archive; what interrupted runs left; and folders
    that look like a backup and cannot be read, each with the reason. `oldest_segment` is the number of the first WAL
    segment in the archive, on whichever timeline; looked for only where WAL is to be removed some day. `readers` are
    the restores and drills under way. `missing_segment` is the first that lacks between the last backup and the newest
    WAL that is there; looked for where the oldest is."""

    found: tuple[Backup, ...] = ()
    half_made: tuple[HalfMade, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    oldest_segment: int | None = None
    readers: tuple[Reader, ...] = ()
    missing_segment: str | None = None

    def get(self, label: str) -> Backup | None:
        return next((backup for backup in self.found if backup.label == label), None)

    @property
    def systems(self) -> frozenset[str]:
        """The system identifiers of the folders in which something of these lies: ARCHIVE/SYSTEM/backups/FOLDER."""
        folders = (*(half.folder for half in self.half_made), *(folder for folder, _ in self.unreadable))
        return frozenset((*(b.system_identifier for b in self.found), *(path.split("/")[-3] for path in folders)))

    @property
    def kept(self) -> tuple[Backup, ...]:
        return tuple(backup for backup in self.found if backup.kept)

    @property
    def last_drilled(self) -> Backup | None:
        """The backup that was restored for trial last."""
        drilled = [backup for backup in self.kept if backup.drill]
        return max(drilled, key=lambda backup: backup.drill.at if backup.drill else 0.0, default=None)

    def chain(self, backup: Backup) -> tuple[Backup, ...] | None:
        """A backup with all that it continues, the full one first; None where one of them is missing."""
        chain = [backup]
        while chain[0].parent is not None:
            parent = self.get(chain[0].parent)
            if parent is None or not parent.kept or parent in chain:
                return None
            chain.insert(0, parent)
        return tuple(chain)


def spoilt_in(chain: tuple[Backup, ...]) -> Backup | None:
    """The first of a chain whose last check found something wrong: none that continues it can be trusted either."""
    return next((backup for backup in chain if backup.verified and backup.verified.trouble), None)
