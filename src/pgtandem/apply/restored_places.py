"""Filling, and emptying, what a restored server has outside its data directory: tablespaces, and pg_wal elsewhere."""

import posixpath

from pgtandem.errors import PgtandemError
from pgtandem.model.restore import RestoreOrder
from pgtandem.ports import Host

#: In a folder that a restore has made; none without it is ever emptied.
_MARK = ".pgtandem-restored"
#: Where the tablespaces of a copy beside the cluster are.
SPACES = ".tablespaces"
_MOVE_SECONDS = 24 * 3600.0


async def claim_places(host: Host, order: RestoreOrder) -> None:
    """Empty, and marked as ours. Raises PgtandemError PT-3055 where something else is there."""
    await remove_places(host, order)
    for place in order.places:
        if found := await host.list_directory(place):
            raise PgtandemError(
                "PT-3055",
                f"{place} is not empty, and no restore has made it",
                why=f"Found there: {found[0]}.",
                next_step="move it away, then the same command again",
            )
        await host.make_directory(place)
        await host.write_file(posixpath.join(place, _MARK), b"")


async def remove_places(host: Host, order: RestoreOrder) -> None:
    """What a restore has made, this one or one before it into the same folder."""
    beside = order.directory + SPACES
    names = await host.list_directory(beside)
    for place in {*order.places, *(posixpath.join(beside, name) for name in names or ())}:
        if await host.read_file(posixpath.join(place, _MARK)) is not None:
            await host.remove_tree(place)
    if names is not None:
        await host.run(["rmdir", beside], deadline_seconds=10)  # where somebody else put files, it stays


async def release_place(host: Host, place: str) -> None:
    """Once it has its final name."""
    await host.remove_file(posixpath.join(place, _MARK))


async def write_map(host: Host, order: RestoreOrder, directory: str) -> None:
    """Where the server finds its tablespaces: never the cluster's own."""
    if order.spaces:
        lines = "".join(f"{oid} {folder}\n" for oid, folder in order.spaces)
        await host.write_file(posixpath.join(directory, "tablespace_map"), lines.encode("utf-8", "surrogateescape"))


async def move_wal_out(host: Host, order: RestoreOrder, directory: str) -> None:
    """pg_wal to the folder that it is to have. Raises PgtandemError PT-2003."""
    if order.wal is None:
        return
    script = 'mv "$1"/* "$2"/ && rmdir "$1" && ln -s "$2" "$1"'
    argv = ["sh", "-c", script, "sh", posixpath.join(directory, "pg_wal"), order.wal]
    done = await host.run(argv, deadline_seconds=_MOVE_SECONDS)
    if done.exit_code:
        raise PgtandemError("PT-2003", f"could not move WAL to {order.wal}", why=done.complaint)
