"""From what the archive holds to what is wrong with it, and to the intervals that can be restored."""

from collections.abc import Iterator

from pgtandem.model.archive_report import ArchiveReport, Damage, Restorable
from pgtandem.model.archived import ArchiveContent, ArchivedWal
from pgtandem.model.backup import Backups, spoilt_in
from pgtandem.model.lsn import Timeline
from pgtandem.postgres.archive_content import reach, without
from pgtandem.postgres.segments import segment_name, segment_of


def archive_report(
    system: str, directory: str, wal: ArchivedWal, backups: Backups, unusable: frozenset[str] = frozenset()
) -> ArchiveReport:
    """From names and sizes, and from what reading the files has found: those of which there is no sound copy."""
    intervals = tuple(_restorable(without(wal, unusable), backups))
    damages = (*content_damages(wal.content), *_between_timelines(wal), *_out_of_reach(backups, intervals))
    return ArchiveReport(system, directory, wal.content, intervals, damages, unusable=unusable)


def content_damages(content: ArchiveContent) -> Iterator[Damage]:
    """Holes, sizes that cannot be, two forms of one file, history files that are missing."""
    size = content.segment_bytes
    for one in content.timelines:
        for low, high in one.holes:
            yield _missing(one.timeline, low, high, size)
        if one.history_missing and one.runs:
            name = f"{one.timeline:08X}.history"
            yield Damage(f"{name} is missing: nobody can tell where timeline {one.timeline} came from")
    for name in content.wrong_size:
        yield Damage(f"{name} has not the size that it should have")
    for name in content.twice:
        yield Damage(f"{name} is there in more than one form")


def _missing(timeline: Timeline, low: int, high: int, segment_bytes: int) -> Damage:
    first, last = (segment_name(timeline, number, segment_bytes) for number in (low, high))
    count = high - low + 1
    between = first if count == 1 else f"{first} to {last}"
    return Damage(f"{count} segment{'' if count == 1 else 's'} missing on timeline {timeline}: {between}")


def _between_timelines(wal: ArchivedWal) -> Iterator[Damage]:
    """Segments that are missing where one timeline was left for the next, which begins in the segment that the last one
    was left in. What is older than all that is there was pruned."""
    size, told = wal.content.segment_bytes, set[tuple[Timeline, int, int]]()
    for newest, path in wal.histories.items():
        parts = [(switch.timeline, segment_of(switch.at, size)) for switch in path]
        runs = {timeline: wal.content.timeline(timeline).runs for timeline in (*dict(parts), newest)}
        if not any(runs.values()):
            continue
        begins = min(low for each in runs.values() for low, _ in each)
        for timeline, left in (*parts, (newest, max((high + 1 for _, high in runs[newest]), default=0))):
            inside = [(low, high) for low, high in runs[timeline] if low < left and high >= begins]
            first, last = (inside[0][0], inside[-1][1]) if inside else (left, left)
            for low, high in ((begins, first - 1), (last + 1, left - 1)):
                if low <= high and (timeline, low, high) not in told:
                    told.add((timeline, low, high))
                    yield _missing(timeline, low, high, size)
            begins = max(begins, left)


def _restorable(wal: ArchivedWal, backups: Backups) -> Iterator[Restorable]:
    timelines = {one.timeline for one in wal.content.timelines if one.runs}
    if wal.content.tail is not None:
        timelines.add(wal.content.tail.timeline)  # after a role change its first segment may not be whole yet
    for backup in backups.kept:
        chain = backups.chain(backup)
        if chain is None or spoilt_in(chain):
            continue
        for timeline in sorted({backup.timeline, *timelines}):
            found = reach(wal, backup.timeline, backup.start_lsn, timeline)
            if found is not None and found.furthest > backup.stop_lsn:
                yield Restorable(backup.label, timeline, backup.stop_lsn, found.furthest, found.missing, found.hole)


def _out_of_reach(backups: Backups, intervals: tuple[Restorable, ...]) -> Iterator[Damage]:
    """Backups that lack the WAL between their begin and their end cannot be restored at all."""
    reached = {interval.backup for interval in intervals}
    for backup in backups.kept:
        chain = backups.chain(backup)
        if backup.label not in reached and backup.sound and chain is not None and not spoilt_in(chain):
            yield Damage(f"backup {backup.label} lacks WAL that it needs: it cannot be restored")
