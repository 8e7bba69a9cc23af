"""pgtandem up: from nothing to a verified pair on this machine."""

import argparse
import os
import shlex
import sys

from pgtandem.apply.engine import Outcome
from pgtandem.apply.holding import GivesWay
from pgtandem.cli.changing import change, write_client_passfile, write_client_root
from pgtandem.cli.client import client_uri
from pgtandem.cli.invocation import on_this_file, short
from pgtandem.cli.new_topology import Wishes, write_topology
from pgtandem.cli.show_status import status_lines
from pgtandem.cli.terminal import Paint, can_draw, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.topology import Topology
from pgtandem.plan.converge import plan_converge
from pgtandem.ports import World

_NEXT = (
    ("psql", "a shell on the primary"),
    ("status", "who streams from whom"),
    ("down", "stop it; down --destroy removes it"),
)


def run(options: argparse.Namespace) -> int:
    """0 when the cluster is up, 2 when somebody said no."""
    path = topology_path(options)
    wrote = not os.path.exists(path)
    if wrote:
        write_topology(path, Wishes(binaries="embedded"))
        print(f"wrote {short(path)}")
    topology = read_topology(path)

    async def work(world: World) -> tuple[Outcome, str | None, str | None]:
        outcome = await change(
            topology, world, plan_converge, yes=options.yes, command="up", gives=GivesWay.WHILE_COPYING
        )
        if outcome.declined:
            return outcome, None, None
        return outcome, write_client_passfile(topology, world), write_client_root(topology, world)

    outcome, passfile, root = in_world(path, topology, work, options)
    if outcome.declined:
        if wrote:
            print(f"{short(path)} stays: edit it, and run the same command again")
        return 2
    if not outcome.steps_done:
        print(f"cluster {topology.cluster} is up and is what the topology file says; nothing to do")
    print("\n".join(("", *_ending(path, topology, outcome, client_uri(topology, passfile, root=root)))))
    return 0


def _ending(path: str, topology: Topology, outcome: Outcome, uri: str) -> list[str]:
    """The status, how to connect, what to do next."""
    out, called = sys.stdout, on_this_file(path)
    return [
        *status_lines(topology, outcome.observed, Paint(out), width(out), drawn=can_draw(out)),
        "",
        f"connect with   {shlex.quote(uri)}",
        "then try:",
        *(f"  {called} {command:<8} {meaning}" for command, meaning in _NEXT),
    ]
