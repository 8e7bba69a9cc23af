"""Removing what pgtandem made, and only that."""

import posixpath

from pgtandem.apply import outside
from pgtandem.apply.context import Context
from pgtandem.apply.copies import remove_leftovers
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step
from pgtandem.observe.paths import REPLACED_MARK, log_file, staging_directory
from pgtandem.observe.places import FILE_ENDINGS, places_outside
from pgtandem.postgres.merge_program import RECEIVED


async def remove_data_directory(context: Context, step: Step) -> str:
    """Takes the data directory's name away first: a half-removed one is never mistaken for a cluster.

    Raises PgtandemError PT-4002 when the marker in it is not this node's.
    """
    host, path = context.host(step.node), context.node(step.node).data_directory
    data = (await context.observer.node(step.node)).directory
    if data is not None:
        if data.marker is None or (data.marker.cluster, data.marker.node) != (context.topology.cluster, step.node):
            raise PgtandemError(
                "PT-4002", f"{path} is not the data directory of {step.node} any more", why="Nothing was removed."
            )
        doomed = staging_directory(path, context.world.workspace.token())
        await host.rename(path, doomed)
        await outside.empty(host, tuple((await places_outside(host, doomed)).values()), context.topology.postgresql)
        await host.remove_tree(doomed)
    await remove_leftovers(context, step)
    await host.remove_file(log_file(path))
    if await host.list_directory(posixpath.dirname(path)) == ():
        await host.run(["rmdir", posixpath.dirname(path)], deadline_seconds=10)
    context.world.workspace.forget_node(step.node)
    return ""


async def remove_replaced(context: Context, step: Step) -> str:
    """Removes this node's data directories that a new copy took the place of, by another name first, so that one that
    is half removed is known for it; and what was received for a copy that was written into the old data."""
    host, path = context.host(step.node), context.node(step.node).data_directory
    seen = await context.observer.node(step.node)
    for leftover in seen.leftovers:
        if not leftover.endswith(FILE_ENDINGS) and RECEIVED in (await host.list_directory(leftover) or ()):
            await host.remove_tree(leftover)
    for replaced in seen.replaced:
        doomed = staging_directory(path, context.world.workspace.token())
        places = [place for place in (await places_outside(host, replaced)).values() if REPLACED_MARK in place]
        await host.rename(replaced, doomed)
        await outside.empty(host, places, context.topology.postgresql)
        for place in places:
            await host.run(["rmdir", place], deadline_seconds=10)  # where somebody else put files, it stays
        await host.remove_tree(doomed)
    return ""


async def forget_node(context: Context, step: Step) -> str:
    context.world.workspace.forget_node(step.node)
    return ""
