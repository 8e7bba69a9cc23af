"""pgtandem exporter: metrics for Prometheus and health checks for load balancers, until it is told to end."""

import argparse
import asyncio
import signal
import sys

from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.topology import Topology
from pgtandem.observe.watching import Watcher
from pgtandem.ports import World
from pgtandem.web.server import Exporter, shown_address

_LOOPBACK = ("127.", "::1", "localhost")


def run(options: argparse.Namespace) -> int:
    """0 when it was told to end, by SIGTERM or Ctrl-C."""
    topology = read_topology(topology_path(options))
    address, port = options.listen

    async def work(world: World) -> None:
        await _serve(topology, world, address, port)

    in_world(topology_path(options), topology, work, options)
    return 0


async def _serve(topology: Topology, world: World, address: str, port: int) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    watcher = Watcher(topology, world)
    exporter = Exporter(watcher, address, port)
    try:
        shown = shown_address(address, exporter.port)
        print(
            f"cluster {topology.cluster}: metrics on http://{shown}/metrics, health checks on http://{shown}/",
            flush=True,
        )
        if not address.startswith(_LOOPBACK):
            print("note:  whoever reaches that address can read them: nobody is asked for a password", file=sys.stderr)
        await told.wait()
    finally:
        await exporter.close()
        await watcher.close()
