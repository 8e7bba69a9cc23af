"""What a host runs on: its distribution, and which PostgreSQL its packages have brought."""

import posixpath
import re
from dataclasses import replace

from pgtandem.model.facts import Absent, Fact
from pgtandem.model.observed import Programs, System
from pgtandem.model.topology import Topology
from pgtandem.observe.programs import version_in
from pgtandem.ports import Host, HostFailure
from pgtandem.postgres.debian import parse_clusters
from pgtandem.postgres.places import parse_os_release
from pgtandem.postgres.versions import NEWEST, OLDEST

_LIST_CLUSTERS, _REGISTER = "/usr/bin/pg_lsclusters", "/etc/postgresql"
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")


async def observe_system(host: Host, topology: Topology, programs: Fact[Programs]) -> System:
    """Nothing of it decides whether data is safe, so what cannot be read is left out."""
    system = System()
    try:
        for path in _OS_RELEASE:
            text = await host.read_file(path)
            if text is not None:
                system = parse_os_release(text.decode(errors="replace"))
                break
        if isinstance(programs, Absent):
            others = [major for major in range(OLDEST, NEWEST + 2) if major != topology.postgresql]
            system = replace(system, majors=tuple([m for m in others if await _installed(host, m)]))
            if topology.bin_directory is not None:
                named = await version_in(host, topology.bin_directory)
                system = replace(system, named_version=named or "")
        if await host.list_directory("/run/systemd/system") is not None:
            system = replace(system, systemd=True)
        if await host.can_execute(_LIST_CLUSTERS):
            # A program in Perl: it takes longer than asking a server.
            listed = (await host.look([_LIST_CLUSTERS, "-h"])).text if await _registered(host) else ""
            system = replace(system, clusters=parse_clusters(listed))
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
