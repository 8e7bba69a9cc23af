"""The base backups in the archive, as their folders tell."""

import asyncio
import posixpath
from collections.abc import Collection
from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup, Backups, HalfMade, Reader
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.lsn import Timeline
from pgtandem.model.topology import HostAddress, Topology
from pgtandem.observe.readers import observe_readers
from pgtandem.ports import Host, World
from pgtandem.postgres.archive_content import wal_name
from pgtandem.postgres.base_backups import (
    ABOUT_FILE,
    DRILL_FILE,
    FOLDER,
    VERIFIED_FILE,
    is_label,
    label_of_part,
    parse_about,
    with_proofs,
)
from pgtandem.postgres.segments import first_missing, runs_of, segment_name, segment_number, segment_of
from pgtandem.postgres.stream_scripts import STREAMED

_SEGMENT_NAME = 24
_Found = Backup | HalfMade | Reader | tuple[str, str]


def backups_folder(directory: str, system: str) -> str:
    """Where the backups of a cluster are, in an archive's directory."""
    return posixpath.join(directory, system, FOLDER)


async def observe_backups(topology: Topology, world: World, of: Collection[str] = ()) -> Fact[Backups]:
    """The backups of this cluster on every host of the archive; Absent without an archive.

    Whose they are stands in each of them: where all data is lost, nothing else tells which system identifier it was.
    Where that is known, `of` says it: another cluster of this name, or what somebody else has half made, is not ours.
    """
    archive = topology.archive
    if archive is None:
        return ABSENT
    try:
        looks = await asyncio.gather(
            *(_on_host(topology, address, world.host(address), of) for address in topology.archive_hosts)
        )
    except PgtandemError as failure:
        return Unknown(f"{failure.what}: {failure.why}" if failure.why else failure.what)
    everything = [found for look in looks for found in look]
    backups = [found for found in everything if isinstance(found, Backup) and found.cluster == topology.cluster]
    backups.sort(key=lambda backup: (backup.ended, backup.label))
    oldest = missing = None
    if backups and (topology.backup.keep is not None or topology.backup.keep_for_seconds is not None):
        try:
            oldest, missing = await _wal_of(topology, world, backups)
        except PgtandemError as failure:
            return Unknown(f"{failure.what}: {failure.why}")
    return Known(
        Backups(
            tuple(backups),
            tuple(found for found in everything if isinstance(found, HalfMade)),
            tuple(found for found in everything if isinstance(found, tuple)),
            oldest,
            tuple(found for found in everything if isinstance(found, Reader)),
            missing,
        )
    )


async def _on_host(topology: Topology, address: HostAddress, host: Host, of: Collection[str]) -> list[_Found]:
    assert topology.archive is not None
    directory = topology.archive.directory
    names = await host.list_directory(directory) or ()
    systems = [name for name in names if name.isdigit() and (not of or name in of)]
    found: list[_Found] = []
    for system in systems:
        folder = backups_folder(directory, system)
        names = await host.list_directory(folder) or ()
        found += await observe_readers(host, folder, names)
        looks = await asyncio.gather(*(_look(address, host, posixpath.join(folder, name)) for name in names))
        found += [look for look in looks if look is not None]
    return found


async def _look(address: HostAddress, host: Host, folder: str) -> _Found | None:
    name = posixpath.basename(folder)
    kept = is_label(name)
    if not kept and label_of_part(name) is None:
        return None
    about, verified, drill = await asyncio.gather(
        *(_text(host, posixpath.join(folder, file)) for file in (ABOUT_FILE, VERIFIED_FILE, DRILL_FILE))
    )
    try:
        backup = with_proofs(parse_about(about or ""), verified, drill)
    except ValueError as error:
        return (folder, f"{ABOUT_FILE}: {error}") if kept else HalfMade(address, folder)
    if backup.label != (name if kept else label_of_part(name)):
        return (folder, f"{ABOUT_FILE} is of backup {backup.label}")
    if not kept and backup.verified is not None and backup.verified.trouble:
        return HalfMade(address, folder)
    return replace(backup, host=address, folder=folder, kept=kept)


async def _text(host: Host, path: str) -> str | None:
    content = await host.read_file(path)
    return None if content is None else content.decode("utf-8", errors="replace")


async def _wal_of(topology: Topology, world: World, backups: list[Backup]) -> tuple[int | None, str | None]:
    """Of the folder of the system that the last backup is of: the lowest number of a segment, and the first segment
    that is missing behind the beginning of that backup. Raises HostFailure."""
    assert topology.archive is not None
    last = backups[-1]
    folder = posixpath.join(topology.archive.directory, last.system_identifier)
    there = await _segments(topology, world, folder)
    numbers = {number for name in there if (number := segment_number(name, last.segment_bytes)) is not None}
    kept = [backup for backup in backups if backup.kept and backup.system_identifier == last.system_identifier]
    if not kept or not _first_missing(kept[-1], there):
        return min(numbers, default=None), None
    # What is not there yet may have been streamed: that is looked at only now.
    there |= await _segments(topology, world, posixpath.join(folder, STREAMED))
    return min(numbers, default=None), _first_missing(kept[-1], there)


async def _segments(topology: Topology, world: World, folder: str) -> set[str]:
    """The names of the whole segments in a folder of the archive, on all of its hosts."""
    looks = await asyncio.gather(*(world.host(address).list_directory(folder) for address in topology.archive_hosts))
    names = {found[0] for look in looks for stored in look or () if (found := wal_name(stored))}
    return {name for name in names if len(name) == _SEGMENT_NAME}


def _first_missing(backup: Backup, names: set[str]) -> str | None:
    """A segment that no timeline has, before the last one of the newest timeline."""
    size = backup.segment_bytes
    newest = max((name for name in names if int(name[:8], 16) >= backup.timeline), default=None)
    end = segment_number(newest, size) if newest else None
    if newest is None or end is None:
        return None
    numbers = {number for name in names if (number := segment_number(name, size)) is not None}
    missing = first_missing(segment_of(backup.start_lsn, size), end, runs_of(numbers))
    return None if missing is None else segment_name(Timeline(int(newest[:8], 16)), missing, size)
