"""Folders outside a data directory, filled and emptied with it: pg_wal elsewhere, and tablespaces."""

from collections.abc import Sequence

from pgtandem.errors import PgtandemError
from pgtandem.observe.places import CLAIMS
from pgtandem.ports import Host

_EMPTY_SECONDS = 3600.0

#: What a server puts into pg_wal: WAL segments and their kin.
_WAL = ("[0-9A-F]" * 8 + "*", "xlogtemp.*", "archive_status", "summaries")


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
        chosen = [word for pattern in (*_WAL, f"PG_{major}_*") for word in ("-o", "-name", pattern)][1:]
        argv = ["find", place, "-mindepth", "1", "-maxdepth", "1", "(", *chosen, ")", "-exec", "rm", "-rf", "{}", "+"]
        done = await host.run(argv, deadline_seconds=_EMPTY_SECONDS)
        if done.exit_code:
            raise PgtandemError("PT-4001", f"could not empty {place}", why=done.complaint)
        if not any(name.startswith("PG_") for name in names):
            await host.run(["rmdir", place], deadline_seconds=10)  # where somebody else put files, it stays
