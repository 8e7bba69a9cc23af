"""WAL segments: their file names, their numbers, and whether a file in pg_wal holds what its name says."""

import re
from collections.abc import Iterable, Sequence

from pgtandem.model.archived import Runs
from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch

_NAME = re.compile(r"[0-9A-F]{24}")
#: xlp_magic, xlp_info, xlp_tli and xlp_pageaddr, the beginning of every page (XLogPageHeaderData).
HEADER_BYTES = 16


def segment_number(name: str, segment_bytes: int) -> int | None:
    """How many segments lie before this one, whatever the timeline; None for another file."""
    if not _NAME.fullmatch(name):
        return None
    return int(name[8:16], 16) * _per_log(segment_bytes) + int(name[16:], 16)


def segment_name(timeline: Timeline, number: int, segment_bytes: int) -> str:
    """The file name of a segment (manual, 28.6: WAL internals)."""
    log, number_in_log = divmod(number, _per_log(segment_bytes))
    return f"{timeline:08X}{log:08X}{number_in_log:08X}"


def segment_of(lsn: Lsn, segment_bytes: int) -> int:
    """The number of the segment that the byte at this position is in."""
    return lsn.position // segment_bytes


def holds_its_segment(header: bytes, number: int, segment_bytes: int) -> bool:
    """Whether a file that begins with these bytes has WAL of the segment that its name says.

    A server prepares segments ahead, by renaming old ones: those have a name of the future and a page address of the
    past. Both byte orders are tried, since the file may be of another machine than this one.
    """
    address = header[8:HEADER_BYTES]
    start = number * segment_bytes
    return len(address) == 8 and start in (int.from_bytes(address, "little"), int.from_bytes(address, "big"))


def finished_before(path: Sequence[TimelineSwitch], names: Iterable[str], segment_bytes: int) -> list[str]:
    """Of these names the segments that were full when one of the timelines of a history was left. The one that it was
    left in never was, those behind it were only prepared, and the next timeline begins in the one that it was left in.
    """
    first, ranges = 0, dict[Timeline, range]()
    for switch in path:
        left = segment_of(switch.at, segment_bytes)
        ranges[switch.timeline], first = range(first, left), left
    return [
        name
        for name in names
        if (number := segment_number(name, segment_bytes)) is not None
        and number in ranges.get(Timeline(int(name[:8], 16)), ())
    ]


def runs_of(numbers: Iterable[int]) -> Runs:
    """The numbers without holes between, in order."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return tuple(runs)


def first_missing(first: int, end: int, runs: Runs) -> int | None:
    """The first number from `first` to before `end` that no run has; None where all are there."""
    for low, high in runs:
        if low <= first <= high:
            first = high + 1
    return first if first < end else None


def _per_log(segment_bytes: int) -> int:
    return (1 << 32) // segment_bytes
