"""How much WAL a replication slot may hold (max_slot_wal_keep_size), computed from the disk.

Without a cap, a standby that is away fills the primary's disk and stops it; with one that is too small, a short outage
costs a new base backup. A quarter to a half of what is free, shared by the nodes on one file system, is the compromise.
A value that is in place stays while it is still sensible: a plan must not change because a disk filled up by a little.
"""

from collections.abc import Iterable

from pgtandem.model.facts import Absent, value_or_none
from pgtandem.model.observed import DiskSpace, ObservedNode
from pgtandem.postgres.versions import has_slot_cap

MEGABYTE = 1024 * 1024
_SMALLEST_MB = 64


def slot_cap_megabytes(node: ObservedNode, neighbours: Iterable[ObservedNode], in_place: str | None) -> int | None:
    """The cap in MB; None when the disk is unknown.

    `neighbours` are the other nodes on the same host; `in_place` is what the settings file has
    now, as pgtandem wrote it ("4096MB").
    """
    disk = wal_disk(node)
    if disk is None:
        return _megabytes(in_place)
    sharing = 1 + sum(1 for other in neighbours if (space := wal_disk(other)) and space.device == disk.device)
    held = max((slot.held_bytes or 0 for slot in node.running.slots.values()), default=0) if node.running else 0
    usable_mb = (disk.free_bytes + held) // MEGABYTE // sharing
    fresh = _power_of_two_at_most(max(usable_mb // 2, _SMALLEST_MB))
    current = _megabytes(in_place)
    if current is not None and max(fresh // 4, _SMALLEST_MB) <= current <= max(usable_mb * 3 // 4, _SMALLEST_MB):
        return current
    return fresh


def wal_disk(node: ObservedNode) -> DiskSpace | None:
    """The one that WAL is written to."""
    return value_or_none(node.disk if isinstance(node.wal_disk, Absent) else node.wal_disk)


def _megabytes(text: str | None) -> int | None:
    return int(text[:-2]) if text and text.endswith("MB") and text[:-2].isdigit() else None


def _power_of_two_at_most(number: int) -> int:
    return 1 << (number.bit_length() - 1)


def up_to_the_cap(major: int) -> str:
    """How much a slot keeps, as the end of a sentence."""
    return ", up to max_slot_wal_keep_size" if has_slot_cap(major) else f": PostgreSQL {major} has no limit for it"
