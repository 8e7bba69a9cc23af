"""What `pgtandem archive` tells: what is there of each timeline, what is wrong with it, and what can be restored."""

from pgtandem.model.archived import ArchiveContent, Runs
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Restorable:
    """From one base backup on towards one timeline: every position from `start` to before `end`. `missing` is the
    segment that would be next; with `hole` there are later ones, which are out of reach."""

    backup: str
    timeline: Timeline
    start: Lsn
    end: Lsn
    missing: str
    hole: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong in the archive, or that keeps it from being looked at: what, and where. `file` is the
    stored file that cannot be used, where it is one."""

    what: str
    where: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """The archive of one cluster. `checked` is how many files were read and compared with their checksums, None where
    nobody asked for that; `without_checksum` those that have none. `unusable` are WAL files, by their names, of which
    there is no sound copy: `restorable` ends at them."""

    system_identifier: str
    directory: str
    content: ArchiveContent
    restorable: tuple[Restorable, ...] = ()
    damages: tuple[Damage, ...] = ()
    checked: int | None = None
    without_checksum: tuple[str, ...] = ()
    unusable: frozenset[str] = frozenset()

    @property
    def held(self) -> dict[Timeline, Runs]:
        return {one.timeline: one.runs for one in self.content.timelines}
