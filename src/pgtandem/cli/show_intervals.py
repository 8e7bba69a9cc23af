"""What can be restored, for people."""

import re
import textwrap
from collections.abc import Sequence

from pgtandem.cli.moments import moment_in_words
from pgtandem.cli.terminal import Paint
from pgtandem.model.restore import Interval, Searched

_NUMBER = re.compile(r"\{(\d+\.?\d*)\}")


def interval_lines(cluster: str, found: Sequence[Interval], paint: Paint, columns: int) -> list[str]:
    """By timeline: from when to when, from which backups, and where it ends. A stretch begins with the first backup
    that is not known to be damaged; those that are, are named."""
    if not found:
        return [f"nothing can be restored of cluster {cluster}: there is no backup to begin with"]
    if any(each.spoilt is None for each in found):
        lines = [paint.bold(f"cluster {cluster} can be restored to any moment")]
    else:
        what = f"every backup of cluster {cluster} is BAD: what comes back may be damaged"
        lines = [paint.red(line) for line in textwrap.wrap(what, columns)]
    for timeline in dict.fromkeys(each.timeline for each in found):
        on_it = [each for each in found if each.timeline == timeline]
        lines.append(paint.bold(f"on timeline {timeline}"))
        # Backups of one unbroken stretch lead to the same end: that is one line.
        for end in dict.fromkeys(each.end for each in on_it):
            lines += _stretch_lines([each for each in on_it if each.end == end], paint, columns)
    last = "Times are this machine's; the last transactions of each stretch may be a little older."
    return [*lines, *textwrap.wrap(last, columns)]


def _stretch_lines(stretch: Sequence[Interval], paint: Paint, columns: int) -> list[str]:
    good = [each for each in stretch if each.spoilt is None]
    shown = good or stretch
    first = shown[0]
    count = f"{len(shown)} backups, the first is" if len(shown) > 1 else "backup"
    lines = [
        f"  from   {_moment(first.begin_time)}   {first.begin}",
        f"  until  {_moment(first.end_time)}   {first.end}",
        *_wrapped(f"{count} {first.backup.label}", columns),
    ]
    trouble = [_spoilt_in_words(each, others=bool(good)) for each in stretch if each.spoilt]
    if first.hole:
        trouble.append(f"there is WAL behind it, but {first.missing} is missing: nothing in between can be restored")
    return lines + [paint.red(line) for what in trouble for line in _wrapped(what, columns)]


def _spoilt_in_words(interval: Interval, *, others: bool) -> str:
    label, bad = interval.backup.label, interval.spoilt
    assert bad is not None
    assert bad.verified is not None
    of = "" if bad.label == label else f", which continues {bad.label},"
    instead = "left out here" if others else "and no other one leads here"
    return f"backup {label}{of} is BAD, {instead}: {bad.verified.trouble}"


def point_lines(searched: Searched, paint: Paint) -> list[str]:
    """The restore points on the newest timeline, oldest first."""
    if not searched.points:
        lines = [paint.bold(f"no restore point from {searched.begin} to {searched.end}")]
    else:
        lines = [paint.bold(f"restore points from {searched.begin} to {searched.end}")]
    lines += [f"  {_moment(point.time)}   {point.lsn}   {point.name}" for point in searched.points]
    return [*lines, paint.red(f"  not all of it could be read: {searched.trouble}")] if searched.trouble else lines


def with_moments(text: str) -> str:
    """The planner knows no zones: what it names as seconds since 1970 is shown as this machine's clock has it."""
    return _NUMBER.sub(lambda found: moment_in_words(float(found[1])), text)


def _moment(seconds: float | None) -> str:
    return f"{'(not known)':<25}" if seconds is None else moment_in_words(seconds)


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, max(columns, 40), initial_indent="         ", subsequent_indent="         ")
