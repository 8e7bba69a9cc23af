"""The archive's folder on each of its hosts, as one fact."""

import asyncio
from collections.abc import Sequence

from pgtandem.model.facts import ABSENT, Absent, Fact, Known, Unknown
from pgtandem.model.observed import ArchiveFolder
from pgtandem.model.topology import Archive, HostAddress, Topology
from pgtandem.ports import Host, HostFailure, HostUnreachable, World


async def observe_archive_folder(topology: Topology, world: World) -> Fact[ArchiveFolder]:
    """Which systems have a folder there, and the fullest disk; Absent without an archive."""
    archive = topology.archive
    if archive is None:
        return ABSENT
    parts = await asyncio.gather(*(_archive(world.host(host), host, archive) for host in topology.archive_hosts))
    seen = [part for part in parts if not isinstance(part, HostUnreachable)]
    silent = [Unknown(part.why or part.what) for part in parts if isinstance(part, HostUnreachable)]
    # With a part on every node's host, the parts of hosts that are down are their nodes' trouble.
    return _together(seen if any(isinstance(part, Known) for part in seen) else [*silent, *seen])


def _together(folders: Sequence[Fact[ArchiveFolder]]) -> Fact[ArchiveFolder]:
    """One fact of the archives on several hosts."""
    for fact in folders:
        if isinstance(fact, Unknown):
            return fact
    known = [fact.value for fact in folders if isinstance(fact, Known)]
    if not known:
        return ABSENT
    anywhere = dict.fromkeys(system for folder in known for system in folder.systems)
    everywhere = [s for s in anywhere if len(known) == len(folders) and all(s in folder.systems for folder in known)]
    fullest = min((folder for folder in known if folder.disk), key=_free_bytes, default=None)
    return Known(
        ArchiveFolder(
            tuple(everywhere),
            fullest.disk if fullest else None,
            elsewhere=tuple(system for system in anywhere if system not in everywhere),
            disk_of=fullest.disk_of if fullest else "",
        )
    )


def _free_bytes(folder: ArchiveFolder) -> int:
    return folder.disk.free_bytes if folder.disk else 0


async def _archive(host: Host, address: HostAddress, archive: Archive) -> Fact[ArchiveFolder] | HostUnreachable:
    try:
        if isinstance(await host.account(), Absent):
            return ABSENT
        names = await host.list_directory(archive.directory)
        if names is None:
            return ABSENT
        systems, disk = tuple(name for name in names if name.isdigit()), await host.disk_space(archive.directory)
        return Known(ArchiveFolder(systems, disk, disk_of="" if address.is_local else host.name))
    except HostUnreachable as failure:
        return failure
    except HostFailure as failure:
        return Unknown(f"{failure.what}: {failure.why}")
