"""Which PostgreSQL programs of a major version there are on a host."""

import posixpath
import re

from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.observed import Programs
from pgtandem.model.topology import Binaries, Topology
from pgtandem.ports import Host, HostFailure

NEEDED = ("postgres", "initdb", "pg_ctl", "pg_controldata", "pg_basebackup")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+[^\s]*)")


async def observe_programs(host: Host, topology: Topology) -> Fact[Programs]:
    """The best folder with programs of the topology's major version; Absent where there is none."""
    try:
        for directory, origin in await _candidates(host, topology):
            found = await _look(host, directory, origin, topology.postgresql)
            if found is not None:
                return Known(found)
        return ABSENT
    except HostFailure as failure:
        return Unknown(f"{failure.what}: {failure.why}")


async def _candidates(host: Host, topology: Topology) -> list[tuple[str, str]]:
    if topology.bin_directory is not None:
        return [(topology.bin_directory, "named")]
    found = list(await host.program_directories(topology.postgresql))
    if topology.binaries is Binaries.AUTO:
        return found
    return [(directory, origin) for directory, origin in found if origin == topology.binaries.value]


async def _look(host: Host, directory: str, origin: str, major: int) -> Programs | None:
    """The installation in a folder, or the copy of it that the account can reach."""
    usable = await host.can_execute(posixpath.join(directory, "postgres"))
    if usable:
        version = await _version(host, directory)
        return Programs(directory, version, origin) if version and _major(version) == major else None
    if origin != "embedded":
        return None
    # The account cannot go there: whoever runs pgtandem can, and copies it to where every account can go.
    name = f"embedded-{major}"
    shared = host.shared_programs(name)
    if await host.can_execute(posixpath.join(shared, "postgres")):
        version = await _version(host, shared)
        return Programs(shared, version, origin) if version and _major(version) == major else None
    return Programs(directory, str(major), origin, usable=False, copy_to=shared)


async def _version(host: Host, directory: str) -> str | None:
    for program in NEEDED[1:]:
        if not await host.can_execute(posixpath.join(directory, program)):
            return None
    done = await host.run([posixpath.join(directory, "postgres"), "--version"], deadline_seconds=20)
    match = _VERSION.search(done.text)
    return match.group(1) if match else None


def _major(version: str) -> int:
    match = re.match(r"\d+", version)
    return int(match.group()) if match else 0
