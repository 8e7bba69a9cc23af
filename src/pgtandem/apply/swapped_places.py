"""Folders outside a data directory change hands with it: what filled them is set aside, and what was restored gets
their names.

The old data's links follow what was set aside, so it can be started as it was. Every move is one rename, and what is
done already is seen by what is where: cut off anywhere, the same again goes on.
"""

import posixpath
from collections.abc import Sequence

from pgtandem.apply.restored_places import release_place
from pgtandem.errors import PgtandemError
from pgtandem.model.restore import RestoreOrder
from pgtandem.model.value import dataclass
from pgtandem.observe.places import places_outside
from pgtandem.ports import Host


@dataclass(frozen=True, slots=True)
class Swap:
    """One folder: the link of the restored data that leads there, the restored content, the folder, where its present
    content goes."""

    link: str
    restored: str
    final: str
    aside: str


async def refuse_immovable(host: Host, places: Sequence[str]) -> None:
    """A folder that a disk is mounted on cannot be renamed, nor one in a folder that is not the account's to write in:
    both have to be known before any server is stopped. Raises PgtandemError PT-3056."""
    for place in places:
        if (await host.run(["mountpoint", "-q", place], deadline_seconds=20)).exit_code == 0:
            raise PgtandemError(
                "PT-3056",
                f"what is in {place} cannot be replaced by what was restored",
                why="A disk is mounted there. What is there and what was restored change places by their names, and "
                "that one cannot be renamed.",
                next_step="restore beside the cluster (--into DIR), and move the data by hand",
            )
        obstacle = await host.obstacle(f"{place}-before-restore")
        if obstacle is not None:
            parent = posixpath.dirname(place)
            raise PgtandemError(
                "PT-3056",
                f"what is in {place} cannot be replaced by what was restored",
                why="What is there and what was restored change places by their names, and the account that runs the "
                f"server may rename nothing in {parent}. {obstacle.why}",
                next_step=f"let that account write in {parent} until it is done; or restore beside the cluster "
                "(--into DIR), and move the data by hand",
            )


async def swaps_of(host: Host, order: RestoreOrder, wal: str | None, old: str, suffix: str) -> list[Swap]:
    """Raises PgtandemError PT-4002 where a folder holds what is neither the restore's nor the old data's, and where the
    restored data has what it has outside in yet another folder: what fills the node's own is not its then."""
    swaps = [
        Swap(f"pg_tblspc/{oid}", folder, path, path + suffix)
        for (oid, folder), (_, path) in zip(order.spaces, order.chain[0].tablespaces, strict=True)
    ]
    if order.wal and wal:
        swaps.append(Swap("pg_wal", order.wal, wal, wal + suffix))
    mine = (await places_outside(host, old)).values()
    leads = await places_outside(host, order.directory)
    for swap in swaps:
        if leads.get(swap.link) not in (swap.restored, swap.final):
            raise _taken(swap, f"{swap.link} of {order.directory} does not lead to {swap.restored}")
        if await host.list_directory(swap.restored) is None:
            if await host.list_directory(swap.final) is None:
                raise _taken(swap, f"{swap.restored} is not there any more")
        elif await host.list_directory(swap.final) and swap.final not in mine:
            raise _taken(swap, f"{swap.final} is not empty, and not what the old data has in use")
    return swaps


async def swap_place(host: Host, swap: Swap, restored: str, old: str) -> None:
    """Raises PgtandemError."""
    if await host.list_directory(swap.restored) is not None:
        if await host.list_directory(swap.final):
            if await host.list_directory(swap.aside) is not None:
                raise _taken(swap, f"{swap.aside} is there already")
            await host.rename(swap.final, swap.aside)
        if await host.list_directory(swap.aside) is not None:
            for link, place in (await places_outside(host, old)).items():
                if place == swap.final:
                    await _lead(host, posixpath.join(old, link), swap.aside)
        await host.rename(swap.restored, swap.final)
    await release_place(host, swap.final)
    await _lead(host, posixpath.join(restored, swap.link), swap.final)


async def _lead(host: Host, link: str, place: str) -> None:
    done = await host.run(["ln", "-sfn", place, link])
    if done.exit_code:
        raise PgtandemError("PT-2003", f"could not lead {link} to {place}", why=done.complaint)


def _taken(swap: Swap, what: str) -> PgtandemError:
    return PgtandemError(
        "PT-4002", what, why="The data directory was not replaced.", next_step="look at it, then the same command again"
    )
