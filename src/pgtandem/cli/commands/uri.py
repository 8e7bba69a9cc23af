"""pgtandem uri: a connection URI that names every node, so that it survives role changes."""

import argparse
import json
from functools import partial

from pgtandem.cli.changing import write_client_passfile, write_client_root
from pgtandem.cli.client import client_uri, is_old, refuse_unbuilt, standbys_first
from pgtandem.cli.json_views import uri_json
from pgtandem.cli.workbench import in_world, open_world, read_topology, topology_path


def run(options: argparse.Namespace) -> int:
    path = topology_path(options)
    topology = read_topology(path)
    world = open_world(path, topology)
    client_uri(topology, None, node=options.node)  # a node that does not exist is told first
    passfile = write_client_passfile(topology, world)
    refuse_unbuilt(topology, world, passfile)
    root = write_client_root(topology, world)
    # Who connects is not known: mostly a client of the servers' own version.
    old = options.read_only and is_old(topology.postgresql)
    nodes = in_world(path, topology, partial(standbys_first, topology)) if old else topology
    uri = client_uri(nodes, passfile, root=root, node=options.node, read_only=options.read_only, old_client=old)
    print(json.dumps(uri_json(topology, uri), indent=2) if options.json else uri)
    return 0
