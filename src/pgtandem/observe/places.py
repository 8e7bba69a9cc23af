"""Folders outside a data directory that its symbolic links lead to: pg_wal elsewhere, and tablespaces."""

import posixpath
from collections.abc import Iterable, Sequence

from pgtandem.model.observed import Obstacle
from pgtandem.ports import Host, HostFailure, HostUnreachable

#: Beside a copy in the making: the folders outside that it fills, one in a line.
CLAIMS = ".places"

#: What half-made copies have beside them that are files.
FILE_ENDINGS = (".passfile", ".ca.crt", ".verifier", CLAIMS)


async def places_outside(host: Host, directory: str) -> dict[str, str]:
    """By the link, "pg_wal" or "pg_tblspc/OID". Raises HostFailure."""
    links = ["pg_wal"]
    links += [f"pg_tblspc/{name}" for name in await host.list_directory(posixpath.join(directory, "pg_tblspc")) or ()]
    found = {link: await host.read_link(posixpath.join(directory, link)) for link in links}
    return {link: posixpath.normpath(target) for link, target in found.items() if target and target.startswith("/")}


async def mounted_places(host: Host, places: Iterable[str]) -> tuple[str, ...]:
    """Those that a disk is mounted on: nobody can rename them. Without `mountpoint` on the host, none is known."""
    try:
        return tuple([place for place in places if not (await host.look(["mountpoint", "-q", place])).exit_code])
    except (HostFailure, HostUnreachable):
        return ()


async def waiting_for_archive(host: Host, directory: str) -> tuple[str, ...]:
    """The files of pg_wal that wait for the archiver, in order; none where that cannot be looked at."""
    try:
        names = await host.list_directory(posixpath.join(directory, "pg_wal/archive_status"))
    except (HostFailure, HostUnreachable):
        return ()
    return tuple(sorted(name.removesuffix(".ready") for name in names or () if name.endswith(".ready")))


async def held_by(host: Host, leftovers: Sequence[str]) -> int:
    """The bytes that half-made copies hold; 0 where that cannot be told."""
    if not leftovers:
        return 0
    try:
        done = await host.look(["du", "-skc", *leftovers])
    except HostFailure:
        return 0
    words = done.text.splitlines()[-1].split() if done.text.strip() else []
    return int(words[0]) * 1024 if words and words[0].isdigit() else 0


async def claimed_places(host: Host, leftovers: Sequence[str]) -> tuple[str, ...]:
    """The folders outside that half-made copies have begun to fill. They were empty before; see `blocked_places`."""
    places: dict[str, None] = {}
    for leftover in leftovers:
        if leftover.endswith(CLAIMS):
            text = (await host.read_file(leftover) or b"").decode("utf-8", "surrogateescape")
            places |= dict.fromkeys(text.splitlines())
        elif not leftover.endswith(FILE_ENDINGS):
            places |= dict.fromkeys((await places_outside(host, leftover)).values())
    return tuple(places)


async def blocked_places(host: Host, places: Iterable[str], claimed: Sequence[str]) -> dict[str, Obstacle]:
    """Why folders cannot be had, for those that cannot: each must be empty, or be made. What a half-made copy has
    claimed is emptied first."""
    blocked: dict[str, Obstacle] = {}
    for place in places:
        try:
            found = () if place in claimed else await host.list_directory(place)
            if found:
                shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
                blocked[place] = Obstacle(place, f"It is not empty: {shown}.")
            elif (obstacle := await host.obstacle(place)) is not None:
                blocked[place] = obstacle
        except (HostFailure, HostUnreachable) as failure:
            blocked[place] = Obstacle(place, failure.why)
    return blocked
