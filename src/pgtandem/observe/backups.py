"""The base backups in the archive, as their folders tell."""

import asyncio
import posixpath
from collections.abc import Collection
from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup, Backups, HalfMade, Reader
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
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
from pgtandem.postgres.segments import segment_number

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
    oldest = None
    if backups and (topology.backup.keep is not None or topology.backup.keep_for_seconds is not None):
        try:
            oldest = await _oldest_segment(topology, world, backups[-1])
        except PgtandemError as failure:
            return Unknown(f"{failure.what}: {failure.why}")
    return Known(
        Backups(
            tuple(sorted(backups, key=lambda backup: (backup.ended, backup.label))),
            tuple(found for found in everything if isinstance(found, HalfMade)),
            tuple(found for found in everything if isinstance(found, tuple)),
            oldest,
            tuple(found for found in everything if isinstance(found, Reader)),
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


async def _oldest_segment(topology: Topology, world: World, like: Backup) -> int | None:
    """The lowest number of a segment in the folder of the system that this backup is of. Raises HostFailure."""
    assert topology.archive is not None
    folder = posixpath.join(topology.archive.directory, like.system_identifier)
    listings = await asyncio.gather(*(world.host(address).list_directory(folder) for address in topology.archive_hosts))
    numbers = [
        number
        for names in listings
        for stored in names or ()
        if (found := wal_name(stored)) and (number := segment_number(found[0], like.segment_bytes)) is not None
    ]
    return min(numbers, default=None)
