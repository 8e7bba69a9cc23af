"""What follows for a restore from where its target was found in WAL, or that it was not."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from pgtandem.errors import PgtandemError
from pgtandem.model.restore import Interval, Point, Searched, Target, TargetKind

#: So many names are shown.
_MOST = 5


def places_of(target: Target, searched: Searched) -> tuple[Point, ...]:
    """Where recovery could stop for a target that is a name or a transaction."""
    if target.kind is TargetKind.NAME:
        return tuple(point for point in searched.points if point.name == target.text)
    return searched.points


def target_with_place(target: Target, searched: Searched, interval: Interval) -> Target:
    """The target with its position, so that the newest backup before it is taken. Where it is there more than once it
    is the first one: PostgreSQL stops there.

    Raises PgtandemError PT-3054 where it is not there, with the names that are, the nearest spelled first.
    """
    places = places_of(target, searched)
    if places:
        return replace(target, lsn=places[0].lsn)
    if searched.trouble:
        return target
    where = f"between {searched.begin}, where backup {interval.backup.label} begins, and {searched.end}"
    if target.kind is TargetKind.XID:
        why = f"No transaction {target.text} ends {where}. What had not ended yet, or was part of another transaction "
        why += "(a savepoint), is no target."
        next_step = "pgtandem restore   (shows what can be restored)"
    else:
        why = f"No restore point of this name is {where}. {_there_are(target.text, searched.points)}"
        near = difflib.get_close_matches(target.text, _names(searched.points), 1)
        next_step = "pgtandem restore --names   (shows them all)"
        if near:
            # A name is whatever somebody gave it, and this line is there to be copied into a shell.
            next_step = f"pgtandem restore --to {quote(f'name:{near[0]}')}"
    raise PgtandemError("PT-3054", f"cannot restore to {target}", why=why, next_step=next_step)


def several_in_words(target: Target, searched: Searched) -> str:
    """What is to be said where a target is there more than once, "" where it is not. Moments are in braces, as
    everywhere in the planner."""
    places = places_of(target, searched)
    if len(places) < 2:
        return ""
    shown = ", ".join(place_in_words(place) for place in places[:_MOST])
    more = f" and {len(places) - _MOST} more" if len(places) > _MOST else ""
    others = f"--to {places[-1].lsn}" if len(places) == 2 else "--to and its LSN"
    return f"It is there {len(places)} times: {shown}{more}. Recovery stops at the first; for another one: {others}"


def place_in_words(point: Point) -> str:
    return str(point.lsn) if point.time is None else f"{point.lsn} of {{{point.time}}}"


def _names(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.name for point in points))


def _there_are(wanted: str, points: Sequence[Point]) -> str:
    if not points:
        return "There is none at all."
    near = difflib.get_close_matches(wanted, _names(points), _MOST, 0.4)
    ordered = [*(point for name in near for point in points if point.name == name)]
    ordered += [point for point in reversed(points) if point.name not in near]
    shown = ", ".join(f'"{point.name}" ({place_in_words(point)})' for point in ordered[:_MOST])
    more = f" and {len(ordered) - _MOST} more" if len(ordered) > _MOST else ""
    return f"There {'is' if len(points) == 1 else 'are'} {shown}{more}."
