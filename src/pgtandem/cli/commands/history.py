"""pgtandem history: what was done to this cluster, by whom, and what was refused."""

import argparse
import json
import sys

from pgtandem.apply.history import PastRun, read_history
from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_views import history_json
from pgtandem.cli.show_history import NOT_LOOKED, history_lines
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.observe.promotions import Promotions, observe_promotions
from pgtandem.ports import World

_SHOWN = 10


def run(options: argparse.Namespace) -> int:
    """Reads the journal, and the history files of the servers. Always 0: what cannot be looked at is told."""
    path = topology_path(options)
    topology = read_topology(path)

    async def work(world: World) -> tuple[list[PastRun], Promotions]:
        promotions = NOT_LOOKED if options.journal else await observe_promotions(topology, world)
        return read_history(world.workspace.journal()), promotions

    runs, promotions = in_world(path, topology, work, options)
    if options.json:
        shown = runs if options.last is None else runs[-options.last :]
        print(json.dumps(history_json(topology.cluster, shown, promotions, runs), indent=2))
    else:
        shown = runs[-(options.last or _SHOWN) :]
        left_out, columns = len(runs) - len(shown), min(width(sys.stdout), 100)
        lines = history_lines(shown, left_out, Paint(sys.stdout), columns, promotions)
        print(spelled("\n".join(lines), path))
    return 0
