"""A copy between hosts that uses what the node already has: only blocks whose content differs cross the network.

The old data directory is only read: what is the same is copied from it by the kernel, the rest is fetched
(`apply/differences.py`). A half-made copy of an ended run is gone on with where it is (`apply/halves.py`). Like every
copy it is a base backup of its own, from start to stop: how old what is here is does not matter, and neither does what
happened to it. Where it cannot be made, and where much differs, pg_basebackup copies all.
"""

import asyncio
from collections.abc import Mapping, Sequence

from pgtandem.apply.context import Context
from pgtandem.apply.copies import failed
from pgtandem.apply.differences import (
    Missing,
    NotByDifference,
    NotNow,
    compare,
    fetch,
    fetch_control_file,
    progress,
    refuse_early,
    refuse_much,
    refuse_small,
)
from pgtandem.apply.file_copies import CopyFailed, Pace, Way, copy_files, list_files, make_folders
from pgtandem.apply.halves import LEAST_OF_A_HALF, Halves, biggest, keep_only, lay, take_half
from pgtandem.apply.kernel_copies import NotByKernel, require_kept_wal, write_label
from pgtandem.apply.rewinding import rewind_source
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step, StepKind
from pgtandem.model.value import dataclass
from pgtandem.model.words import size_in_words
from pgtandem.plan.hosts import LEAST_BYTES
from pgtandem.ports import Host
from pgtandem.postgres.base_backup import Tree, file_sizes, tree_of
from pgtandem.postgres.block_programs import Block


@dataclass(frozen=True, slots=True)
class _Local:
    """What this host has for the copy. `bases` have files that no other one has: those in the copy's own folder stay
    there, the rest is copied into it. `others` may have blocks of the files that are wrong in the base."""

    goes_on: bool
    bases: Mapping[str, Mapping[str, int]]
    others: Mapping[str, Mapping[str, int]]


async def copy_by_difference(context: Context, step: Step, staging: str, old: Sequence[str], halves: Halves) -> str:
    """Makes the copy in `staging` out of the biggest half-made copy, which is moved there, and what the folders `old`
    have, which are only read; returns what was sent.

    Raises NotByDifference, and PgtandemError PT-4006.
    """
    assert step.upstream is not None
    here, there = context.host(step.node), context.host(step.upstream)
    key = await refuse_early(context, step)
    try:
        session = await context.own_session(step.upstream)
    except PgtandemError as error:
        raise NotNow(error.why) from None
    try:
        start = await session.start_backup(f"pgtandem {step.node}")
        try:
            await require_kept_wal(session, step, start)
        except NotByKernel as reason:
            raise NotByDifference(f"{reason}") from None
        source = context.node(step.upstream).data_directory
        tree = tree_of(await list_files(there, source))
        local = await _what_is_here(step, here, staging, tree, old, halves)
        missing = await _copy_and_compare(context, step, staging, tree, local, key)
        for folder, blocks in missing.here.items():
            await lay(context, step, folder, staging, blocks, tree.umask)
        await _make(context, step, Way(here, "", staging, tree.umask), tree, missing.sent)
        end = await session.stop_backup()
        await write_label(Way(here, "", staging, tree.umask), end)
    except (CopyFailed, ValueError, PgtandemError) as failure:
        why = failure.why if isinstance(failure, PgtandemError) else str(failure)
        raise failed("PT-4006", f"could not copy {step.upstream} to {step.node}", why) from None
    finally:
        await session.close()
    sent = sum(block.size for block in missing.sent)
    return (
        f"{size_in_words(sent)} of {size_in_words(tree.total_bytes)} were sent, the rest was here with the same "
        "content; "
        f"{len(tree.files)} files, each has its size"
    )


async def _what_is_here(step: Step, host: Host, staging: str, tree: Tree, old: Sequence[str], halves: Halves) -> _Local:
    """Takes over the half-made copy that has the most; the others go."""
    found: dict[str, Mapping[str, int]] = {folder: await _files_in(host, folder, tree) for folder in old}
    half = await biggest(host, halves.beside, tree)
    goes_on = half is not None or step.kind is StepKind.BASE_BACKUP
    here = {path: size for files in (*found.values(), half.files if half else {}) for path, size in files.items()}
    refuse_small(tree, here, LEAST_OF_A_HALF if goes_on else LEAST_BYTES)
    bases: dict[str, Mapping[str, int]] = {}
    if half is not None and await take_half(host, half.folder, staging):
        await keep_only(host, staging, tree.folders, tree.files, tree.umask)
        bases[staging] = await _files_in(host, staging, tree)
    elif half is not None:
        found[half.folder] = half.files
    for useless in (*halves.beside, *halves.received):
        if half is None or useless != half.folder:
            await host.remove_tree(useless)
    others = {}
    for folder, files in found.items():
        based = {path for base in bases.values() for path in base}
        bases[folder] = {path: size for path, size in files.items() if path not in based}
        others[folder] = {path: size for path, size in files.items() if path in based}
    return _Local(goes_on, bases, others)


async def _files_in(host: Host, folder: str, tree: Tree) -> dict[str, int]:
    sizes = file_sizes(await list_files(host, folder))
    return {path: size for path, size in sizes.items() if path in tree.files}


async def _copy_and_compare(context: Context, step: Step, staging: str, tree: Tree, local: _Local, key: str) -> Missing:
    """Copies the old files while both hosts read theirs; returns what is missing then. While the processors compare,
    the disk writes. Where too much differs the copy is waited for all the same, and removed: nobody writes there
    then."""
    compared = asyncio.create_task(compare(context, step, tree, local.bases, local.others, key))
    try:
        if context.topology.replication.copy_bytes_per_second is not None:
            await asyncio.wait({compared})  # or this host would do twice as much as it may
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy_old(context, step, staging, tree, local))
            missing = await compared
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        compared.cancel()
        await asyncio.wait({compared})
    if local.goes_on:
        return missing
    try:
        refuse_much(tree, missing.sent)
    except NotByDifference:
        await context.host(step.node).remove_tree(staging)
        raise
    return missing


async def _copy_old(context: Context, step: Step, staging: str, tree: Tree, local: _Local) -> None:
    host = context.host(step.node)
    await make_folders(Way(host, "", staging, tree.umask), tree.folders)
    pace = Pace(context.world.clock, context.topology.replication.copy_bytes_per_second)
    copied = {folder: files for folder, files in local.bases.items() if folder != staging}
    tell = progress(context, step, sum(sum(files.values()) for files in copied.values()))
    for folder, files in copied.items():
        await copy_files(Way(host, folder, staging, tree.umask), files, pace, tell)


async def _make(context: Context, step: Step, way: Way, tree: Tree, blocks: list[Block]) -> None:
    """Over the old files what differs, then the control file."""
    tell = progress(context, step, sum(block.size for block in blocks))
    async with rewind_source(context, step, way.target) as conninfo:
        gone = await fetch(context, step, way, conninfo, blocks, tree.files, tell)
        found = file_sizes(await list_files(way.host, way.target))
        for path, size in tree.files.items():
            if path not in gone and found.get(path) != size:
                raise CopyFailed(f"{path} is not as it should be.")
        await fetch_control_file(context, step, way, conninfo)
