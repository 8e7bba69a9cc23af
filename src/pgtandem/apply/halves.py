"""Half-made copies that ended runs have left: they are gone on with where they are, and nothing of them counts before
its content was compared.

There are two kinds: copies that stand beside the data, and what was received for the old data (`merged_copies.py`). A
folder that pg_rewind was at work in is the node's former data: that one is only copied from.
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence

from pgtandem.apply.context import Context
from pgtandem.apply.differences import SECONDS
from pgtandem.apply.file_copies import CopyFailed, Way, list_files
from pgtandem.errors import PgtandemError, is_full
from pgtandem.model.observed import is_rewound
from pgtandem.model.plan import Step
from pgtandem.model.value import dataclass
from pgtandem.observe.paths import MERGE_MARK
from pgtandem.observe.places import FILE_ENDINGS, held_by
from pgtandem.plan.hosts import LEAST_BYTES
from pgtandem.ports import Completed, Host, HostFailure, HostUnreachable
from pgtandem.postgres.base_backup import Tree, file_sizes
from pgtandem.postgres.block_programs import PROBE, PYTHON, Block
from pgtandem.postgres.half_programs import KEEP_ONLY, LAY, NOT_TAKEN, TAKE, render_kept, render_laid
from pgtandem.postgres.merge_program import MERGING, RECEIVED

#: From this size on one is gone on with, however little that is of the copy: a connection that is cut again and again
#: must get to the end some day.
LEAST_OF_A_HALF = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Halves:
    """The folders that ended runs left: copies `beside`, what was `received` for old data, and `rewound` data."""

    beside: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    rewound: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Half:
    """One of them, with the sizes of those files in it that are wanted."""

    folder: str
    files: Mapping[str, int]

    @property
    def size_bytes(self) -> int:
        return sum(self.files.values())


async def halves_of(host: Host, names: Sequence[str]) -> Halves:
    """The kinds of what the plan has found; what is ready to be merged, or in use, is none of them."""
    found: dict[str, list[str]] = {"beside": [], "received": [], "rewound": []}
    for folder in names:
        if folder.endswith(FILE_ENDINGS) or MERGE_MARK in posixpath.basename(folder):
            continue
        inside = await host.list_directory(folder) or ()
        if MERGING in inside:
            continue
        kind = "rewound" if is_rewound(folder) else "received" if RECEIVED in inside else "beside"
        found[kind].append(folder)
    return Halves(**{kind: tuple(folders) for kind, folders in found.items()})


async def biggest(
    host: Host, folders: Sequence[str], tree: Tree, below: str = "", least: int = LEAST_OF_A_HALF
) -> Half | None:
    """The one that has the most of what is wanted; None where that is next to nothing. Raises CopyFailed."""
    halves = []
    for folder in folders:
        sizes = file_sizes(await list_files(host, posixpath.join(folder, below)))
        halves.append(Half(folder, {path: size for path, size in sizes.items() if path in tree.files}))
    half = max(halves, key=lambda half: half.size_bytes, default=None)
    return half if half is not None and half.size_bytes >= least else None


async def take_half(host: Host, half: str, name: str) -> bool:
    """Gives it this run's name, once nobody writes there; False where that cannot be. Raises CopyFailed."""
    done = await host.run([*PYTHON, TAKE, half, name], deadline_seconds=60)
    if done.exit_code != NOT_TAKEN:
        _require(done)
    return done.exit_code == 0


async def keep_only(host: Host, folder: str, folders: Iterable[str], files: Iterable[str], umask: int) -> None:
    """Removes from a half-made copy all that is not named, above all its control file. Raises CopyFailed."""
    argv = [*PYTHON, KEEP_ONLY, folder, f"{umask:o}"]
    _require(await host.run(argv, stdin=render_kept(folders, files), deadline_seconds=SECONDS))


async def take_on_one_host(way: Way, tree: Tree, halves: Halves) -> Mapping[str, int]:
    """Takes over the half-made copy that has the most, as the target; the others go, and that one where the host has no
    Python, somebody else writes there, or copying is sooner done than comparing. Returns the sizes of its files, which
    are still to be compared. Raises CopyFailed."""
    half = await biggest(way.host, halves.beside, tree, least=LEAST_BYTES)
    taken = half is not None and await _has_python(way.host) and await take_half(way.host, half.folder, way.target)
    for useless in (*halves.beside, *halves.received):
        if not (taken and half is not None and useless == half.folder):
            await way.host.remove_tree(useless)
    if not taken:
        return {}
    await keep_only(way.host, way.target, tree.folders, tree.files, tree.umask)
    if await _shares_blocks(way, tree):
        await way.host.remove_tree(way.target)
        return {}
    sizes = file_sizes(await list_files(way.host, way.target))
    return {path: size for path, size in sizes.items() if path in tree.files}


async def _has_python(host: Host) -> bool:
    try:
        return (await host.look([*PYTHON, PROBE])).exit_code == 0
    except HostFailure:
        return False


async def _shares_blocks(way: Way, tree: Tree) -> bool:
    """Whether the file system can give a file's blocks to a copy too, which then takes no time at all."""
    big, probe = max(tree.files, key=lambda path: tree.files[path]), posixpath.join(way.target, "shared")
    done = await way.host.run(["cp", "--reflink=always", posixpath.join(way.source, big), probe])
    await way.host.remove_file(probe)
    return done.exit_code == 0


async def lay(context: Context, step: Step, source: str, target: str, blocks: Sequence[Block], umask: int) -> None:
    """Copies blocks from one folder of the host to another. Raises CopyFailed."""
    if blocks:
        limit = context.topology.replication.copy_bytes_per_second or 0
        argv = [*PYTHON, LAY, source, target, str(limit), f"{umask:o}"]
        done = await context.host(step.node).run(argv, stdin=render_laid(blocks), deadline_seconds=SECONDS)
        _require(done)


async def stays(context: Context, step: Step, staging: str, failure: BaseException) -> bool:
    """Whether what there is of a copy that failed stays, so that the next run sends or writes less (`plan/hosts.py:
    goes_on`). A disk that is full gets its room back."""
    full = isinstance(failure, PgtandemError) and is_full(failure.why)
    if full or step.places:
        return False
    if not on_one_host(context, step):
        return True
    try:
        return await held_by(context.host(step.node), [staging]) >= LEAST_BYTES
    except HostUnreachable:
        return True


def on_one_host(context: Context, step: Step) -> bool:
    assert step.upstream is not None
    return context.node(step.node).host == context.node(step.upstream).host


def _require(done: Completed) -> None:
    if done.exit_code:
        raise CopyFailed(done.complaint)
