"""What a restore can begin with and how far it can go: the backups, the WAL in the archive, and how old that is."""

import asyncio
import posixpath
from collections.abc import Mapping

from pgtandem.errors import PgtandemError
from pgtandem.model.archived import ArchiveContent, ArchivedWal
from pgtandem.model.backup import Backups
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.restore import Interval
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.observe.archived import (
    all_archived_wal,
    archive_folder,
    observe_archived_wal,
    refuse_missing_archive,
)
from pgtandem.observe.cluster import Observer
from pgtandem.plan.intervals import intervals
from pgtandem.plan.kept_archive import kept_archive
from pgtandem.ports import Host, World
from pgtandem.postgres.segments import segment_name

#: NAME ...: prints the modification time (seconds since 1970) of each that is there, in whichever form it is stored.
_WRITTEN = """
cd "$1" || exit 1
shift
for name; do
    for file in "$name" "$name.zst" "$name.lz4" "streamed/$name" "streamed/$name.partial"; do
        [ -f "$file" ] && echo "$name $(date -r "$file" +%s)" && break
    done
done
exit 0
"""


@dataclass(frozen=True, slots=True)
class Restorable:
    """What can be restored of one cluster."""

    system_identifier: str
    backups: Backups
    wal: ArchivedWal
    intervals: tuple[Interval, ...]


async def observe_restorable(topology: Topology, world: World) -> Restorable:
    """Asks the archive alone: it works where no node is left. Raises PgtandemError PT-3051 without an archive, PT-3071
    where another tool keeps it, and PT-3008 where the archive cannot be looked at or has backups of several clusters of
    this name."""
    kept_archive(topology, "restore")
    fact = await Observer(topology, world).backups_to_restore()
    if not isinstance(fact, Known):
        why = fact.sentence if isinstance(fact, Unknown) else ""
        raise PgtandemError("PT-3008", "could not look at the backups", why=why, next_step="pgtandem status")
    backups = fact.value
    systems = sorted({backup.system_identifier for backup in backups.kept})
    if not systems:
        await refuse_missing_archive(topology, world)
        return Restorable("", backups, ArchivedWal(ArchiveContent(16 * 1024 * 1024)), ())
    # After a cluster was built anew under its old name, the newest backup tells which one is meant.
    system = backups.kept[-1].system_identifier
    backups = Backups(tuple(each for each in backups.found if each.system_identifier == system))
    size = backups.kept[-1].segment_bytes
    wal = all_archived_wal(await observe_archived_wal(topology, world, system, size))
    if not isinstance(wal, Known):
        why = wal.sentence if isinstance(wal, Unknown) else "There is no folder for its WAL."
        raise PgtandemError("PT-3008", "could not look at the WAL in the archive", why=why, next_step="pgtandem status")
    times = await _written(topology, world, system, _names(wal.value, backups))
    return Restorable(system, backups, wal.value, intervals(backups, wal.value, times))


def _names(wal: ArchivedWal, backups: Backups) -> tuple[str, ...]:
    """The files whose age says something: history files, and the last segments that can be reached."""
    size = wal.content.segment_bytes
    names = {f"{timeline:08X}.history": None for timeline in wal.histories}
    for each in intervals(backups, wal, {}):
        names[segment_name(each.timeline, max(each.end.position - 1, 0) // size, size)] = None
    return tuple(names)


async def _written(topology: Topology, world: World, system: str, names: tuple[str, ...]) -> Mapping[str, float]:
    assert topology.archive is not None
    folder = archive_folder(topology.archive, system)
    looks = await asyncio.gather(*(_on_host(world.host(host), folder, names) for host in topology.archive_hosts))
    return {name: time for look in looks for name, time in look.items()}


async def _on_host(host: Host, folder: str, names: tuple[str, ...]) -> dict[str, float]:
    done = await host.run(["sh", "-c", _WRITTEN, "sh", folder, *names], deadline_seconds=60)
    found = {}
    for line in done.text.splitlines():
        name, _, time = line.partition(" ")
        if time.isdigit():
            # Whole seconds, rounded down: what came within that second must not be refused.
            found[posixpath.basename(name)] = float(time) + 1
    return found
