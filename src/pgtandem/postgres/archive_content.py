"""The names in an archive's folder, what they add up to, and how far recovery would get with that.

ARCHIVE/SYSTEM-IDENTIFIER/ holds WAL files under their own names, or compressed with .lz4 or .zst behind; the folder
`checksums` with a line of `cksum` for each; and the folder `backups`, which is not looked at here. docs/decisions/0024.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from pgtandem.model.archived import ArchiveContent, ArchivedWal, Reach, Runs, TimelineContent
from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.model.stream import ObservedStream
from pgtandem.model.topology import Compression
from pgtandem.postgres.segments import runs_of, segment_name, segment_number, segment_of

CHECKSUMS = "checksums"
BACKUPS = "backups"

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_PARTIAL = re.compile(r"([0-9A-F]{24})\.partial")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_BACKUP = re.compile(r"[0-9A-F]{24}\.[0-9A-F]{8}\.backup")
_UNFINISHED = re.compile(r"\..+\.part")
#: lz4 and zstd make hopeless data at most so much larger (frame headers, and block headers of 3 or 4 bytes each).
_GROWS_BYTES = 65536


def wal_name(stored: str) -> tuple[str, Compression] | None:
    """The WAL file that a stored file holds, and in which form; None for what is no WAL file."""
    for compression in (Compression.LZ4, Compression.ZSTD):
        if stored.endswith(compression.suffix):
            name = stored.removesuffix(compression.suffix)
            return (name, compression) if is_wal_file(name) else None
    return (stored, Compression.NONE) if is_wal_file(stored) else None


def is_wal_file(name: str) -> bool:
    """Whether PostgreSQL gives a file of this name to archive_command."""
    return any(form.fullmatch(name) for form in (_SEGMENT, _PARTIAL, _HISTORY, _BACKUP))


def streamed_timeline(names: Iterable[str]) -> Timeline:
    """The newest timeline that files of these names are of, or tell of."""
    return Timeline(max((int(name[:8], 16) for name in names if is_wal_file(name)), default=0))


def checksum_file(name: str) -> str:
    """The file in `checksums` that has the line of a WAL file: one for each 4 GB of WAL, and one for each history."""
    return name.partition(".")[0][:16]


def parse_checksums(text: str) -> Mapping[str, frozenset[tuple[int, int]]]:
    """For each stored file the checksums and sizes that were recorded for it: more than one where a copy was cut off
    and made again in another way. A line that was torn by a crash is nobody's."""
    found: dict[str, set[tuple[int, int]]] = {}
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) == 3 and words[0].isdecimal() and words[1].isdecimal() and wal_name(words[2]):
            found.setdefault(words[2], set()).add((int(words[0]), int(words[1])))
    return {name: frozenset(sums) for name, sums in found.items()}


def parse_listing(text: str) -> tuple[tuple[str, int], ...]:
    """Names and sizes of what `ls -ln` shows, without folders and links."""
    found = []
    for line in text.splitlines():
        words = line.split(None, 8)
        if len(words) == 9 and words[0].startswith("-") and words[4].isdecimal():
            found.append((words[8], int(words[4])))
    return tuple(found)


def archive_content(
    listing: Iterable[tuple[str, int]], segment_bytes: int, stream: ObservedStream | None = None
) -> ArchiveContent:
    """What files of these names and sizes are as an archive, where segments have `segment_bytes`, together with what
    its stream brought."""
    segments: dict[Timeline, set[int]] = {}
    partial: dict[Timeline, set[int]] = {}
    histories: set[Timeline] = set()
    backup_files: set[str] = set()
    wrong: set[str] = set()
    unfinished: set[str] = set()
    strange: set[str] = set()
    forms: dict[str, int] = {}
    count = total = 0
    for stored, size in listing:
        parsed = wal_name(stored)
        if parsed is None:
            (unfinished if _UNFINISHED.fullmatch(stored) else strange).add(stored)
            continue
        name, compression = parsed
        count, total = count + 1, total + size
        forms[name] = forms.get(name, 0) + 1
        if not _fits(name, compression, size, segment_bytes):
            wrong.add(stored)
        elif (number := segment_number(name, segment_bytes)) is not None:
            segments.setdefault(_timeline(name), set()).add(number)
        elif found := _PARTIAL.fullmatch(name):
            number = segment_number(found[1], segment_bytes)
            assert number is not None
            partial.setdefault(_timeline(name), set()).add(number)
        elif _HISTORY.fullmatch(name):
            histories.add(_timeline(name))
        else:
            backup_files.add(name)
    histories |= set(stream.histories if stream else ())
    streamed = [name for name in (stream.segments if stream else ()) if name not in forms]
    for name in streamed:
        number = segment_number(name, segment_bytes)
        if number is not None:
            segments.setdefault(_timeline(name), set()).add(number)
    return ArchiveContent(
        segment_bytes=segment_bytes,
        timelines=tuple(
            TimelineContent(
                timeline,
                runs_of(segments.get(timeline, ())),
                tuple(sorted(partial.get(timeline, ()))),
                timeline in histories,
            )
            for timeline in sorted({*segments, *partial, *histories})
        ),
        backup_files=tuple(sorted(backup_files)),
        wrong_size=tuple(sorted(wrong)),
        twice=tuple(sorted(name for name, times in forms.items() if times > 1)),
        unfinished=tuple(sorted(unfinished)),
        strange=tuple(sorted(strange)),
        streamed=tuple(sorted(streamed)),
        tail=stream.tail if stream else None,
        file_count=count,
        size_bytes=total,
    )


def _fits(name: str, compression: Compression, size: int, segment_bytes: int) -> bool:
    if size == 0:
        return False
    if not (_SEGMENT.fullmatch(name) or _PARTIAL.fullmatch(name)):
        return True
    return size == segment_bytes if compression is Compression.NONE else size <= segment_bytes + _GROWS_BYTES


def _timeline(name: str) -> Timeline:
    return Timeline(int(name[:8], 16))


def together(contents: Sequence[ArchiveContent]) -> ArchiveContent:
    """What several hosts have among them, each with a folder of its own. Raises ValueError where there is none."""
    if not contents:
        raise ValueError("no archive")
    timelines = sorted({one.timeline for content in contents for one in content.timelines})
    merged = []
    for timeline in timelines:
        parts = [content.timeline(timeline) for content in contents]
        numbers = (number for part in parts for low, high in part.runs for number in range(low, high + 1))
        partial = {number for part in parts for number in part.partial}
        history = any(part.history for part in parts)
        merged.append(TimelineContent(timeline, runs_of(numbers), tuple(sorted(partial)), history))

    def names(of: str) -> tuple[str, ...]:
        return tuple(sorted({name for content in contents for name in getattr(content, of)}))

    return ArchiveContent(
        segment_bytes=contents[0].segment_bytes,
        timelines=tuple(merged),
        backup_files=names("backup_files"),
        wrong_size=names("wrong_size"),
        twice=names("twice"),
        unfinished=names("unfinished"),
        strange=names("strange"),
        streamed=names("streamed"),
        tail=next((content.tail for content in contents if content.tail), None),
        file_count=sum(content.file_count for content in contents),
        size_bytes=sum(content.size_bytes for content in contents),
    )


def without(wal: ArchivedWal, names: Collection[str]) -> ArchivedWal:
    """What recovery has where these WAL files are of no use: segments and history files."""
    if not names:
        return wal
    content, size = wal.content, wal.content.segment_bytes
    left = []
    for one in content.timelines:
        numbers = (number for low, high in one.runs for number in range(low, high + 1))
        runs = runs_of(number for number in numbers if segment_name(one.timeline, number, size) not in names)
        left.append(replace(one, runs=runs))
    histories = {timeline: path for timeline, path in wal.histories.items() if f"{timeline:08X}.history" not in names}
    return ArchivedWal(replace(content, timelines=tuple(left)), histories)


def prunable(stored: Iterable[str], first: int, segment_bytes: int) -> tuple[str, ...]:
    """The stored files that hold WAL before the segment of this number, whatever their timeline: segments, partial ones
    and .backup files. Never a history file: small as it is, each later timeline needs it."""
    found = []
    for name in stored:
        parsed = wal_name(name)
        number = segment_number(parsed[0][:24], segment_bytes) if parsed else None
        if number is not None and number < first:
            found.append(name)
    return tuple(sorted(found))


def prunable_checksums(groups: Iterable[str], first: int, segment_bytes: int) -> tuple[str, ...]:
    """The files in `checksums` in which no line is of a segment from this number on."""
    per = (1 << 32) // segment_bytes
    full = (group for group in groups if re.fullmatch(r"[0-9A-F]{16}", group))
    return tuple(sorted(group for group in full if (int(group[8:], 16) + 1) * per <= first))


def reach(wal: ArchivedWal, start_timeline: Timeline, start: Lsn, to: Timeline) -> Reach | None:
    """How far recovery gets that begins at `start` on one timeline and follows the history of `to`.

    None where `to` does not come from there, or its history is not known. As PostgreSQL does it (manual, 26.3.5), the
    segment in which a timeline was left, and perhaps the next one too, is read from the newest timeline that has it;
    where only an older one does, recovery ends where that was left.
    """
    if to != start_timeline and to not in wal.histories:
        return None
    content, size = wal.content, wal.content.segment_bytes
    path = (*wal.histories.get(to, ()), TimelineSwitch(to, Lsn((1 << 64) - 1)))
    begins = next((at for at, part in enumerate(path) if part.timeline == start_timeline), None)
    if begins is None or start > path[begins].at:
        return None
    path = path[begins:]
    lefts = [segment_of(part.at, size) for part in path]
    firsts = [0, *lefts[:-1]]
    number = segment_of(start, size)
    while True:
        # The timelines that may have something of this segment: more than one where it was written when one was left.
        parts = [at for at in range(len(path)) if firsts[at] <= number <= lefts[at]]
        newest = parts[-1]
        found = next((at for at in reversed(parts) if _has(content.timeline(path[at].timeline).runs, number)), None)
        if found != newest:
            end = Lsn(number * size) if found is None else max(path[found].at, start)
            missing = segment_name(path[newest].timeline, number, size)
            tail = _tail(content, path[newest].timeline, number) if newest == len(path) - 1 else None
            return Reach(to, end, missing, _later(wal, path[newest:], number), tail)
        following = min((first for first in firsts[newest + 1 :]), default=None)
        number = _after(content.timeline(path[newest].timeline).runs, number, following)


def segments_on_the_way(
    wal: ArchivedWal, start_timeline: Timeline, start: Lsn, to: Timeline, end: Lsn
) -> tuple[str, ...]:
    """The names of the segments that recovery from `start` on one timeline reads to get to `end` on another, as far as
    they are there (see `reach`)."""
    size = wal.content.segment_bytes
    path = (*wal.histories.get(to, ()), TimelineSwitch(to, Lsn((1 << 64) - 1)))
    begins = next((at for at, part in enumerate(path) if part.timeline == start_timeline), 0)
    path = path[begins:]
    lefts = [segment_of(part.at, size) for part in path]
    firsts = [0, *lefts[:-1]]
    names = []
    for number in range(segment_of(start, size), (end.position - 1) // size + 1):
        parts = [at for at in range(len(path)) if firsts[at] <= number <= lefts[at]]
        there = [at for at in parts if _has(wal.content.timeline(path[at].timeline).runs, number)]
        names.append(segment_name(path[max(there or parts)].timeline, number, size))
    return tuple(names)


def _tail(content: ArchiveContent, timeline: Timeline, number: int) -> Lsn | None:
    tail = content.tail
    return tail.end if tail is not None and (tail.timeline, tail.number) == (timeline, number) else None


def _after(runs: Runs, number: int, end: int | None) -> int:
    """The first number from here on that is missing, or `end`."""
    for low, high in runs:
        if low <= number <= high:
            number = high + 1
    return number if end is None else min(number, end)


def _has(runs: Runs, number: int) -> bool:
    return any(low <= number <= high for low, high in runs)


def _later(wal: ArchivedWal, path: Sequence[TimelineSwitch], number: int) -> bool:
    """Whether a timeline of this part of the path has a segment behind this number."""
    return any(high > number for part in path for _, high in wal.content.timeline(part.timeline).runs)
