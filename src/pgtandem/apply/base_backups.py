"""Copies of a node: by the kernel where both are on one host, also on from a half-made copy; between hosts what differs
from the node's old data, where it has such, or from a half-made copy; and by pg_basebackup.

pg_basebackup is the way that always works. Which one it was, and what of the copy was checked, the step's remark says.
"""

import asyncio
from collections.abc import Sequence

from pgtandem.apply import outside
from pgtandem.apply.context import Context
from pgtandem.apply.copies import finish_copy, prepare_staging, tidy
from pgtandem.apply.difference_copies import copy_by_difference
from pgtandem.apply.differences import NotByDifference, NotNow
from pgtandem.apply.halves import Halves, halves_of, on_one_host, stays
from pgtandem.apply.kernel_copies import NotByKernel, copy_by_kernel
from pgtandem.apply.streamed_copies import copy_by_stream
from pgtandem.apply.writing_out import written_out_meanwhile
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step


async def replace_data(context: Context, step: Step) -> str:
    """A base backup that takes the place of the data directory that is there, which gets a name beside it.

    Cut off between the two renames there is no data directory: the next run makes the copy again, and what was moved
    aside stays until that one streams. Raises PgtandemError PT-4006, and PT-4002 where another node's data is there.
    """
    return await _copy(context, step, set_aside=True)


async def replace_whole(context: Context, step: Step) -> str:
    """The same where it is known that a copy of what differs cannot be, or does not pay."""
    return await _copy(context, step, set_aside=True, compares=False)


async def base_backup(context: Context, step: Step) -> str:
    """A base backup of the upstream, with progress. Raises PgtandemError PT-4006."""
    return await _copy(context, step, set_aside=False)


async def _copy(context: Context, step: Step, *, set_aside: bool, compares: bool = True) -> str:
    host = context.host(step.node)
    if set_aside:
        directory = context.node(step.node).data_directory
        await outside.set_aside(host, directory, step.places, context.world.workspace.token())
    final, staging = await prepare_staging(context, step)
    halves = await halves_of(host, step.names)
    old = [*([final] if set_aside and (compares or halves.beside) else []), *halves.rewound]
    try:
        async with written_out_meanwhile(host, staging):
            remark = await _by_the_best_way(context, step, staging, old, halves)
        await finish_copy(context, step, staging, final, set_aside=set_aside)
    except (PgtandemError, asyncio.CancelledError) as failure:
        if not await stays(context, step, staging, failure):
            await tidy(context, step, staging)
        raise
    return remark


async def _by_the_best_way(context: Context, step: Step, staging: str, old: Sequence[str], halves: Halves) -> str:
    """Ways that cannot be taken leave nothing. What they say for it follows what was done instead."""
    one_host = on_one_host(context, step)
    reason: Exception | None = None
    try:
        if one_host:
            return await copy_by_kernel(context, step, staging, halves)
        if old or halves.beside:
            return await copy_by_difference(context, step, staging, old, halves)
    except NotNow as refusal:
        reason = refusal
    except (NotByKernel, NotByDifference) as refusal:
        reason = refusal
        for useless in (*halves.beside, *halves.received):
            await context.host(step.node).remove_tree(useless)
    try:
        remark = await copy_by_stream(context, step, staging)
    except (PgtandemError, asyncio.CancelledError):
        if one_host:
            await tidy(context, step, staging)  # pg_basebackup will be the way again, and it begins anew
        raise
    way = "by the kernel" if one_host else "by what differs"
    return f"{remark} (not {way}: {reason})" if str(reason or "") else remark
