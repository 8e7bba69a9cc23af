"""Putting a new copy together in the old data directory, once all that is needed for it is on the node's own host."""

from pgtandem.apply.context import Context
from pgtandem.apply.copies import failed
from pgtandem.apply.differences import SECONDS
from pgtandem.errors import PgtandemError, is_full
from pgtandem.model.observed import Marker
from pgtandem.model.plan import Step
from pgtandem.observe.directory import observe_marker
from pgtandem.observe.paths import merge_directory, staging_directory
from pgtandem.ports import BuiltNode
from pgtandem.postgres.block_programs import PYTHON
from pgtandem.postgres.merge_program import MERGE, NOT_BEGUN


async def begin_merge(context: Context, step: Step, side: str) -> None:
    """What stands in `side` is whole and durable: from here on the old data is given up.

    Raises PgtandemError PT-4002 where the old data is not what it was: then nothing has happened to it.
    """
    host, node = context.host(step.node), context.node(step.node)
    marker = await observe_marker(host, node.data_directory)
    if marker != Marker(context.topology.cluster, step.node) or await context.postmaster(step.node) is not None:
        await host.remove_tree(side)
        raise _not_as_it_was(context, step, "Its server runs, or it is another node's now")
    context.world.workspace.remember_node(
        BuiltNode(node.name, node.host.url, node.address, node.port, node.data_directory)
    )
    folder = merge_directory(node.data_directory, context.world.workspace.token())
    await host.rename(side, folder)
    done = await _merge(context, step, folder, "begin")
    # It is removed when the new copy streams, with what else was replaced.
    await host.rename(done, staging_directory(node.data_directory, context.world.workspace.token()))


async def finish_merge(context: Context, step: Step) -> str:
    """Does what is left of it, or all again. Raises PgtandemError PT-4006."""
    for folder in step.names:
        await _remove(context, step, await _merge(context, step, folder, "go on"))
    return ""


async def _merge(context: Context, step: Step, folder: str, how: str) -> str:
    """Returns the folder, which has done its part."""
    host, final = context.host(step.node), context.node(step.node).data_directory
    done = await host.run([*PYTHON, MERGE, folder, final, how], deadline_seconds=SECONDS)
    if done.exit_code == NOT_BEGUN:
        await _remove(context, step, folder)
        if is_full(done.complaint):
            raise failed("PT-4006", f"could not copy {step.upstream} to {step.node}", done.complaint)
        raise _not_as_it_was(context, step, done.complaint)
    if done.exit_code:
        raise PgtandemError(
            "PT-4006",
            f"could not put the new copy of {step.node} together",
            why=done.complaint,
            next_step=f"mend that, then run the same command again: all that it needs is in {folder}",
        )
    return folder


async def _remove(context: Context, step: Step, folder: str) -> None:
    """By the name of a half-made copy first: as long as it has the other one it may be gone on with."""
    host = context.host(step.node)
    doomed = staging_directory(context.node(step.node).data_directory, context.world.workspace.token())
    await host.rename(folder, doomed)
    await host.remove_tree(doomed)


def _not_as_it_was(context: Context, step: Step, why: str) -> PgtandemError:
    return PgtandemError(
        "PT-4002",
        f"{context.node(step.node).data_directory} is not what it was when it was compared",
        why=f"{why[:1].upper()}{why[1:]}. Nothing was replaced.",
        next_step="run the same command again: it looks at the cluster anew",
    )
