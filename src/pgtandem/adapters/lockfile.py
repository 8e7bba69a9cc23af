"""What stands in the lock files of a workspace: who holds one, written, read and put into words."""

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict
from datetime import datetime

from pgtandem.adapters.hosts.account import current_account
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
            record.get("gives_way") is True,
        )
        datetime.fromtimestamp(holder.since)
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return None
    if holder.pid <= 1 or not _plausible(holder):
        return None
    return holder


def write_holder(descriptor: int, holder: LockHolder) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode() + b"\n", 0)


def this_process(command: str, *, gives_way: bool = False) -> LockHolder:
    return LockHolder(os.getpid(), os.uname().nodename, current_account().name, command, time.time(), gives_way)


def lock_file(path: str) -> int | None:
    """The file, locked by this process for itself; None where another one has it. It is made where it is not there.

    Children do not inherit it, so the lock ends with this process in any case.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another removed it in the meantime


def unlock_file(descriptor: int) -> None:
    """Emptied, not removed: another may be waiting for this very file."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def holder_of(path: str, *, sure: bool) -> LockHolder | None:
    """Who has locked the file; None where nobody has, and where no record of sense stands in it.

    `sure` asks the kernel too, by locking it for a moment: whoever locks the file at that moment has to try again.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if sure:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
        return read_holder(descriptor)
    finally:
        os.close(descriptor)


def _is_same_file(descriptor: int, path: str) -> bool:
    try:
        info = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(info, os.fstat(descriptor))


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
