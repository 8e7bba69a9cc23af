"""What the WAL archive holds, from its folder: on this machine, on the archive's host, or on every node's own."""

import asyncio
import posixpath
from collections.abc import Mapping

from pgtandem.errors import PgtandemError
from pgtandem.model.archived import ArchiveContent, ArchivedWal
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.lsn import Timeline, TimelineSwitch
from pgtandem.model.topology import Archive, Compression, HostAddress, Topology
from pgtandem.observe.receiving import look_at_stream
from pgtandem.plan.kept_archive import no_archive_there
from pgtandem.ports import Host, HostFailure, World
from pgtandem.postgres.archive_content import archive_content, parse_listing, together, wal_name
from pgtandem.postgres.history import parse_history
from pgtandem.postgres.stream_scripts import STREAMED

_LIST_SECONDS = 300.0
#: What a server's own PATH has at least.
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")


def archive_folder(archive: Archive, system_identifier: str) -> str:
    """The folder of one cluster in the archive, on each host that has a part of it."""
    return posixpath.join(archive.directory, system_identifier)


async def observe_archived_wal(
    topology: Topology, world: World, system_identifier: str, segment_bytes: int
) -> Mapping[HostAddress, Fact[ArchivedWal]]:
    """For each host that archives: what is there of this cluster. Absent where it has no folder; Unknown, with the
    reason, where it could not be asked. Empty where the topology has no archive."""
    archive = topology.archive
    if archive is None:
        return {}
    folder, hosts = archive_folder(archive, system_identifier), topology.archive_hosts
    looks = await asyncio.gather(*(_look(world.host(host), folder, segment_bytes) for host in hosts))
    return dict(zip(hosts, looks, strict=True))


def all_archived_wal(looks: Mapping[HostAddress, Fact[ArchivedWal]]) -> Fact[ArchivedWal]:
    """What the hosts have among them: a standby fetches from each of them. Unknown where one could not be asked."""
    for fact in looks.values():
        if isinstance(fact, Unknown):
            return fact
    known = [fact.value for fact in looks.values() if isinstance(fact, Known)]
    if not known:
        return ABSENT
    histories = {timeline: switches for wal in known for timeline, switches in wal.histories.items()}
    return Known(ArchivedWal(together([wal.content for wal in known]), histories))


async def refuse_missing_archive(topology: Topology, world: World) -> None:
    """Raises PgtandemError PT-3008 where no host has the archive, or it is empty as the place of a disk is that is not
    mounted: that nothing can be seen there says nothing of what was archived."""
    assert topology.archive is not None
    directory = topology.archive.directory
    looks = await asyncio.gather(*(world.host(host).list_directory(directory) for host in topology.archive_hosts))
    if not any(name.isdigit() for names in looks for name in names or ()):
        raise no_archive_there(topology)


async def archived_names(topology: Topology, world: World, system_identifier: str) -> Fact[frozenset[str]]:
    """The names of the WAL files that the archive has, streamed ones too; Unknown, with the reason, where it cannot be
    asked. Where each node archives on its own disk, a host that does not answer is its node's trouble."""
    archive = topology.archive
    if archive is None:
        return ABSENT
    folder = archive_folder(archive, system_identifier)
    parts = await asyncio.gather(*(_names(world.host(address), folder) for address in topology.archive_hosts))
    known = [part.value for part in parts if isinstance(part, Known)]
    unknown = [part for part in parts if isinstance(part, Unknown)]
    if unknown and not known:
        return unknown[0]
    return Known(frozenset().union(*known))


async def _names(host: Host, folder: str) -> Fact[frozenset[str]]:
    try:
        listed = [await host.list_directory(place) for place in (folder, posixpath.join(folder, STREAMED))]
    except PgtandemError as failure:
        return Unknown(failure.why or failure.what)
    if listed[0] is None:
        return Unknown(f"there is no folder {folder} on {host.name}")  # a disk that is not mounted
    return Known(frozenset(parsed[0] for names in listed for name in names or () if (parsed := wal_name(name))))


async def hosts_without_compressor(topology: Topology, world: World) -> tuple[str, ...]:
    """The hosts, by their URL, that lack the program which compresses WAL and expands it: every node's, since roles
    change, and the archive's. One that cannot be asked is left out: its nodes say why."""
    archive = topology.archive
    if archive is None or archive.compression is Compression.NONE:
        return ()
    hosts = list(dict.fromkeys([*(node.host for node in topology.nodes), *topology.archive_hosts]))
    found = await asyncio.gather(*(_has(world.host(host), archive.compression.value) for host in hosts))
    return tuple(host.url for host, there in zip(hosts, found, strict=True) if not there)


async def _has(host: Host, program: str) -> bool:
    try:
        tries = [await host.can_execute(posixpath.join(folder, program)) for folder in _FOLDERS]
    except PgtandemError:
        return True
    return any(tries)


async def _look(host: Host, folder: str, segment_bytes: int) -> Fact[ArchivedWal]:
    try:
        done = await host.run(["ls", "-ln", folder], deadline_seconds=_LIST_SECONDS)
        if done.exit_code:
            if await host.list_directory(folder) is None:
                return ABSENT
            return Unknown(f"{folder} on {host.name} could not be listed: {done.complaint}")
        there = any(line.startswith("d") and line.endswith(f" {STREAMED}") for line in done.text.splitlines())
        stream = await look_at_stream(host, folder, segment_bytes) if there else None
        content = archive_content(parse_listing(done.text), segment_bytes, stream)
        return Known(ArchivedWal(content, await _histories(host, folder, content, streamed=there)))
    except PgtandemError as failure:
        return Unknown(f"{failure.what}: {failure.why}")


async def _histories(
    host: Host, folder: str, content: ArchiveContent, *, streamed: bool
) -> Mapping[Timeline, tuple[TimelineSwitch, ...]]:
    """Raises HostFailure where one cannot be read."""
    found = {}
    for one in content.timelines:
        if one.history:
            name = f"{one.timeline:08X}.history"
            text = await host.read_file(posixpath.join(folder, name))
            if text is None and streamed:
                text = await host.read_file(posixpath.join(folder, STREAMED, name))
            try:
                found[one.timeline] = parse_history((text or b"").decode())
            except (ValueError, IndexError):
                raise HostFailure(host.name, f"could not read {name}", "It is not a history file.") from None
    return found
