"""A moment as people write it on a command line: "14:30" today, or an ISO date and time, with or without a zone."""

import re
from datetime import UTC, datetime

from pgtandem.errors import PgtandemError

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
#: As PostgreSQL's log and this program's own output write it: "14:03:05 UTC", "14:03:05 +0000".
_ZONE = re.compile(r"(?<=\d)\s+(UTC|GMT|Z|[+-]\d{2}(?::?\d{2})?)$")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_FORMS = "14:30, 2026-11-26T02:00, or with a zone 2026-11-26T02:00+09:00"


def read_moment(text: str, now: float) -> float:
    """Seconds since 1970. `now` is when this is asked; what names no zone is meant in this machine's own one.

    Raises PgtandemError PT-1006 where it is no time, is over, or does not name one single moment.
    """
    moment = _moment(text, now, "--at")
    if moment <= now:
        raise _over(text, moment, now)
    return moment


def past_moment(text: str, now: float) -> float:
    """The same for a moment that is over. Raises PgtandemError PT-1006 for one that is still to come too."""
    moment = _moment(text, now, "--to")
    if moment > now:
        raise PgtandemError(
            "PT-1006",
            f'"{text}" is still to come',
            why=f"That is {moment_in_words(moment)}, and it is {moment_in_words(now)} now.",
            next_step="name a time that is over, or latest",
        )
    return moment


def _moment(text: str, now: float, option: str) -> float:
    today = datetime.fromtimestamp(now)
    if found := _CLOCK.fullmatch(text.strip()):
        hour, minute, second = (int(part or 0) for part in found.groups())
        if hour > 23 or minute > 59 or second > 59:
            raise _not_a_time(text)
        wished = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
    else:
        try:
            wished = datetime.fromisoformat(_ZONE.sub(_as_offset, text.strip()))
        except ValueError:
            raise _not_a_time(text) from None
        if re.fullmatch(r"[0-9W-]+", text.strip()):
            raise _not_a_time(text)  # a date alone would mean midnight, which nobody wrote
    return wished.timestamp() if wished.tzinfo is not None else _of_this_zone(wished, text, option)


def _as_offset(found: re.Match[str]) -> str:
    return "Z" if found[1].isalpha() else found[1]


def moment_in_words(moment: float) -> str:
    """As this machine's clock shows it, with the zone: "2026-11-26 02:00:00 +0900"."""
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def time_left_in_words(seconds: float) -> str:
    """What a countdown shows: "2 d 03:04:05", "03:04:05", "00:05"."""
    left = max(round(seconds), 0)
    days, left = divmod(left, _DAY)
    hours, left = divmod(left, _HOUR)
    minutes, left = divmod(left, _MINUTE)
    clock = f"{minutes:02}:{left:02}"
    if hours or days:
        clock = f"{hours:02}:{clock}"
    return f"{days} d {clock}" if days else clock


def _of_this_zone(wished: datetime, text: str, option: str) -> float:
    """Where clocks are put forward an hour does not exist, and where they are put back one comes twice."""
    first, second = (wished.replace(fold=fold).timestamp() for fold in (0, 1))
    if datetime.fromtimestamp(first) != wished:
        raise PgtandemError(
            "PT-1006",
            f'the clock of this machine never shows "{text}"',
            why="Clocks are put forward at that time.",
            next_step="name another time, or one with its zone",
        )
    if first != second:
        zones = [datetime.fromtimestamp(moment, UTC).astimezone().isoformat() for moment in (first, second)]
        raise PgtandemError(
            "PT-1006",
            f'the clock of this machine shows "{text}" twice',
            why="Clocks are put back at that time.",
            next_step=f"{option} {zones[0]}   or   {option} {zones[1]}",
        )
    return first


def _not_a_time(text: str) -> PgtandemError:
    return PgtandemError("PT-1006", f'"{text}" is not a time', why=f"A time is written as {_FORMS}.")


def _over(text: str, moment: float, now: float) -> PgtandemError:
    tomorrow = ""
    if _CLOCK.fullmatch(text.strip()):
        following = datetime.fromtimestamp(moment + _DAY).strftime("%Y-%m-%dT%H:%M:%S")
        tomorrow = f"for tomorrow: --at {following}"
    return PgtandemError(
        "PT-1006",
        f'"{text}" is over',
        why=f"That was {moment_in_words(moment)}, and it is {moment_in_words(now)} now.",
        next_step=tomorrow or "name a time that is to come",
    )
