"""A client program for nodes on other hosts: through pgtandem's own SSH connections, which stay open meanwhile.

So it needs no line in pg_hba.conf for the machine that it runs on: to a server it comes from its own host.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.names import SUPERUSER
from pgtandem.model.topology import Node, Topology
from pgtandem.ports import SUPERUSER_SECRET, HostFailure, HostUnreachable, World
from pgtandem.postgres.conninfo import render_passfile


async def reachable_nodes(topology: Topology, world: World, node: str | None) -> Topology:
    """The topology with the nodes that can be reached (or the one that is asked for), each at the address and port that
    lead there from here. Raises HostUnreachable or HostFailure where none can be."""
    nodes = [n for n in topology.nodes if node in (None, n.name)]
    found = await asyncio.gather(*(_way(world, n) for n in nodes))
    ways = [way for way in found if isinstance(way, Node)]
    if not ways:
        raise next(way for way in found if isinstance(way, PgtandemError))
    return replace(topology, nodes=tuple(ways))


async def _way(world: World, node: Node) -> Node | PgtandemError:
    try:
        address, port = await world.host(node.host).forward(node.address, node.port)
    except (HostUnreachable, HostFailure) as failure:
        return failure
    return replace(node, address=address, port=port)


async def run_client(argv: Sequence[str], environment: Mapping[str, str], nodes: Sequence[Node], world: World) -> int:
    """Runs the program on this terminal; its exit code. What Ctrl-C does is the program's affair."""
    with tempfile.TemporaryDirectory(prefix="pgtandem-client-") as folder:
        secret = world.workspace.secret(SUPERUSER_SECRET)
        if secret is not None:
            lines = render_passfile((node.address, node.port, SUPERUSER, secret) for node in nodes)
            environment = {**environment, "PGPASSFILE": _passfile(folder, lines)}
        # Python's own handler would end this program, and with it the connection, at the first Ctrl-C.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            process = await asyncio.create_subprocess_exec(*argv, env=dict(environment))
            return await process.wait()
        finally:
            signal.signal(signal.SIGINT, before)


def _passfile(folder: str, lines: str) -> str:
    path = os.path.join(folder, "passfile")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(lines)
    return path
