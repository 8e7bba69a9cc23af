"""pgtandem top: the cluster live in the terminal."""

import argparse
import os
import sys

from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.observe.server_log import observe_log
from pgtandem.observe.watching import Watcher
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when it is left."""
    path = topology_path(options)
    topology = read_topology(path)
    # It is drawn through the standard error.
    terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if not terminal or os.environ.get("TERM", "dumb") == "dumb":
        raise PgtandemError(
            "PT-1006",
            "top needs a terminal that can be drawn on",
            next_step="pgtandem status --watch   (goes on in lines)",
        )
    seconds = float(options.every)

    async def work(world: World) -> None:
        # Only now: it takes a while to load. The first look comes before the screen, for a host key that is asked for.
        from pgtandem.tui.app import Top

        watcher = Watcher(topology, world, fresh_seconds=min(seconds / 2, 1.0))

        async def tail(name: NodeName, observed: Observed) -> tuple[str, tuple[str, ...]]:
            return await observe_log(topology, world, topology.node(name), observed.nodes[name])

        try:
            first = await watcher.look()
            await Top(topology, watcher.look, tail, first, seconds=seconds).run_async()
        finally:
            await watcher.close()

    in_world(path, topology, work, options)
    return 0
