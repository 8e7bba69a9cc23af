"""The second look, for `doctor`: what Observed leaves out because a plan does not need it."""

import asyncio
import posixpath
import re
from collections.abc import Sequence

from pgtandem.model.examined import ArchiveListing, Examination, Examined, Surroundings
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.tls import open_session
from pgtandem.ports import DatabaseRefused, DatabaseUnreachable, Host, HostFailure, HostUnreachable, World
from pgtandem.postgres.archive_content import wal_name
from pgtandem.postgres.history import is_segment
from pgtandem.postgres.stream_scripts import STREAMED


async def examine_cluster(topology: Topology, world: World, observed: Observed) -> Examined:
    """Every server that answered the first look, by the session of that look, and the archive's folder."""
    names = topology.names
    nodes, archive, around = await asyncio.gather(
        asyncio.gather(*(_server(topology, world, observed, name) for name in names)),
        _archive(topology, world, observed),
        asyncio.gather(*(_surroundings(topology, world, observed, name) for name in names)),
    )
    return Examined(dict(zip(names, nodes, strict=True)), archive, surroundings=dict(zip(names, around, strict=True)))


async def _server(topology: Topology, world: World, observed: Observed, name: NodeName) -> Fact[Examination]:
    seen, node = observed.nodes[name], topology.node(name)
    if not isinstance(seen.server, Known):
        return seen.server
    postmaster = seen.postmaster.value if isinstance(seen.postmaster, Known) else None
    port, socket = (postmaster.port, postmaster.socket) if postmaster else (node.port, "")
    try:
        return Known(await (await open_session(topology, world, node, port, socket)).examine())
    except (DatabaseUnreachable, DatabaseRefused, HostFailure, HostUnreachable) as failure:
        return Unknown(failure.why or failure.what)


async def _surroundings(topology: Topology, world: World, observed: Observed, name: NodeName) -> Surroundings:
    node = topology.node(name)
    if not isinstance(observed.nodes[name].data, Known):
        return Surroundings()
    host = world.host(node.host)
    try:
        found = _TOTAL.search(await host.read_file("/proc/meminfo") or b"")
        disk = await host.disk_space(posixpath.join(node.data_directory, "pg_wal"))
    except (HostFailure, HostUnreachable):
        # The first look has told what is wrong with that host.
        return Surroundings()
    return Surroundings(int(found[1]) * 1024 if found else None, disk)


_TOTAL = re.compile(rb"^MemTotal:\s+(\d+) kB$", re.MULTILINE)


async def _archive(topology: Topology, world: World, observed: Observed) -> Fact[ArchiveListing]:
    """What is there of this cluster, on all hosts that archive: a file that one of them has can be fetched."""
    systems = set(observed.system_identifiers().values())
    if topology.archive is None or len(systems) != 1:
        return ABSENT
    folder = posixpath.join(topology.archive.directory, systems.pop())
    try:
        listings = await asyncio.gather(*(_listed(world.host(host), folder) for host in topology.archive_hosts))
    except (HostFailure, HostUnreachable) as failure:
        return Unknown(f"{failure.what}: {failure.why}")
    there = [names for names in listings if names is not None]
    if not there:
        return ABSENT
    found = {wal[0] if (wal := wal_name(name)) else name for names in there for name in names}
    return Known(ArchiveListing(tuple(sorted(found))))


async def _listed(host: Host, folder: str) -> Sequence[str] | None:
    """With the whole segments that were streamed: those can be fetched too."""
    names = await host.list_directory(folder)
    if names is None or STREAMED not in names:
        return names
    streamed = await host.list_directory(posixpath.join(folder, STREAMED)) or ()
    return [*names, *(name for name in streamed if is_segment(name))]
