"""What stands in the lock file of a workspace: who holds it, read and put into words."""

import json
import os
from datetime import datetime

from pgtandem.ports.workspace import LockHolder

_MAXIMAL_BYTES = 65536


def read_holder(descriptor: int) -> LockHolder | None:
    """The record in the file; None where nothing of sense stands there (it may be about to be written)."""
    try:
        record = json.loads(os.pread(descriptor, _MAXIMAL_BYTES, 0))
        holder = LockHolder(
            int(record["pid"]),
            str(record["machine"]),
            str(record["account"]),
            str(record["command"]),
            float(record["since"]),
        )
        datetime.fromtimestamp(holder.since)
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return None
    if holder.pid <= 1 or not _plausible(holder):
        return None
    return holder


def held_words(holder: LockHolder | None, now: float) -> str:
    """For example: "apply" by alice on host db-admin (process 4711) has held the lock since ..."""
    if holder is None:
        return "A process that did not say who it is holds the lock."
    since = datetime.fromtimestamp(holder.since).strftime("%Y-%m-%d %H:%M:%S")
    return (
        f'"{holder.command}" by {holder.account} on host {holder.machine} (process {holder.pid}) '
        f"has held the lock since {since}{_age(now - holder.since)}"
    )


def holder_advice(holder: LockHolder | None, path: str) -> str:
    if holder is None:
        return f"wait for it, or find it: fuser -v {path}"
    if holder.machine != os.uname().nodename:
        return f"wait for it, or end it on host {holder.machine}: kill {holder.pid}"
    return f"wait for it, or end it: kill {holder.pid}"


def _plausible(holder: LockHolder) -> bool:
    """Not the record of an earlier holder, killed, whose successor has not written his own yet: the advice to
    end that process could hit another one. And no text that would break the message's line."""
    words = (holder.machine, holder.account, holder.command)
    if not all(word.isprintable() and len(word) < 1000 for word in words):
        return False
    if holder.machine != os.uname().nodename:
        return True
    try:
        os.kill(holder.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is there, and another's
    return True


def _age(seconds: float) -> str:
    if seconds < 0:
        return ""  # the clocks of two machines differ
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f" ({seconds / unit:.0f} {name} ago)"
    return f" ({seconds:.0f} s ago)"
