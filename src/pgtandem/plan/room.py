"""Whether copies of the databases fit on the disks that they go to, asked before anything is done for them."""

from collections.abc import Iterator, Sequence

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
    needed = sum(room_for_copy(size_bytes, whole=copy not in renewed) for copy in copies)
    if disk.value.free_bytes + sum(_given_back(wish, copy) for copy in copies) < needed:
        many = len(copies) > 1
        yield (
            "PT-3009",
            Problem(
                name,
                f"the disk of {' and '.join(copies)} has {size_in_words(disk.value.free_bytes)} free, "
                f"and the {'copies need' if many else 'copy needs'} {size_in_words(needed)}",
                _what_is_needed(copies, renewed),
                f"make room, or name a folder on a larger disk as nodes.{name}.data_directory",
            ),
        )


def _what_is_needed(copies: Sequence[NodeName], renewed: Sequence[NodeName]) -> str:
    if len(renewed) == len(copies):
        return "That is for what differs from the old data, at the least a tenth of the databases, and some WAL."
    each = " for each" if len(copies) > 1 else ""
    return f"That is{each} the size of the databases, a tenth more for what is written meanwhile, and some WAL."


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
