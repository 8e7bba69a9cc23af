"""pgtandem down: stops the cluster, or removes it."""

import argparse
import contextlib
import os

from pgtandem.apply.engine import Outcome
from pgtandem.cli.changing import change
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.topology import Topology
from pgtandem.plan.stop import plan_destroy, plan_down
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    path = topology_path(options)
    topology = read_topology(path)
    question = plan_destroy if options.destroy else plan_down
    command = "down --destroy" if options.destroy else "down"

    async def work(world: World) -> Outcome:
        outcome = await change(topology, world, question, yes=options.yes, command=command)
        if options.destroy and not outcome.declined:
            world.workspace.clear()
            _remove_empty_folders(topology, os.path.dirname(path))
        return outcome

    outcome = in_world(path, work)
    if outcome.declined:
        return 2
    if options.destroy:
        print(f"cluster {topology.cluster} is removed; {path} is left")
    elif outcome.steps_done:
        print(f"cluster {topology.cluster} is stopped; its data is kept")
    else:
        print(f"cluster {topology.cluster} does not run; nothing to do")
    return 0


def _remove_empty_folders(topology: Topology, folder: str) -> None:
    """The folders that held the data, where they lie below the topology file and nothing is left in them."""
    parents = {os.path.dirname(node.data_directory) for node in topology.nodes if node.host.is_local}
    for parent in parents:
        if parent.startswith(folder + os.sep):
            with contextlib.suppress(OSError):
                os.rmdir(parent)
