"""The receiver of the archive's stream: a pg_receivewal on the archive's host, and what it has received."""

from collections.abc import Mapping

from pgtandem.model.facts import ABSENT, Fact
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.value import dataclass, field


@dataclass(frozen=True, slots=True)
class Tail:
    """The last WAL that was streamed: a segment, by its number, that is not whole yet, and up to where it goes."""

    timeline: Timeline
    number: int
    end: Lsn


@dataclass(frozen=True, slots=True)
class Keeper:
    """Who starts the receiver again when it has ended, or its host has. `systemd` runs the host, and `unit` is what it
    may have for the receiver: `there` in whichever form, `theirs` where that is another archive's, `as_wished`,
    `enabled` to start with the host and `active`. `allowed` is whether this login may make, start and remove units.
    `crontab` says that the account's own names it."""

    unit: str
    systemd: bool = False
    there: bool = False
    theirs: bool = False
    as_wished: bool = False
    enabled: bool = False
    active: bool = False
    allowed: bool = False
    crontab: bool = False

    @property
    def keeps(self) -> bool:
        """Whether the receiver comes back with its host."""
        return (self.as_wished and self.enabled) or self.crontab


@dataclass(frozen=True, slots=True)
class ObservedStream:
    """What there is of it in a cluster's folder in the archive. `files` are those of the receiver by their names, None
    for one that is missing; `passfile_ok` says whether its passfile has the lines that the nodes need. `running` is
    whether the process that keeps pg_receivewal going lives, `received_seconds` how long ago the last WAL came, None
    where nothing ever did. `segments` are whole segments by their names, `histories` the timelines whose history files
    came, `complaint` what pg_receivewal said last. `program` is the pg_receivewal of the archive's host, Absent where
    there is none that would do. `keeper` is Absent where nobody expects it back after a reboot: on this machine, with
    all the nodes. `folder` is the cluster's in the archive, "" while that is not known."""

    program: Fact[str] = ABSENT
    there: bool = False
    running: bool = False
    files: Mapping[str, str | None] = field(default_factory=dict)
    passfile_ok: bool = False
    segments: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    tail: Tail | None = None
    received_seconds: float | None = None
    complaint: str = ""
    histories: tuple[Timeline, ...] = ()
    keeper: Fact[Keeper] = ABSENT
    folder: str = ""
