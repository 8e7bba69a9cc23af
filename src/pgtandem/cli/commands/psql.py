"""pgtandem psql: psql on the cluster, with nothing to type."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from functools import partial

from pgtandem.cli.changing import write_client_passfile, write_client_root
from pgtandem.cli.client import client_environment, client_uri, is_old, refuse_silent, refuse_unbuilt, standbys_first
from pgtandem.cli.workbench import in_world, open_world, read_topology, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.topology import LOCAL, Topology
from pgtandem.observe.programs import observe_programs
from pgtandem.ports import World

_VERSION_SECONDS = 20


def run(options: argparse.Namespace) -> int:
    """Becomes psql, or waits for it where nodes are on other hosts: its exit code is the command's."""
    path = topology_path(options)
    topology = read_topology(path)
    client_uri(topology, None, node=options.node)  # a node that does not exist is told first

    async def find(world: World) -> str | None:
        programs = await observe_programs(world.host(LOCAL), topology)
        candidate = os.path.join(programs.value.directory, "psql") if isinstance(programs, Known) else ""
        return candidate if os.access(candidate, os.X_OK) else shutil.which("psql")

    program = in_world(path, topology, find)
    if program is None:
        raise PgtandemError(
            "PT-3005", "there is no psql on this machine", next_step="apt-get install postgresql-client"
        )
    world = open_world(path, topology)
    passfile = write_client_passfile(topology, world)
    refuse_unbuilt(topology, world, passfile)
    if not all(node.host.is_local for node in topology.nodes):
        return _over_ssh(program, path, topology, options)
    refuse_silent(topology, node=options.node)
    old = options.read_only and is_old(_major(program))
    environment = client_environment(
        in_world(path, topology, partial(standbys_first, topology)) if old else topology,
        passfile,
        dict(os.environ),
        root=write_client_root(topology, world),
        node=options.node,
        read_only=options.read_only,
        old_client=old,
    )
    sys.stdout.flush()
    os.execve(program, [program, *options.arguments], environment)


def _major(program: str) -> int:
    """The major version of a psql; 0 where it does not say."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\) (\d+)", done.stdout)
    return int(match[1]) if match else 0


def _over_ssh(program: str, path: str, topology: Topology, options: argparse.Namespace) -> int:
    from pgtandem.cli.client_over_ssh import reachable_nodes, run_client

    async def work(world: World) -> int:
        node, read_only = options.node, options.read_only
        old = read_only and is_old(_major(program))
        ordered = await standbys_first(topology, world) if old else topology
        ways = await reachable_nodes(ordered, world, node)
        environment = client_environment(ways, None, dict(os.environ), node=node, read_only=read_only, old_client=old)
        sys.stdout.flush()
        return await run_client([program, *options.arguments], environment, ways.nodes, world)

    return in_world(path, topology, work, options)
