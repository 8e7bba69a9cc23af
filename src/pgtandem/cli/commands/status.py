"""pgtandem status: who streams from whom, and what is wrong."""

import argparse
import json
import sys
from collections.abc import Sequence

from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_views import status_json
from pgtandem.cli.show_status import status_lines
from pgtandem.cli.terminal import Paint, can_draw, width
from pgtandem.cli.watch import Screen
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.facts import Absent, Known
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.backup_health import backup_problems, what_mends_backups
from pgtandem.observe.cluster import Observer
from pgtandem.observe.health import cluster_health
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when every node is up and streaming, 2 when something is wrong."""
    path = topology_path(options)
    topology = read_topology(path)

    async def work(world: World) -> Observed:
        return await Observer(topology, world).cluster()

    if options.watch is not None:
        return _watch(path, topology, options)
    observed = in_world(path, topology, work, options)
    problems = cluster_health(topology, observed).problems
    if options.json:
        print(json.dumps(status_json(topology, observed), indent=2))
    else:
        print("\n".join(_lines(path, topology, observed)))
    return 2 if problems else 0


def _lines(path: str, topology: Topology, observed: Observed) -> list[str]:
    out = sys.stdout
    lines = status_lines(topology, observed, Paint(out), width(out), drawn=can_draw(out))
    problems = cluster_health(topology, observed).problems
    if problems:
        lines.append(spelled(_next(observed, problems), path))
    return lines


def _next(observed: Observed, problems: Sequence[str]) -> str:
    """What to type where something is wrong."""
    if set(problems) <= set(backup_problems(observed)):
        return f"next:  {what_mends_backups(observed)}"
    seen = all(isinstance(node.postmaster, Known | Absent) for node in observed.nodes.values())
    if not observed.primaries() and seen and any(node.running for node in observed.nodes.values()):
        return "next:  pgtandem plan   (starts the primary again; where it cannot be: pgtandem failover)"
    return "next:  pgtandem plan   (shows what would mend it, or what stands in the way)"


def _watch(path: str, topology: Topology, options: argparse.Namespace) -> int:
    """Until Ctrl-C; the exit code is that of the last look."""
    screen, seconds, code = Screen(sys.stdout), float(options.watch), 0

    async def work(world: World) -> None:
        nonlocal code
        while True:
            # A new one each time: it remembers what cannot change within one look.
            observed = await Observer(topology, world).cluster()
            code = 2 if cluster_health(topology, observed).problems else 0
            if options.json:
                print(json.dumps(status_json(topology, observed)), flush=True)
            else:
                screen.show(_lines(path, topology, observed), observed.now, seconds)
            await world.clock.sleep(seconds)

    try:
        in_world(path, topology, work, options)
    except KeyboardInterrupt:
        screen.close()
    return code
