"""The WAL archive: its folder, and the proof that a segment gets there."""

from collections.abc import Iterator

from pgtandem.model.facts import Fact, Known, value_or_none
from pgtandem.model.observed import ArchiveFolder, Observed
from pgtandem.model.plan import WARNING, Condition, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.archive_room import archive_room, make_room
from pgtandem.plan.desired import Wish
from pgtandem.plan.draft import Draft
from pgtandem.plan.drift import drift_of
from pgtandem.postgres.conf import SETTINGS_FILE, parse_settings


def archive_folder(draft: Draft) -> None:
    topology, archive = draft.wish.topology, draft.wish.observed.archive
    if topology.archive is None or (isinstance(archive, Known) and archive_has_us(draft)):
        return
    name = draft.wish.primary
    draft.add(
        Step(
            "archive.folder",
            StepKind.CREATE_ARCHIVE,
            name,
            f"create the WAL archive in {topology.archive.directory}",
            _why_anew(draft.wish),
            Risk.CREATE,
            needs=("host.account", f"{name}.data"),
            proves=(Condition("archive_ready", name),),
            undo="remove the folder named after the system identifier",
        )
    )


def _why_anew(wish: Wish) -> str:
    server = wish.seen(wish.primary).running
    if server is None or server.archiver is None or not server.archiver.archived_count:
        return "The primary keeps every finished WAL segment there."
    return (
        f"{wish.primary} has archived before. If this folder was there and is gone (moved, removed, its disk not "
        f"mounted), put it back instead: a new one begins with what {wish.primary} still has."
    )


def archive_has_us(draft: Draft) -> bool:
    control = draft.wish.seen(draft.wish.primary).control
    archive = draft.wish.observed.archive
    return isinstance(archive, Known) and control is not None and control.system_identifier in archive.value.systems


def _has_segments(archive: Fact[ArchiveFolder]) -> bool:
    return (
        isinstance(archive, Known) and isinstance(archive.value.segments, Known) and bool(archive.value.segments.value)
    )


def _last_failed(wish: Wish) -> str:
    room = archive_room(wish.topology, wish.observed)
    return f"The last attempt to archive failed{f': its disk has {room}' if room and room.scarce else ''}."


def archive_notes(topology: Topology, observed: Observed) -> Iterator[str]:
    """Told with every plan: nothing that a plan does makes room there."""
    room = archive_room(topology, observed)
    if room and room.scarce:
        yield f"{WARNING}the archive's disk is almost full: {room}. What makes room: {make_room(topology)}."


def check_archive(draft: Draft) -> None:
    wish, name = draft.wish, draft.wish.primary
    if not wish.topology.archives:
        return
    server = wish.seen(name).running
    archiver = server.archiver if server else None
    fresh = draft.builds(name) or draft.has("archive.folder")
    changed = "archive_command" in drift_of(wish, name, keep_sync=True).written and not draft.builds(name)
    idle = archiver is not None and archiver.archived_count == 0 and not _has_segments(wish.observed.archive)
    failing = archiver is not None and archiver.failing
    if not (fresh or changed or failing or idle):
        return
    draft.add(
        Step(
            "archive.check",
            StepKind.CHECK_ARCHIVE,
            name,
            f"finish one WAL segment and see it {'in the archive' if wish.topology.archive else 'archived'}",
            _last_failed(wish) if failing else "An archive that was never written to is a hope.",
            Risk.READ,
            needs=(
                "archive.folder",
                f"{name}.keys",
                f"{name}.start",
                f"{name}.files",
                f"{name}.restart",
                *(f"{other}.data" for other in wish.topology.names),
            ),
            expects=(Condition("is_primary", name),),
        )
    )


def archive_taken_away(wish: Wish) -> list[str]:
    """What it means that the topology file has no archive any more, while the primary still archives."""
    topology, directory = wish.topology, wish.seen(wish.primary).directory
    text = directory.files.get(SETTINGS_FILE) if directory else None
    if topology.archive or topology.foreign_archive or "archive_command" not in parse_settings(text or ""):
        return []
    return [
        "WAL is not archived any more: what is written from now on cannot be restored. What the archive has stays "
        "where it is. Archiving that is turned on again leaves a hole: only a backup of after that leads on."
    ]


def archives_again(topology: Topology, observed: Observed) -> bool:
    """Whether archiving is to begin while there are backups of an earlier time: none of them leads over the hole."""
    backups = value_or_none(observed.backups)
    if topology.archive is None or backups is None or not backups.kept:
        return False
    servers = [server for name in observed.primaries() if (server := observed.nodes[name].running)]
    return any(server.archiver is None for server in servers)


def backup_afterwards(topology: Topology, observed: Observed) -> Iterator[str]:
    if archives_again(topology, observed):
        backups = value_or_none(observed.backups)
        last = backups.kept[-1].label if backups else ""
        yield (
            "Nothing was archived for a time: the backups that are there, the last being "
            f"{last}, cannot be brought to a moment after that. Afterwards: pgtandem backup --full"
        )
