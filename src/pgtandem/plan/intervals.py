"""What can be restored: every backup with the WAL that follows it, timeline by timeline; and which backup to take."""

from collections.abc import Mapping
from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.archived import ArchivedWal
from pgtandem.model.backup import Backup, Backups, spoilt_in
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.observed import Observed
from pgtandem.model.restore import Interval, Target, TargetKind
from pgtandem.postgres.archive_content import reach
from pgtandem.postgres.segments import segment_name


def intervals(backups: Backups, wal: ArchivedWal, written: Mapping[str, float]) -> tuple[Interval, ...]:
    """By timeline, then by backup, oldest first. `written` is when files came into the archive (seconds since 1970), by
    their WAL names: the commits in a segment are not younger than it is."""
    timelines = sorted({one.timeline for one in wal.content.timelines} | {backup.timeline for backup in backups.kept})
    found: list[Interval] = []
    for timeline in timelines:
        for backup in backups.kept:
            chain = backups.chain(backup)
            if chain is not None and (interval := _interval(backup, wal, timeline, written)):
                whole = replace(_from_its_forebear(interval, wal, found), spoilt=spoilt_in(chain))
                found.append(_broken_off(whole, wal))
    return tuple(found)


def _broken_off(interval: Interval, wal: ArchivedWal) -> Interval:
    """With what keeps recovery from a later timeline, where it would get there by way of this one: else this one would
    seem to be the latest that there is."""
    backup = interval.backup
    for timeline, path in wal.histories.items():
        on_the_way = any(switch.timeline == interval.timeline for switch in path)
        if interval.hole or not on_the_way or not wal.content.timeline(timeline).runs:
            continue
        far = reach(wal, backup.timeline, backup.start_lsn, timeline)
        if far is not None and far.hole and far.end == interval.end:
            return replace(interval, hole=True, missing=far.missing)
    return interval


def _from_its_forebear(interval: Interval, wal: ArchivedWal, older: list[Interval]) -> Interval:
    """With what lies between the archived end of an older timeline and the place where it was left: that is in the
    first segment of this one. A timeline that never filled a segment lies there as a whole."""
    for switch in reversed(wal.histories.get(interval.timeline, ())):
        for each in older:
            if each.timeline == switch.timeline and each.backup == interval.backup:
                if each.end >= interval.begin:
                    return interval
                return replace(interval, begin=each.end, begin_time=each.end_time)
    return interval


def contested(observed: Observed, interval: Interval) -> tuple[str, str] | None:
    """A segment of this interval that a primary cannot archive although it is in the archive, and that primary. Where
    another server has put it there (a copy of the primary's data that somebody started), what follows is that one's."""
    for name in observed.primaries():
        server = observed.nodes[name].running
        archiver = server.archiver if server else None
        failed = archiver.last_failed_wal if archiver and archiver.failing else None
        same = failed is not None and failed[:8] == interval.missing[:8] and len(failed) == len(interval.missing)
        if failed is not None and same and failed < interval.missing:
            return failed, name
    return None


def _interval(backup: Backup, wal: ArchivedWal, timeline: Timeline, written: Mapping[str, float]) -> Interval | None:
    """None where the backup leads to no moment of this timeline."""
    far = reach(wal, backup.timeline, backup.start_lsn, timeline)
    own = timeline == backup.timeline
    if far is None:
        return None
    # What the backup's own WAL covers is in the backup too.
    end = max(far.furthest, backup.stop_lsn) if own else far.furthest
    switches = wal.histories.get(timeline, ())
    begin = backup.stop_lsn if own else max(backup.stop_lsn, switches[-1].at)
    # A segment beyond the place where a timeline was left belongs to the next one.
    left = next((switch.at for switch in switches if switch.timeline == backup.timeline), None)
    if (left is not None and backup.stop_lsn > left) or (not own and end <= begin) or end < begin:
        return None
    size = wal.content.segment_bytes
    last = segment_name(timeline, max(end.position - 1, 0) // size, size)
    history = f"{timeline:08X}.history"
    return Interval(
        timeline=timeline,
        backup=backup,
        begin=begin,
        end=end,
        begin_time=backup.ended if own else written.get(history),
        end_time=written.get(last, backup.ended if own and end == backup.stop_lsn else None),
        missing=far.missing,
        hole=far.hole,
        streamed_from=far.end if far.end < end == far.tail else None,
    )


def latest_timeline(found: tuple[Interval, ...]) -> Timeline:
    """The newest timeline that anything leads to."""
    return max((interval.timeline for interval in found), default=Timeline(1))


def choose(
    found: tuple[Interval, ...], target: Target, timeline: Timeline | None, label: str | None = None
) -> Interval:
    """The newest backup from which the target can be reached; for a transaction or a name whose place is not known (it
    has no `lsn`), the oldest one. One that is known to be damaged is taken only where no other leads there. Raises
    PgtandemError PT-3054 with what would be possible instead."""
    wished = timeline or latest_timeline(found)
    on_it = [each for each in found if each.timeline == wished and label in (None, each.backup.label)]
    if not on_it:
        raise _refusal(target, f"no backup leads to timeline {wished}", found)
    if target.kind in (TargetKind.XID, TargetKind.NAME) and target.lsn is None:
        furthest = max(each.end for each in on_it)
        return _not_spoilt([each for each in on_it if each.end == furthest])[0]
    if target.kind is TargetKind.LATEST:
        furthest = max(each.end for each in on_it)
        return _not_spoilt([each for each in on_it if each.end == furthest])[-1]
    if target.lsn is not None:
        inside = [each for each in on_it if each.begin <= target.lsn < each.end]
        # An older position of the way to this timeline can be reached from a backup of before it.
        inside = inside or [each for each in on_it if each.backup.stop_lsn <= target.lsn < each.end]
        if inside:
            return _not_spoilt(inside)[-1]
        before = [each for each in on_it if each.end <= target.lsn]
        raise _refusal(target, _why_lsn(on_it, target.lsn), found, max(before, key=_end, default=None))
    assert target.moment is not None
    inside = [each for each in on_it if each.backup.ended <= target.moment <= _end_time(each)]
    if inside:
        return _not_spoilt(inside)[-1]
    ended = [each for each in on_it if _end_time(each) < target.moment]
    raise _refusal(target, _why_time(on_it, target.moment), found, max(ended, key=_end_time, default=None))


def _not_spoilt(inside: list[Interval]) -> list[Interval]:
    """Those whose backup was not found to be damaged, where there are any: an older one leads there too."""
    return [each for each in inside if each.spoilt is None] or inside


def _end(interval: Interval) -> Lsn:
    return interval.end


def _end_time(interval: Interval) -> float:
    return interval.end_time if interval.end_time is not None else interval.backup.ended


def _why_lsn(on_it: list[Interval], lsn: Lsn) -> str:
    before = [each for each in on_it if each.end <= lsn]
    after = [each for each in on_it if each.backup.stop_lsn > lsn]
    words = []
    if before:
        last = max(before, key=_end)
        words.append(f"recovery gets to the last record before {last.end}, {_what_ends(last)}")
    if after:
        first = min(after, key=lambda each: each.backup.stop_lsn)
        words.append(f"the first one after it is {first.backup.stop_lsn}, the end of backup {first.backup.label}")
    return "; ".join(words)


def _why_time(on_it: list[Interval], moment: float) -> str:
    before = [each for each in on_it if _end_time(each) < moment]
    after = [each for each in on_it if each.backup.ended > moment]
    words = []
    if before:
        last = max(before, key=_end_time)
        words.append(f"recovery gets to the last transaction before {{{_end_time(last)}}}, {_what_ends(last)}")
    if after:
        first = min(after, key=lambda each: each.backup.ended)
        words.append(f"the first one after it is {{{first.backup.ended}}}, the end of backup {first.backup.label}")
    return "; ".join(words)


def _what_ends(interval: Interval) -> str:
    return f"where segment {interval.missing} is missing" if interval.hole else "the end of what is archived"


def _refusal(target: Target, why: str, found: tuple[Interval, ...], before: Interval | None = None) -> PgtandemError:
    """`before` is what leads to the nearest that comes before the target."""
    if not found:
        return PgtandemError(
            "PT-3054",
            f"cannot restore to {target}: there is no backup to begin with",
            why="A restore begins with a base backup, and goes on with the WAL that was archived since.",
            next_step="pgtandem backup   (for the next time)",
        )
    return PgtandemError(
        "PT-3054",
        f"cannot restore to {target}",
        why=f"{why[:1].upper()}{why[1:]}.",
        next_step=_nearest(before, found) if before else "pgtandem restore   (shows what can be restored)",
    )


def _nearest(before: Interval, found: tuple[Interval, ...]) -> str:
    """The command that leads to the end of this interval. That end itself is no target: recovery stops where it meets a
    record that is not before its target."""
    words = "pgtandem restore --to latest"
    newest = before.timeline == latest_timeline(found)
    if not newest:
        words += f" --timeline {before.timeline}"
    if any(each.end > before.end for each in found if each.timeline == before.timeline):
        words += f" --backup {before.backup.label}"
    return f"{words}   (the nearest one before it)"
