"""pgtandem up: from nothing to a verified pair on this machine."""

import argparse
import os
import shlex
import shutil
import sys

from pgtandem.apply.engine import Outcome
from pgtandem.cli.changing import change, write_client_passfile
from pgtandem.cli.client import client_uri
from pgtandem.cli.new_topology import Wishes, write_topology
from pgtandem.cli.show_status import status_lines
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.plan.converge import plan_converge
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    path = topology_path(options)
    if not os.path.exists(path):
        write_topology(path, Wishes(binaries="embedded"))
        print(f"wrote {os.path.relpath(path)}")
    topology = read_topology(path)

    async def work(world: World) -> tuple[Outcome, str | None]:
        outcome = await change(topology, world, plan_converge, yes=options.yes, command="up")
        return outcome, None if outcome.declined else write_client_passfile(topology, world)

    outcome, passfile = in_world(path, work)
    if outcome.declined:
        return 2
    if not outcome.steps_done:
        print(f"cluster {topology.cluster} is up and is what the topology file says; nothing to do")
    print()
    print("\n".join(status_lines(topology, outcome.observed, Paint(sys.stdout), width(sys.stdout))))
    print()
    print(f"connect with   {client_uri(topology, passfile)}")
    here = os.path.relpath(path)
    where = "" if here == "pgtandem.toml" else f"-f {shlex.quote(here)} "
    print("then try:")
    for command, meaning in (
        ("psql", "a shell on the primary"),
        ("status", "who streams from whom"),
        ("down", "stop it; down --destroy removes it"),
    ):
        print(f"  {_program()} {where}{command:<8} {meaning}")
    return 0


def _program() -> str:
    """How the user called us, in the shortest form that can be copied."""
    called = sys.argv[0]
    if os.path.basename(called) != "pgtandem":
        return "pgtandem"
    found = shutil.which("pgtandem")
    if found and os.path.realpath(found) == os.path.realpath(called):
        return "pgtandem"
    return shlex.quote(min(os.path.relpath(called), os.path.abspath(called), key=len))
