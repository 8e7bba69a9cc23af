"""The receiver of the archive's stream, as the files and processes on the archive's host tell of it."""

import asyncio
import posixpath
from collections.abc import Mapping

from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.names import NodeName, Secret
from pgtandem.model.observed import ArchiveFolder, ObservedNode, Programs
from pgtandem.model.stream import ObservedStream
from pgtandem.model.topology import Binaries, Topology
from pgtandem.observe.archived import archive_folder
from pgtandem.observe.directory import passfile_ok
from pgtandem.observe.keeper import observe_keeper
from pgtandem.observe.receiving import look_at_stream
from pgtandem.ports import CommandTimeout, Host, HostFailure, HostUnreachable, World
from pgtandem.postgres.settings import SUPPORTED_MAJORS
from pgtandem.postgres.stream_scripts import PASSFILE, RECEIVER, ROOT, RUN, STARTED, WANTED

_PROGRAM = "pg_receivewal"


async def observe_stream(
    topology: Topology,
    world: World,
    seen: Mapping[NodeName, ObservedNode],
    found: Fact[ArchiveFolder],
    password: Secret | None,
) -> Fact[ObservedStream]:
    """Absent where it is neither wanted nor there; Unknown, with the reason, where nobody can tell. `found` is the
    archive that it feeds: where that could not be looked at, its host is not asked once more."""
    archive = topology.archive
    if archive is None or archive.host is None:
        return ABSENT
    if isinstance(found, Unknown):
        return found if archive.stream else ABSENT
    host = world.host(archive.host)
    try:
        control = next((node.control for node in seen.values() if node.control is not None), None)
        program = await _program(host, topology, seen) if archive.stream else ABSENT
        folder = archive_folder(archive, control.system_identifier) if control is not None else ""
        receiver = posixpath.join(folder, RECEIVER)
        if control is None or await host.list_directory(receiver) is None:
            if not archive.stream:
                return ABSENT
            return Known(ObservedStream(program, keeper=await observe_keeper(host, topology, folder), folder=folder))
        names = (RUN, STARTED, ROOT, WANTED)
        texts = asyncio.gather(*(_text(host, posixpath.join(receiver, name)) for name in (*names, PASSFILE)))
        look, keeper, (*files, passfile) = await asyncio.gather(
            look_at_stream(host, folder, control.wal_segment_bytes), observe_keeper(host, topology, folder), texts
        )
        return Known(
            ObservedStream(
                program,
                True,
                look.running,
                dict(zip(names, files, strict=True)),
                passfile_ok(passfile, topology, password),
                look.segments,
                look.partial,
                look.tail,
                look.received_seconds,
                look.complaint,
                look.histories,
                keeper,
                folder,
            )
        )
    except (HostFailure, HostUnreachable, CommandTimeout) as failure:
        return Unknown(failure.why or failure.what, failure.next_step)


async def _text(host: Host, path: str) -> str | None:
    content = await host.read_file(path)
    return None if content is None else content.decode("utf-8", errors="replace")


async def _program(host: Host, topology: Topology, seen: Mapping[NodeName, ObservedNode]) -> Fact[str]:
    """Of the nodes' major version, or a newer one: pg_receivewal takes WAL from older servers too."""
    assert topology.archive is not None
    here = [seen[node.name].programs for node in topology.nodes if node.host == topology.archive.host]
    for fact in here:
        if isinstance(fact, Known):
            directory = _directory(fact.value)
            # What is to be copied for the servers has it too.
            if fact.value.to_copy or await host.can_execute(posixpath.join(directory, _PROGRAM)):
                return Known(posixpath.join(directory, _PROGRAM))
    folders = [topology.bin_directory] if topology.bin_directory else []
    for major in (major for major in SUPPORTED_MAJORS if major >= topology.postgresql):
        folders += [
            directory
            for directory, origin in await host.program_directories(major)
            if topology.binaries is Binaries.AUTO or origin == topology.binaries.value or major > topology.postgresql
        ]
    for directory in folders:
        if await host.can_execute(posixpath.join(directory, _PROGRAM)):
            return Known(posixpath.join(directory, _PROGRAM))
    return ABSENT


def _directory(programs: Programs) -> str:
    return programs.to_copy.copy_to if programs.to_copy else programs.directory
