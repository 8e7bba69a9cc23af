"""pgtandem uri: a connection URI that names every node, so that it survives role changes."""

import argparse
import json

from pgtandem.cli.changing import write_client_passfile, write_client_root
from pgtandem.cli.client import client_uri, refuse_unbuilt
from pgtandem.cli.json_views import uri_json
from pgtandem.cli.workbench import open_world, read_topology, topology_path


def run(options: argparse.Namespace) -> int:
    path = topology_path(options)
    topology = read_topology(path)
    world = open_world(path, topology)
    client_uri(topology, None, node=options.node)  # a node that does not exist is told first
    passfile = write_client_passfile(topology, world)
    refuse_unbuilt(topology, world, passfile)
    root = write_client_root(topology, world)
    uri = client_uri(topology, passfile, root=root, node=options.node, read_only=options.read_only)
    print(json.dumps(uri_json(topology, uri), indent=2) if options.json else uri)
    return 0
