"""pgtandem status: who streams from whom, and what is wrong."""

import argparse
import json
import sys

from pgtandem.cli.json_views import status_json
from pgtandem.cli.show_status import status_lines
from pgtandem.cli.terminal import Paint, width
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

    observed = in_world(path, work)
    if options.json:
        print(json.dumps(status_json(topology, observed), indent=2))
    else:
        print("\n".join(status_lines(topology, observed, Paint(sys.stdout), width(sys.stdout))))
    return 2 if cluster_health(topology, observed).problems else 0
