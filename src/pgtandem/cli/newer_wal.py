"""What the primary has written since the end of the archive, brought into it before a restore that needs it."""

import argparse
import math
from functools import partial

from pgtandem.apply.holding import GivesWay
from pgtandem.cli.changing import change
from pgtandem.cli.targets import target_in_words
from pgtandem.model.restore import Target, TargetKind
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.restorable import observe_restorable
from pgtandem.plan.finishing import NotArchived, not_archived, plan_finish_segment
from pgtandem.ports import World


async def archive_newer(topology: Topology, world: World, target: Target, options: argparse.Namespace) -> bool:
    """Whether the archive has more now than when it did not lead to this target: with the user's consent, as for any
    change. Raises PgtandemError PT-4007 where it does not get there."""
    if target.kind is TargetKind.LATEST:
        return False
    observed = await Observer(topology, world).cluster()
    restorable = await observe_restorable(topology, world)
    wal = not_archived(observed, restorable.intervals, target, options.timeline)
    return wal is not None and await archive_it(topology, world, target, wal, options)


async def archive_it(
    topology: Topology, world: World, target: Target, wal: NotArchived, options: argparse.Namespace
) -> bool:
    """The same for what is known to be there."""
    print(
        f"{target_in_words(target)}: not in the archive so far, and {wal.node} has written on. What it has goes there "
        "first.",
        flush=True,
    )
    if target.moment is not None:
        # The archive's files tell their age in whole seconds.
        await world.clock.sleep(max(math.floor(target.moment) + 1 - world.clock.now(), 0))
    question = partial(plan_finish_segment, wal=wal)
    outcome = await change(topology, world, question, yes=options.yes, command="restore", gives=GivesWay.ALWAYS)
    return not outcome.declined


def tell_newer(wal: NotArchived | None) -> None:
    """The latest that can be restored is the end of the archive. Nobody must take it for what the primary has."""
    if wal is not None:
        more = "which cannot be archived now: pgtandem status" if wal.failing else "--to now has that archived first"
        print(
            f"latest is the end of the archive, {wal.archived_to}; {wal.node} has written on, to {wal.end} ({more})",
            flush=True,
        )
