"""The folder pg_wal of a simulated data directory: its WAL is kept in one piece, and shown as segments here."""

import posixpath

from pgtandem.testing.files import SimFile, SimFileSystem
from pgtandem.testing.storage import CONTROL_FILE, SEGMENT, Storage, segment_name

_AHEAD = 2


def wal_files(files: SimFileSystem, path: str) -> dict[str, bytes] | None:
    """The names in a folder pg_wal, with the first bytes of each; None for any other folder.

    As a real server does, it has prepared segments ahead: their beginning is of a segment that is gone.
    """
    folder, name = posixpath.split(path.rstrip("/"))
    control = files.find(f"{folder}/{CONTROL_FILE}") if name == "pg_wal" else None
    if not isinstance(control, SimFile) or not isinstance(control.payload, Storage):
        return None
    storage = control.payload
    first, last = storage.oldest // SEGMENT, (storage.end - 1) // SEGMENT
    begins = {number: number for number in range(first, last + 1)}
    begins |= dict.fromkeys(range(last + 1, last + 1 + _AHEAD), first)
    return {
        segment_name(storage.timeline, number): bytes(8) + (begin * SEGMENT).to_bytes(8, "little")
        for number, begin in begins.items()
    }
