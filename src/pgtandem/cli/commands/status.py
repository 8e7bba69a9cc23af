"""pgtandem status: who streams from whom, and what is wrong."""

import argparse
import json
import sys

from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_views import status_json
from pgtandem.cli.show_status import status_lines
from pgtandem.cli.terminal import Paint, can_draw, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.observed import Observed
from pgtandem.observe.cluster import Observer
from pgtandem.observe.health import cluster_health
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when every node is up and streaming, 2 when something is wrong."""
    path = topology_path(options)
    topology = read_topology(path)

    async def work(world: World) -> Observed:
        return await Observer(topology, world).cluster()

    observed = in_world(path, topology, work, options)
    problems = cluster_health(topology, observed).problems
    if options.json:
        print(json.dumps(status_json(topology, observed), indent=2))
    else:
        out = sys.stdout
        print("\n".join(status_lines(topology, observed, Paint(out), width(out), drawn=can_draw(out))))
        if problems:
            print(spelled("next:  pgtandem plan   (shows what would mend it, or what stands in the way)", path))
    return 2 if problems else 0
