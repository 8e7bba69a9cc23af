"""Whether a full backup fits on the archive's disk: refused where it clearly does not, and said where that is not sure.

How small compression makes it is not known before, and what unlogged tables hold is in the size of a database and in no
backup: what could fit is never refused here. Right before copying, the server tells how much it sends.
"""

from collections.abc import Iterator

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import BackupKind, Backups
from pgtandem.model.facts import value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.observed import DiskSpace, Observed
from pgtandem.model.plan import WARNING
from pgtandem.model.topology import Topology
from pgtandem.model.words import size_in_words
from pgtandem.plan.archive_room import make_room

#: Which part of the databases a backup takes at least, as it is and compressed; and what it often takes compressed.
_LEAST, _LEAST_COMPRESSED, _OFTEN_COMPRESSED = 0.5, 0.01, 0.5


def backup_room(topology: Topology, observed: Observed, backups: Backups, source: NodeName) -> Iterator[str]:
    """A note where it is not sure that a full backup of `source` fits. Raises PgtandemError PT-3009."""
    server, disk = observed.nodes[source].running, _disk(topology, observed)
    if server is None or disk is None or not server.size_bytes:
        return
    size, free = server.size_bytes, disk.free_bytes
    compressed = topology.archive is not None and topology.archive.stored_as
    if free < size * (_LEAST_COMPRESSED if compressed else _LEAST):
        raise no_room_for_backup(topology, free, size)
    likely = size * (_share(backups) if compressed else 1)
    if free < likely * 1.1:
        how = "compressed as the last one was" if compressed and backups.kept else "about"
        yield (
            f"{WARNING}the archive's disk has {size_in_words(free)} free, and the backup may take "
            f"{size_in_words(round(likely))} ({how} {size_in_words(size)} of databases): it ends, and is removed "
            "again, if there is not room enough."
        )


def no_room_for_backup(topology: Topology, free_bytes: int, size_bytes: int) -> PgtandemError:
    """PT-3009; `size_bytes` is what is to be copied, before it is compressed."""
    assert topology.archive is not None
    stored = ", compressed or not" if topology.archive.stored_as else ""
    free, size = size_in_words(free_bytes), size_in_words(size_bytes)
    return PgtandemError(
        "PT-3009",
        f"the archive's disk has {free} free, and there are {size} to back up",
        why=f"A full backup does not fit there{stored}: it would fill the disk that WAL is archived on, and then fail.",
        next_step=f"make room: {make_room(topology)}",
    )


def _disk(topology: Topology, observed: Observed) -> DiskSpace | None:
    """None where it is not known which one it is, and where half-made backups are yet to give room back."""
    folder, backups = value_or_none(observed.archive), value_or_none(observed.backups)
    several = len(set(topology.archive_hosts)) > 1
    unkept = backups is not None and (backups.half_made or any(not backup.kept for backup in backups.found))
    return None if folder is None or several or unkept else folder.disk


def _share(backups: Backups) -> float:
    """What the last full backup came to of what it unpacks to."""
    full = [each for each in backups.kept if each.kind is BackupKind.FULL and each.data_bytes]
    return full[-1].size_bytes / full[-1].data_bytes if full else _OFTEN_COMPRESSED
