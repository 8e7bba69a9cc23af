"""Folders outside a data directory, filled and emptied with it: pg_wal elsewhere, and tablespaces."""

import posixpath
from collections.abc import Sequence

from pgtandem.errors import PgtandemError
from pgtandem.observe.paths import REPLACED_MARK, replaced_directory
from pgtandem.observe.places import CLAIMS, places_outside
from pgtandem.ports import Host, HostFailure

_EMPTY_SECONDS = 3600.0

#: What a server puts into pg_wal: WAL segments and their kin; and what the programs that move WAL keep there.
_WAL = (
    *("[0-9A-F]" * 8 + "*", "xlogtemp.*", "archive_status", "summaries"),
    *("pgtandem", "pgtandem_archived*", "pgtandem_aside"),
)


async def claim(host: Host, staging: str, places: Sequence[str]) -> None:
    """Written before a copy begins to fill them, so that what an interrupted one left is not taken for anybody else's.

    Raises PgtandemError PT-4002 when there is something in one of them.
    """
    for place in places:
        if found := await host.list_directory(place):
            raise PgtandemError("PT-4002", f"{place} is not empty any more", why=f"Found there: {found[0]}.")
    if places:
        text = "".join(f"{place}\n" for place in places)
        await host.write_file(staging + CLAIMS, text.encode("utf-8", "surrogateescape"))


async def set_aside(host: Host, directory: str, places: Sequence[str], token: str) -> None:
    """Gives the folders that a data directory has outside new names, and its links with them: a new copy fills them.
    The old data can be started as it was. Cut off, the same again goes on.

    Raises PgtandemError PT-4006 where one cannot be renamed.
    """
    for link, place in (await places_outside(host, directory)).items():
        if place not in places:
            continue
        parent, name = posixpath.split(place)
        aside = replaced_directory(place, token)
        if not await host.list_directory(place):
            # It got its other name in an earlier run, and the link did not follow.
            names = await host.list_directory(parent) or ()
            before = [posixpath.join(parent, each) for each in names if each.startswith(name + REPLACED_MARK)]
            if not before:
                continue
            aside = before[-1]
        else:
            try:
                await host.rename(place, aside)
            except HostFailure as failure:
                raise PgtandemError(
                    "PT-4006",
                    f"could not give {place} another name, and the new copy needs that one",
                    why=failure.why,
                    next_step=f"move {directory} and {place} away, then pgtandem apply: it is copied anew",
                ) from None
        done = await host.run(["ln", "-sfn", aside, posixpath.join(directory, link)])
        if done.exit_code:
            raise PgtandemError("PT-4006", f"could not lead {directory}/{link} to {aside}", why=done.complaint)


async def release(host: Host, staging: str) -> None:
    """Before the copy gets its name; from then on its own links tell."""
    await host.remove_file(staging + CLAIMS)


async def empty(host: Host, places: Sequence[str], major: int) -> None:
    """Removes what a server of that major version has put there, and nothing else. The folder of a tablespace stays:
    its user made it. Raises PgtandemError."""
    for place in places:
        names = await host.list_directory(place)
        if names is None:
            continue
        for name in names:
            if name.startswith(f"PG_{major}_"):
                await host.remove_tree(posixpath.join(place, name))  # a program of an ended run may be filling it still
        chosen = [word for pattern in _WAL for word in ("-o", "-name", pattern)][1:]
        argv = ["find", place, "-mindepth", "1", "-maxdepth", "1", "(", *chosen, ")", "-exec", "rm", "-rf", "{}", "+"]
        done = await host.run(argv, deadline_seconds=_EMPTY_SECONDS)
        if done.exit_code:
            raise PgtandemError("PT-4001", f"could not empty {place}", why=done.complaint)
        if not any(name.startswith("PG_") for name in names):
            await host.run(["rmdir", place], deadline_seconds=10)  # where somebody else put files, it stays
