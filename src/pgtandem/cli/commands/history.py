"""pgtandem history: what was done to this cluster, by whom, and what was refused."""

import argparse
import json
import sys

from pgtandem.apply.history import read_history
from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_views import history_json
from pgtandem.cli.show_history import history_lines
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import open_world, read_topology, topology_path

_SHOWN = 10


def run(options: argparse.Namespace) -> int:
    """Reads the journal; no host is asked. Always 0."""
    path = topology_path(options)
    topology = read_topology(path)
    runs = read_history(open_world(path, topology).workspace.journal())
    if options.json:
        shown = runs if options.last is None else runs[-options.last :]
        print(json.dumps(history_json(topology.cluster, shown), indent=2))
    else:
        shown = runs[-(options.last or _SHOWN) :]
        lines = history_lines(shown, len(runs) - len(shown), Paint(sys.stdout), min(width(sys.stdout), 100))
        print(spelled("\n".join(lines), path))
    return 0
