"""How much room the archive's disk has, and what comes of it when there is none: the same words for every view.

An archive that is full loses nothing at first. Segments stay in pg_wal, and PostgreSQL tries again by itself; only when
the disk of pg_wal is full too does the primary stop.
"""

from pgtandem.model.facts import value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.model.words import duration_in_words, size_in_words
from pgtandem.plan.slot_cap import wal_disk

#: PostgreSQL's own, where no data directory tells another one.
_SEGMENT_BYTES = 16 * 1024 * 1024
#: So few segments are written in a moment, however large the disk is.
_FEW_SEGMENTS = 4
#: A disk is scarce below the first of these shares and sizes, and low below the second. Shares alone would cry over
#: large disks, sizes alone over small ones.
_SCARCE = (0.02, 2 * 1024**3)
_LOW = (0.05, 5 * 1024**3)
#: Nobody needs to be told of what lasts for longer.
_FOR_EVER = 30 * 86400


@dataclass(frozen=True, slots=True)
class ArchiveRoom:
    """What is free where WAL is archived, on the fullest disk of it. `scarce`: a few segments more, or a share of the
    disk so small that somebody has to act now. `low`: worth knowing, and where retention holds it there, as it should
    be."""

    place: str
    free_bytes: int
    total_bytes: int
    segment_bytes: int

    @property
    def segments(self) -> int:
        """How many more there is room for, as they are."""
        return self.free_bytes // self.segment_bytes

    @property
    def scarce(self) -> bool:
        return self.segments < _FEW_SEGMENTS or self._below(*_SCARCE)

    @property
    def low(self) -> bool:
        return self.scarce or self._below(*_LOW)

    def _below(self, share: float, size: int) -> bool:
        return self.free_bytes < min(self.total_bytes * share, size)

    def __str__(self) -> str:
        free = f"{size_in_words(self.free_bytes)} free of {size_in_words(self.total_bytes)} at {self.place}"
        if self.segments == 0:
            return f"{free}, less than one segment takes"
        return f"{free}, room for {self.segments} more segment{'' if self.segments == 1 else 's'}"


def archive_room(topology: Topology, observed: Observed) -> ArchiveRoom | None:
    """None without an archive of pgtandem's, and where its disk could not be looked at."""
    archive, folder = topology.archive, value_or_none(observed.archive)
    if archive is None or folder is None or folder.disk is None:
        return None
    sizes = {seen.control.wal_segment_bytes for seen in observed.nodes.values() if seen.control}
    place = archive.directory + (f" on {folder.disk_of}" if folder.disk_of else "")
    return ArchiveRoom(
        place, folder.disk.free_bytes, folder.disk.total_bytes, sizes.pop() if len(sizes) == 1 else _SEGMENT_BYTES
    )


def make_room(topology: Topology) -> str:
    """What to do about an archive without room."""
    policy = topology.backup
    kept = policy.keep is not None or policy.keep_for_seconds is not None
    needs = " (what the kept backups do not need)" if kept else " (it needs keep under [backup], and a verified backup)"
    # What was not archived is in pg_wal alone.
    return f"a larger disk, or pgtandem archive prune{needs}; never remove files from pg_wal"


def held_in_pg_wal(observed: Observed, name: NodeName, rate: float | None = None) -> str:
    """What comes of segments that cannot be archived. `rate` is how many bytes of WAL are written per second."""
    disk = wal_disk(observed.nodes[name])
    if disk is None:
        return f"they stay in pg_wal, and {name} stops when its disk is full too"
    lasts = disk.free_bytes / rate if rate else None
    long = f" ({duration_in_words(lasts)} of WAL at this rate)" if lasts is not None and lasts < _FOR_EVER else ""
    free = size_in_words(disk.free_bytes)
    return f"they stay in pg_wal, whose disk has {free} free{long}, and {name} stops when that is full too"
