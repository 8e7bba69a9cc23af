"""pgtandem down: stops the cluster, or removes it."""

import argparse
import contextlib
import os
import shlex

from pgtandem.apply.engine import Outcome
from pgtandem.cli.changing import change
from pgtandem.cli.invocation import short, spelled
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.topology import LOCAL, Topology
from pgtandem.plan.stop import plan_destroy, plan_down
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when it is stopped or removed, 2 when somebody said no."""
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

    outcome = in_world(path, topology, work, options, keep_logins=False)
    if outcome.declined:
        return 2
    if options.destroy:
        removed = "is removed" if outcome.steps_done else "is not there, nothing to do"
        print(f"cluster {topology.cluster} {removed}; {short(path)} stays")
        print(spelled(f"next:  pgtandem up   (builds it anew)   or   rm {shlex.quote(short(path))}", path))
    elif outcome.steps_done:
        print(f"cluster {topology.cluster} is stopped; its data is kept")
        print(spelled("next:  pgtandem up   (starts it again)   or   pgtandem down --destroy   (removes it)", path))
    else:
        print(f"cluster {topology.cluster} does not run; nothing to do")
    return 0


def _remove_empty_folders(topology: Topology, folder: str) -> None:
    """The folders that held the data and the archive, where they lie below the topology file and are empty.

    An earlier run that was cut off may have left them: what was in them is gone, so no plan names them any more.
    """
    folders = {os.path.dirname(node.data_directory) for node in topology.nodes if node.host.is_local}
    if topology.archive is not None and LOCAL in topology.archive_hosts:
        folders.add(topology.archive.directory)
    for parent in folders:
        if parent.startswith(folder + os.sep):
            with contextlib.suppress(OSError):
                os.rmdir(parent)
