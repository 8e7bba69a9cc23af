"""A copy between hosts that uses what the node already has: only blocks whose content differs cross the network.

The old data directory is only read: what is the same is copied from it by the kernel, the rest is fetched
(`apply/differences.py`). Like every copy it is a base backup of its own, from start to stop: how old the old data is
does not matter, and neither does what happened to it. Where it cannot be made, and where much differs, pg_basebackup
copies all.
"""

import asyncio
from collections.abc import Sequence

from pgtandem.apply.context import Context
from pgtandem.apply.copies import failed
from pgtandem.apply.differences import (
    LEAST_BYTES,
    NotByDifference,
    differences,
    fetch,
    fetch_control_file,
    progress,
    refuse_early,
    refuse_much,
    refuse_small,
)
from pgtandem.apply.file_copies import CopyFailed, Pace, Way, copy_files, list_files, make_folders
from pgtandem.apply.kernel_copies import NotByKernel, require_kept_wal, write_label
from pgtandem.apply.rewinding import rewind_source
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step, StepKind
from pgtandem.ports import Host
from pgtandem.postgres.base_backup import Tree, file_sizes, tree_of
from pgtandem.postgres.block_programs import Block

#: A copy that was cut goes on from this size on, however little that is of it: a connection that is cut again and again
#: must get to the end some day.
_LEAST_OF_A_HALF = 1024 * 1024


async def copy_by_difference(context: Context, step: Step, staging: str, candidates: Sequence[str]) -> str:
    """Makes the copy in `staging` with what the biggest of these folders has; returns what was sent.

    Raises NotByDifference, and PgtandemError PT-4006.
    """
    assert step.upstream is not None
    here, there = context.host(step.node), context.host(step.upstream)
    key = await refuse_early(context, step)
    try:
        session = await context.own_session(step.upstream)
    except PgtandemError as error:
        raise NotByDifference(error.why) from None
    try:
        start = await session.start_backup(f"pgtandem {step.node}")
        try:
            await require_kept_wal(session, step, start)
        except NotByKernel as reason:
            raise NotByDifference(f"{reason}") from None
        source = context.node(step.upstream).data_directory
        tree = tree_of(await list_files(there, source))
        old, kept = await _most_of(here, candidates, tree)
        way = Way(here, old, staging, tree.umask)
        blocks = await _copy_and_compare(context, step, way, tree, kept, key)
        for half in candidates:
            # Each cut leaves one, and the next has all that it had: there are never more than two.
            if half != old:
                await here.remove_tree(half)
        await _make(context, step, way, tree, blocks)
        end = await session.stop_backup()
        await write_label(way, end)
    except (CopyFailed, ValueError, PgtandemError) as failure:
        why = failure.why if isinstance(failure, PgtandemError) else str(failure)
        raise failed("PT-4006", f"could not copy {step.upstream} to {step.node}", why) from None
    finally:
        await session.close()
    sent = sum(block.size for block in blocks)
    return (
        f"{sent} of {tree.total_bytes} bytes were sent, the rest was here with the same content; "
        f"{len(tree.files)} files, each has its size"
    )


async def _most_of(host: Host, candidates: Sequence[str], tree: Tree) -> tuple[str, dict[str, int]]:
    """The folder that has the most of what is wanted, and the sizes of those files in it."""
    found: dict[str, dict[str, int]] = {}
    for folder in candidates:
        sizes = file_sizes(await list_files(host, folder))
        found[folder] = {path: size for path, size in sizes.items() if path in tree.files}
    most = max(found, key=lambda folder: sum(found[folder].values()))
    return most, found[most]


async def _copy_and_compare(
    context: Context, step: Step, way: Way, tree: Tree, kept: dict[str, int], key: str
) -> list[Block]:
    """Copies the old files while both hosts read theirs; returns what has to be sent. While the processors compare, the
    disk writes. Where too much differs the copy is waited for all the same, and removed: nobody writes there then."""
    goes_on = step.kind is StepKind.BASE_BACKUP
    refuse_small(tree, kept, _LEAST_OF_A_HALF if goes_on else LEAST_BYTES)
    compared = asyncio.create_task(differences(context, step, way.source, tree, kept, key))
    try:
        if context.topology.replication.copy_bytes_per_second is not None:
            await asyncio.wait({compared})  # or this host would do twice as much as it may
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy_old(context, step, way, tree, kept))
            blocks = await compared
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        compared.cancel()
        await asyncio.wait({compared})
    if goes_on:
        return blocks
    try:
        refuse_much(tree, blocks)
    except NotByDifference:
        await way.host.remove_tree(way.target)
        raise
    return blocks


async def _copy_old(context: Context, step: Step, way: Way, tree: Tree, kept: dict[str, int]) -> None:
    await make_folders(way, tree.folders)
    pace = Pace(context.world.clock, context.topology.replication.copy_bytes_per_second)
    await copy_files(way, kept, pace, progress(context, step, sum(kept.values())))


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
