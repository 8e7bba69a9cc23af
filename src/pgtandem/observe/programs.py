"""Which PostgreSQL programs of a major version there are on a host."""

import asyncio
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.observed import Programs
from pgtandem.model.topology import Binaries, Topology
from pgtandem.ports import Host, HostFailure

NEEDED = ("postgres", "initdb", "pg_ctl", "pg_controldata", "pg_basebackup")
_REWIND = "pg_rewind"


class Versions:
    """What `postgres --version` says in a folder. A program that is the file it was is not run again: everything that
    programs tell of a data directory would wait for it."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self._seen: dict[str, str] = {}

    @property
    def news(self) -> Mapping[str, str] | None:
        """All that was seen, where some of it was not known before."""
        return None if self._seen.items() <= self._known.items() else self._seen

    async def of(self, host: Host, directory: str) -> str | None:
        return await self._asked(host, directory, lambda: _version(host, directory))

    async def out_of_reach(self, host: Host, directory: str) -> str | None:
        """Of programs that the account cannot execute."""

        async def ask() -> str | None:
            return _parsed(await host.version_out_of_reach(directory))

        return await self._asked(host, directory, ask)

    async def _asked(self, host: Host, directory: str, ask: Callable[[], Awaitable[str | None]]) -> str | None:
        path = posixpath.join(directory, "postgres")
        stamp = await host.stamp(path)
        place = f"{host.name}: {path}: {stamp}"
        version = (self._known.get(place) if stamp else None) or await ask()
        if stamp and version:
            self._seen[place] = version
        return version


_VERSION = re.compile(r"\(PostgreSQL\) (\d+[^\s]*)")


async def observe_programs(host: Host, topology: Topology, versions: Versions | None = None) -> Fact[Programs]:
    """The best folder with programs of the topology's major version, one where none is missing if there is such a one;
    Absent where there is none."""
    lacking: Programs | None = None
    versions = versions or Versions({})
    try:
        for directory, origin in await _candidates(host, topology):
            found = await _look(host, directory, origin, topology.postgresql, versions)
            if found is not None and not found.missing:
                return Known(found if topology.tls is None else replace(found, tls=await _has_tls(host, found)))
            lacking = lacking or found
        return ABSENT if lacking is None else Known(lacking)
    except HostFailure as failure:
        return Unknown(f"{failure.what}: {failure.why}")


async def _candidates(host: Host, topology: Topology) -> list[tuple[str, str]]:
    if topology.bin_directory is not None:
        return [(topology.bin_directory, "named")]
    found = list(await host.program_directories(topology.postgresql))
    if topology.binaries is Binaries.AUTO:
        return found
    return [(directory, origin) for directory, origin in found if origin == topology.binaries.value]


async def _look(host: Host, directory: str, origin: str, major: int, versions: Versions) -> Programs | None:
    """The installation in a folder, or the copy of it that the account can reach."""
    if await host.can_execute(posixpath.join(directory, "postgres")):
        return await _programs(host, directory, origin, major, versions)
    if origin != "embedded":
        return None
    # The account cannot go there: whoever runs pgtandem can, and copies it to where every account can go. The version
    # is in the copy's name, so that a newer one is copied anew, and servers that run on the older copy keep theirs.
    version = await versions.out_of_reach(host, directory)
    if version is not None and _major(version) != major:
        return None
    here = Programs(directory, version or str(major), origin, usable=False)
    here = replace(here, copy_to=host.shared_programs(f"embedded-{here.version}"))
    copied = await _copy(host, here.copy_to, major, versions)
    if copied is not None:
        return copied
    older = await _older_copy(host, here.copy_to, major, versions)
    return here if older is None else replace(older, newer=here)


async def _copy(host: Host, directory: str, major: int, versions: Versions) -> Programs | None:
    """A copy that is there, whole, and can be used."""
    if not await host.can_execute(posixpath.join(directory, "postgres")):
        return None
    found = await _programs(host, directory, "embedded", major, versions)
    return found if found and not found.missing else None


async def _older_copy(host: Host, copy_to: str, major: int, versions: Versions) -> Programs | None:
    """The newest of the copies of other versions of this major."""
    copies = posixpath.dirname(posixpath.dirname(copy_to))
    found: dict[tuple[int, ...], Programs] = {}
    for name in await host.list_directory(copies) or ():
        if re.fullmatch(rf"embedded-{major}(\.\d+)?", name):
            copied = await _copy(host, host.shared_programs(name), major, versions)
            if copied is not None:
                found[tuple(map(int, re.findall(r"\d+", copied.version)))] = copied
    return found[max(found)] if found else None


async def version_in(host: Host, directory: str) -> str | None:
    """What `postgres` in a folder says of itself; None where there is none that the account can run."""
    return await _version(host, directory) if await host.can_execute(posixpath.join(directory, "postgres")) else None


async def _version(host: Host, directory: str) -> str | None:
    done = await host.look([posixpath.join(directory, "postgres"), "--version"])
    return _parsed(done.text)


async def _programs(host: Host, directory: str, origin: str, major: int, versions: Versions) -> Programs | None:
    version = await versions.of(host, directory)
    if version is None or _major(version) != major:
        return None
    names = (*NEEDED, _REWIND)
    there = await asyncio.gather(*(host.can_execute(posixpath.join(directory, name)) for name in names))
    missing = [name for name, found in zip(names, there, strict=True) if not found]
    needed = tuple(name for name in missing if name != _REWIND)
    return Programs(directory, version, origin, missing=needed, rewind=_REWIND not in missing)


def _parsed(text: str) -> str | None:
    match = _VERSION.search(text)
    return match.group(1) if match else None


async def _has_tls(host: Host, programs: Programs) -> bool | None:
    """By the default of ssl_ciphers, which is "none" in a build without TLS (10 to 18). None where the server did not
    say; the embedded programs never have TLS."""
    if not programs.usable:
        return False if programs.origin == "embedded" else None
    done = await host.run([posixpath.join(programs.directory, "postgres"), "--describe-config"], deadline_seconds=20)
    rows = [line.split("\t") for line in done.text.splitlines()]
    ciphers = [row[4] for row in rows if row[0] == "ssl_ciphers" and len(row) > 4]
    return ciphers[0] != "none" if ciphers else None


def _major(version: str) -> int:
    match = re.match(r"\d+", version)
    return int(match.group()) if match else 0
