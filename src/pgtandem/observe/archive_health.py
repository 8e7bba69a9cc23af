"""What a look means for the archive: how far it is, how much room it has, and what comes of it when there is none."""

from collections.abc import Iterator

from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.topology import Topology
from pgtandem.model.words import size_in_words
from pgtandem.observe.flow import wal_rate
from pgtandem.plan.archive_room import archive_room, held_in_pg_wal, make_room
from pgtandem.postgres.archive_commands import keeper_of


def archive_problems(topology: Topology, observed: Observed) -> Iterator[str]:
    """Of primaries that cannot archive, and before that of an archive that will soon take nothing more."""
    room = archive_room(topology, observed)
    scarce = room is not None and room.scarce
    does = f"What makes room: {make_room(topology)}"
    failing = [name for name in observed.primaries() if _fails(observed.nodes[name])]
    for name in failing:
        waits, held = _waiting(observed.nodes[name]), held_in_pg_wal(observed, name, wal_rate(observed))
        more = (
            f"; the archive's disk has {room}. Until there is room {held}. {does}. Archiving goes on by itself then"
            if scarce
            else f"; {held}"
        )
        said = observed.nodes[name].archive_said
        yield f"{name} cannot archive WAL: {waits}{more}" + (f". The archive command says: {said}" if said else "")
    if scarce and not failing:
        yield f"the archive's disk is almost full: {room}. {does}"


def _fails(seen: ObservedNode) -> bool:
    return bool(seen.running and seen.running.archiver and seen.running.archiver.failing)


def _waiting(seen: ObservedNode) -> str:
    archiver = seen.running.archiver if seen.running else None
    waiting = archiver.waiting_segments if archiver else None
    return "1 segment waits" if waiting == 1 else f"{waiting} segments wait"


def archive_remarks(topology: Topology, observed: Observed) -> Iterator[str]:
    room = archive_room(topology, observed)
    if room and room.low and not room.scarce:
        yield f"the archive's disk has {room}."


def archive_in_words(topology: Topology, observed: Observed, primary: NodeName | None) -> str:
    """How far archiving is, and what is free on the archive's disk."""
    room = archive_room(topology, observed)
    free = f", {size_in_words(room.free_bytes)} free" if room else ""
    return _how_far(topology, observed, primary) + free


def _how_far(topology: Topology, observed: Observed, primary: NodeName | None) -> str:
    if topology.archive is not None:
        place = topology.archive.directory
    elif topology.foreign_archive is not None:
        place = f"{keeper_of(topology.foreign_archive)} (what it holds, only that tells)"
    else:
        return "none"
    server = observed.nodes[primary].running if primary else None
    archiver = server.archiver if server else None
    if archiver is None:
        return f"{place}: unknown while there is no single primary"
    waiting = archiver.waiting_segments or 0
    segments = f"{waiting} segment{'' if waiting == 1 else 's'}"
    age = archiver.last_archived_age_seconds
    since = "" if age is None else f", the last was archived {_ago(age)} ago"
    if archiver.failing:
        return f"{place}: FAILING at {archiver.fails_at}, {segments} behind{since}"
    if archiver.last_archived_wal is None:
        return f"{place}: nothing archived yet" + (f", {segments} behind" if waiting else "")
    if waiting:
        return f"{place}: {segments} behind{since}: {archiver.last_archived_wal}"
    return f"{place}: last {archiver.last_archived_wal}, 0 waiting"


def _ago(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
