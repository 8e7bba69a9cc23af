"""What a host runs on: its distribution, and which PostgreSQL its packages have brought."""

import asyncio
import posixpath
import re
from collections.abc import Awaitable
from dataclasses import replace

from pgtandem.model.facts import Absent, Fact
from pgtandem.model.layout import HostCluster
from pgtandem.model.observed import Programs, System
from pgtandem.model.topology import Topology
from pgtandem.observe.programs import version_in
from pgtandem.ports import Host, HostFailure
from pgtandem.postgres.debian import parse_clusters
from pgtandem.postgres.places import parse_os_release
from pgtandem.postgres.versions import NEWEST, OLDEST

_LIST_CLUSTERS, _REGISTER = "/usr/bin/pg_lsclusters", "/etc/postgresql"
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")


async def observe_system(
    host: Host, topology: Topology, programs: Awaitable[Fact[Programs]], *, listed: bool
) -> System:
    """Nothing of it decides whether data is safe, so what cannot be read is left out. `programs` are looked for side by
    side with what takes as long: Debian's list of clusters is a program of its own, run where it is to be `listed`."""
    found, system, clusters = await asyncio.gather(programs, _what_it_runs_on(host), _clusters(host, listed))
    return await _with_others(host, topology, found, replace(system, clusters=clusters))


async def _what_it_runs_on(host: Host) -> System:
    system = System()
    try:
        for path in _OS_RELEASE:
            text = await host.read_file(path)
            if text is not None:
                system = parse_os_release(text.decode(errors="replace"))
                break
        if await host.list_directory("/run/systemd/system") is not None:
            system = replace(system, systemd=True)
    except HostFailure:
        return system
    return system


async def _clusters(host: Host, listed: bool) -> tuple[HostCluster, ...] | None:
    try:
        if not await host.can_execute(_LIST_CLUSTERS):
            return None
        # A program in Perl: it takes longer than asking a server.
        return parse_clusters(
            (await host.look([_LIST_CLUSTERS, "-h"])).text if listed and await _registered(host) else ""
        )
    except HostFailure:
        return None


async def _with_others(host: Host, topology: Topology, programs: Fact[Programs], system: System) -> System:
    try:
        if isinstance(programs, Absent):
            others = [major for major in range(OLDEST, NEWEST + 2) if major != topology.postgresql]
            system = replace(system, majors=tuple([m for m in others if await _installed(host, m)]))
            if topology.bin_directory is not None:
                named = await version_in(host, topology.bin_directory)
                system = replace(system, named_version=named or "")
    except HostFailure:
        return system
    return system


async def _registered(host: Host) -> bool:
    """Whether postgresql-common knows any cluster: each has a folder, in that of its major version."""
    for major in await host.list_directory(_REGISTER) or ():
        if await host.list_directory(posixpath.join(_REGISTER, major)):
            return True
    return False


async def _installed(host: Host, major: int) -> bool:
    """By a folder that has the number in its name: of others only the program itself could tell."""
    named = re.compile(rf"(?<!\d){major}(?!\d)")
    return any(named.search(folder) for folder, _ in await host.program_directories(major))
