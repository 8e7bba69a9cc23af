"""pgtandem plan: shows what apply would do."""

import argparse
import json
import sys

from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_views import plan_json
from pgtandem.cli.show_plan import plan_lines
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.plan import Plan
from pgtandem.observe.cluster import Observer
from pgtandem.plan.converge import plan_converge
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when converged, 2 when there are changes."""
    path = topology_path(options)
    topology = read_topology(path)

    async def work(world: World) -> Plan:
        return plan_converge(topology, await Observer(topology, world, try_paths=True).cluster())

    plan = in_world(path, topology, work, options)
    if options.json:
        print(json.dumps(plan_json(plan, topology.cluster), indent=2))
    else:
        print("\n".join(plan_lines(plan, topology.cluster, Paint(sys.stdout), min(width(sys.stdout), 100))))
        if not plan.empty:
            print(spelled("next:  pgtandem apply", path))
    return 0 if plan.empty else 2
