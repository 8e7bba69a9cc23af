"""Whether copies of the databases fit on the disks that they go to, asked before anything is done for them."""

from collections.abc import Iterator, Mapping, Sequence

from pgtandem.errors import Problem
from pgtandem.model.facts import Absent, Known
from pgtandem.model.names import NodeName
from pgtandem.model.observed import is_rewound
from pgtandem.model.words import size_in_words
from pgtandem.plan.catching_up import gaps
from pgtandem.plan.desired import Wish
from pgtandem.plan.hosts import uses_halves
from pgtandem.plan.merging import renews, room_for_copy

Finding = tuple[str, Problem]


def copies_room(wish: Wish, name: NodeName) -> Iterator[Finding]:
    """All copies of a converging plan that are to be made on one file system must fit together; told of the first."""
    primary, copies = wish.seen(wish.primary).running, _copies_beside(wish, name)
    if primary is None or copies[:1] != (name,):
        return
    renewed = [copy for copy in copies if not isinstance(wish.seen(copy).data, Absent) and renews(wish, copy)]
    yield from no_room(wish, copies, primary.size_bytes, renewed)


def no_room(
    wish: Wish, copies: Sequence[NodeName], size_bytes: int, renewed: Sequence[NodeName] = ()
) -> Iterator[Finding]:
    """PT-3009 where copies of so many bytes do not fit on the file system that they go to; the first of them is on it.
    `renewed` are those that are written into their old data. The others' old data stays until a copy streams, so that
    nothing of it counts."""
    name = copies[0]
    disk = wish.seen(name).disk
    if not isinstance(disk, Known):
        return
    spaces = {copy: _tablespaces_elsewhere(wish, copy) for copy in copies}
    needed = sum(
        room_for_copy(max(size_bytes - sum(spaces[copy].values()), 0), whole=copy not in renewed) for copy in copies
    )
    if disk.value.free_bytes + sum(_given_back(wish, copy) for copy in copies) < needed:
        many = len(copies) > 1
        yield (
            "PT-3009",
            Problem(
                name,
                f"the disk of {' and '.join(copies)} has {size_in_words(disk.value.free_bytes)} free, "
                f"and the {'copies need' if many else 'copy needs'} {size_in_words(needed)}",
                _what_is_needed(copies, renewed, apart=any(spaces.values())),
                f"make room, or name a folder on a larger disk as nodes.{name}.data_directory",
            ),
        )
    for copy in copies:
        yield from _no_room_for_tablespaces(wish, copy, spaces[copy], whole=copy not in renewed)


def _no_room_for_tablespaces(
    wish: Wish, name: NodeName, spaces: Mapping[str, int], *, whole: bool
) -> Iterator[Finding]:
    """Of each disk that they are on alone. Where a half-made copy has begun to fill them, how much they hold is not
    known."""
    node = wish.seen(name)
    for device in dict.fromkeys(node.tablespace_disks[place].device for place in spaces):
        places = [place for place in spaces if node.tablespace_disks[place].device == device]
        free = node.tablespace_disks[places[0]].free_bytes
        size = sum(spaces[place] for place in places)
        needed = (size if whole else 0) + size // 10
        if free < needed and not set(places) & set(node.claimed):
            many = len(places) > 1
            yield (
                "PT-3009",
                Problem(
                    name,
                    f"the disk of the tablespace{'s' if many else ''} in {' and '.join(places)} has "
                    f"{size_in_words(free)} free for {name}, and the copy needs {size_in_words(needed)}",
                    "That is their size there, and a tenth more for what is written meanwhile."
                    if whole
                    else "That is for what differs from the old data, at the least a tenth of them.",
                    f"make room on that disk, or mount a larger one there before {name} is copied",
                ),
            )


def _tablespaces_elsewhere(wish: Wish, name: NodeName) -> Mapping[str, int]:
    """The tablespaces that a copy has on other disks than its data, with their sizes on the primary."""
    primary, node = wish.seen(wish.primary).running, wish.seen(name)
    if primary is None or not isinstance(node.disk, Known):
        return {}
    disks, own = node.tablespace_disks, node.disk.value.device
    return {
        place: size for place, size in primary.tablespace_bytes.items() if place in disks and disks[place].device != own
    }


def _what_is_needed(copies: Sequence[NodeName], renewed: Sequence[NodeName], *, apart: bool) -> str:
    if len(renewed) == len(copies):
        return "That is for what differs from the old data, at the least a tenth of the databases, and some WAL."
    each = " for each" if len(copies) > 1 else ""
    what = "the databases but for tablespaces on other disks" if apart else "the databases"
    return f"That is{each} the size of {what}, a tenth more for what is written meanwhile, and some WAL."


def _given_back(wish: Wish, name: NodeName) -> int:
    """What half-made copies hold: it is given back before the next one begins, or is a part of that already
    (`hosts.py: goes_on`). Former data that was being rewound is only copied from: it stays until the copy is whole."""
    node = wish.seen(name)
    return 0 if uses_halves(wish, name) and any(map(is_rewound, node.leftovers)) else node.leftover_bytes


def _copies_beside(wish: Wish, name: NodeName) -> tuple[NodeName, ...]:
    """The standbys that are to be copied to the file system that this node's data is to lie on."""
    host, disk, anew = wish.node(name).host, wish.seen(name).disk, gaps(wish)
    return tuple(
        node.name
        for node in wish.topology.nodes
        if node.name != wish.primary
        and node.host == host
        and (isinstance(wish.seen(node.name).data, Absent) or node.name in anew)
        for other in (wish.seen(node.name).disk,)
        if isinstance(disk, Known) and isinstance(other, Known) and other.value.device == disk.value.device
    )
