"""Half-made copies that ended runs have left: they are gone on with where they are, and nothing of them counts before
its content was compared.

There are two kinds: copies that stand beside the data, and what was received for the old data (`merged_copies.py`). A
folder that pg_rewind was at work in is the node's former data: that one is only copied from.
"""

import asyncio
import posixpath
from collections.abc import Iterable, Mapping, Sequence

from pgtandem.apply.context import Context
from pgtandem.apply.differences import SECONDS
from pgtandem.apply.file_copies import CopyFailed, list_files
from pgtandem.errors import PgtandemError, is_full
from pgtandem.model.observed import is_rewound
from pgtandem.model.plan import Step
from pgtandem.model.value import dataclass
from pgtandem.observe.paths import MERGE_MARK
from pgtandem.observe.places import FILE_ENDINGS
from pgtandem.ports import Completed, Host
from pgtandem.postgres.base_backup import Tree, file_sizes
from pgtandem.postgres.block_programs import PYTHON, Block
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


async def biggest(host: Host, folders: Sequence[str], tree: Tree, below: str = "") -> Half | None:
    """The one that has the most of what is wanted; None where that is next to nothing. Raises CopyFailed."""
    halves = []
    for folder in folders:
        sizes = file_sizes(await list_files(host, posixpath.join(folder, below)))
        halves.append(Half(folder, {path: size for path, size in sizes.items() if path in tree.files}))
    half = max(halves, key=lambda half: half.size_bytes, default=None)
    return half if half is not None and half.size_bytes >= LEAST_OF_A_HALF else None


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


async def lay(context: Context, step: Step, source: str, target: str, blocks: Sequence[Block], umask: int) -> None:
    """Copies blocks from one folder of the host to another. Raises CopyFailed."""
    if blocks:
        limit = context.topology.replication.copy_bytes_per_second or 0
        argv = [*PYTHON, LAY, source, target, str(limit), f"{umask:o}"]
        done = await context.host(step.node).run(argv, stdin=render_laid(blocks), deadline_seconds=SECONDS)
        _require(done)


def stays(context: Context, step: Step, failure: BaseException) -> bool:
    """Whether what there is of a copy that failed stays, so that the next run sends less (`plan/hosts.py: goes_on`). A
    disk that is full gets its room back."""
    assert step.upstream is not None
    full = isinstance(failure, PgtandemError) and is_full(failure.why)
    one_host = context.node(step.node).host == context.node(step.upstream).host
    return isinstance(failure, PgtandemError | asyncio.CancelledError) and not (full or step.places or one_host)


def _require(done: Completed) -> None:
    if done.exit_code:
        raise CopyFailed(done.complaint)
