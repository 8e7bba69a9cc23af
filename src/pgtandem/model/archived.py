"""What the WAL archive of one cluster holds: values, from a listing of its folder or of several hosts' folders."""

from collections.abc import Mapping
from itertools import pairwise

from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.model.stream import Tail
from pgtandem.model.value import dataclass, field

#: Runs of segment numbers: the first and the last of each, in order.
Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TimelineContent:
    """What is there of one timeline: its whole segments by number, those that a promotion left as .partial, and whether
    the file that says where it came from is there (timeline 1 has none and needs none)."""

    timeline: Timeline
    runs: Runs = ()
    partial: tuple[int, ...] = ()
    history: bool = False

    @property
    def holes(self) -> Runs:
        """The segments that are missing between the first and the last that are there."""
        return tuple((before[1] + 1, after[0] - 1) for before, after in pairwise(self.runs))

    @property
    def history_missing(self) -> bool:
        return self.timeline > 1 and not self.history


@dataclass(frozen=True, slots=True)
class ArchiveContent:
    """All of one cluster's WAL in the archive. `segment_bytes` is the size of a segment before it is compressed.

    `backup_files` are the names of the small .backup files that a base backup leaves. `wrong_size` are stored files
    that cannot hold what their name says; their segments are not in the runs. `twice` are WAL files that are stored in
    more than one form; `unfinished` what a copy that was cut off has left, and `strange` names that are none of these.
    `streamed` are whole segments that were streamed and are not archived; they count in the runs. `tail` is the last
    segment, as far as it was streamed.
    """

    segment_bytes: int
    timelines: tuple[TimelineContent, ...] = ()
    backup_files: tuple[str, ...] = ()
    wrong_size: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    streamed: tuple[str, ...] = ()
    tail: Tail | None = None
    file_count: int = 0
    size_bytes: int = 0

    def timeline(self, timeline: Timeline) -> TimelineContent:
        """An empty one for a timeline of which there is nothing."""
        return next((one for one in self.timelines if one.timeline == timeline), TimelineContent(timeline))


@dataclass(frozen=True, slots=True)
class ArchivedWal:
    """The content together with what its history files say: by timeline, the switches that led to it, oldest first."""

    content: ArchiveContent
    histories: Mapping[Timeline, tuple[TimelineSwitch, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far recovery gets towards a timeline from where it begins: to before `end`, where the segment `missing`
    (by name) would be next. With `hole` there are later segments of that way, which it cannot get to. `tail` is how far
    it gets in the missing one, where that was streamed in part."""

    timeline: Timeline
    end: Lsn
    missing: str
    hole: bool = False
    tail: Lsn | None = None

    @property
    def furthest(self) -> Lsn:
        return self.end if self.tail is None else max(self.end, self.tail)
