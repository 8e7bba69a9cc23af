"""From what the archive holds to what is wrong with it, and to the intervals that can be restored."""

from collections.abc import Iterator

from pgtandem.model.archive_report import ArchiveReport, Damage, Restorable
from pgtandem.model.archived import ArchiveContent, ArchivedWal
from pgtandem.model.backup import Backups, spoilt_in
from pgtandem.postgres.archive_content import reach, without
from pgtandem.postgres.segments import segment_name


def archive_report(
    system: str, directory: str, wal: ArchivedWal, backups: Backups, unusable: frozenset[str] = frozenset()
) -> ArchiveReport:
    """From names and sizes, and from what reading the files has found: those of which there is no sound copy."""
    intervals = tuple(_restorable(without(wal, unusable), backups))
    damages = (*content_damages(wal.content), *_out_of_reach(backups, intervals))
    return ArchiveReport(system, directory, wal.content, intervals, damages, unusable=unusable)


def content_damages(content: ArchiveContent) -> Iterator[Damage]:
    """Holes, sizes that cannot be, two forms of one file, history files that are missing."""
    size = content.segment_bytes
    for one in content.timelines:
        for low, high in one.holes:
            first, last = (segment_name(one.timeline, number, size) for number in (low, high))
            count = high - low + 1
            between = first if count == 1 else f"{first} to {last}"
            yield Damage(f"{count} segment{'' if count == 1 else 's'} missing on timeline {one.timeline}: {between}")
        if one.history_missing and one.runs:
            name = f"{one.timeline:08X}.history"
            yield Damage(f"{name} is missing: nobody can tell where timeline {one.timeline} came from")
    for name in content.wrong_size:
        yield Damage(f"{name} has not the size that it should have")
    for name in content.twice:
        yield Damage(f"{name} is there in more than one form")


def _restorable(wal: ArchivedWal, backups: Backups) -> Iterator[Restorable]:
    timelines = [one.timeline for one in wal.content.timelines if one.runs]
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
