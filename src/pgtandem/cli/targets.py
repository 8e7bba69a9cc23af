"""What a restore is asked to stop at, as people write it."""

import re
from datetime import UTC, datetime, timedelta

from pgtandem.cli.moments import moment_in_words, past_moment
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn
from pgtandem.model.restore import Target, TargetKind

_FORMS = (
    "latest, a time (2026-11-25 14:03, with a zone 2026-11-25T14:03+09:00, 14:03 of today, yesterday 14:03, 10 minutes "
    "ago, now), an LSN (0/3000060), a transaction (xid:1234), or a restore point (name:before-upgrade)"
)
_YESTERDAY = re.compile(r"yesterday +(\d{1,2}:\d{2}(?::\d{2})?)")
_AGO = re.compile(r"(\d{1,4}) *(second|minute|hour|day)s? +ago")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def read_target(text: str, now: float) -> Target:
    """A time without a zone is one of this machine's clock; how it was understood is shown with its zone.

    Raises PgtandemError PT-1006 where it is none of the forms, or still to come.
    """
    kind, colon, rest = text.strip().partition(":")
    if colon and rest and kind in ("xid", "name", "lsn", "time"):
        return _of_kind(TargetKind(kind), rest.strip(), now)
    word = text.strip()
    if word == "latest":
        return Target(TargetKind.LATEST, "latest")
    if re.fullmatch(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", word):
        return _of_kind(TargetKind.LSN, word, now)
    if word.isdigit():
        return _of_kind(TargetKind.XID, word, now)
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", word) and word != "now" and not word.startswith("yesterday"):
        return _of_kind(TargetKind.NAME, word, now)
    return _of_kind(TargetKind.TIME, word, now)


def _of_kind(kind: TargetKind, text: str, now: float) -> Target:
    if kind is TargetKind.LSN:
        try:
            lsn = Lsn.parse(text)
        except ValueError:
            raise _not_a_target(text) from None
        return Target(kind, str(lsn), lsn=lsn)
    if kind is TargetKind.XID:
        if not text.isdigit() or int(text) < 3:
            raise _not_a_target(f"xid:{text}")
        return Target(kind, str(int(text)))
    if kind is TargetKind.NAME:
        if len(text) > 63 or not text.isprintable():
            raise _not_a_target(f"name:{text}")
        return Target(kind, text)
    return _time(text, now)


def _time(text: str, now: float) -> Target:
    if found := _YESTERDAY.fullmatch(text):
        day = datetime.fromtimestamp(now).date() - timedelta(days=1)
        text = f"{day.isoformat()}T{found[1]:0>5}"
    ago = (0, "second") if text == "now" else (int(found[1]), found[2]) if (found := _AGO.fullmatch(text)) else None
    try:
        moment = past_moment(text, now) if ago is None else now - ago[0] * _SECONDS[ago[1]]
    except PgtandemError as error:
        if "is not a time" in error.what:
            raise _not_a_target(text) from None
        raise
    # PostgreSQL is told it in UTC: its server's own zone has no say.
    shown = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    return Target(TargetKind.TIME, shown, moment=moment)


def target_in_words(target: Target) -> str:
    """With the zone of this machine, where it is a time."""
    return moment_in_words(target.moment) if target.moment is not None else str(target)


def _not_a_target(text: str) -> PgtandemError:
    return PgtandemError(
        "PT-1006",
        f'"{text}" is nothing that can be restored to',
        why=f"It may be {_FORMS}.",
        next_step="pgtandem restore   (shows what can be restored)",
    )
