"""Files that a command writes for people: whole or not at all, and over nothing but earlier ones of its own."""

import os
import tempfile
from contextlib import suppress

from pgtandem.errors import PgtandemError


def refuse_foreign(path: str, mark: str, again: str) -> None:
    """Before the work: raises PgtandemError PT-1009 where the file could not be written, or is there and has no `mark`
    in its beginning. `again` is the command that would write elsewhere."""
    try:
        with open(path, "rb") as file:
            start = file.read(2000)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.isdir(folder) and os.access(folder, os.W_OK):
            return
        why = "There is no such folder." if not os.path.isdir(folder) else "Permission denied."
        raise _unwritable(path, why, again) from None
    except OSError as error:
        raise _unwritable(path, f"{error.strerror}.", again) from None
    if start and mark.encode() not in start:
        raise _unwritable(path, "There is a file already that pgtandem did not make; it is not written over.", again)


def write_whole(path: str, text: str, again: str) -> None:
    """Raises PgtandemError PT-1009."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".pgtandem-", dir=os.path.dirname(os.path.abspath(path)))
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise _unwritable(path, f"{error.strerror}.", again) from None


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _unwritable(path: str, why: str, again: str) -> PgtandemError:
    return PgtandemError("PT-1009", f"could not write {path}", why=why, next_step=again)
