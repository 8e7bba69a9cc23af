"""pgtandem uri: a connection URI that names every node, so that it survives role changes."""

import argparse
import json

from pgtandem.cli.changing import write_client_passfile
from pgtandem.cli.client import client_uri
from pgtandem.cli.workbench import open_world, read_topology, topology_path


def run(options: argparse.Namespace) -> int:
    path = topology_path(options)
    topology = read_topology(path)
    passfile = write_client_passfile(topology, open_world(path))
    uri = client_uri(topology, passfile, node=options.node, read_only=options.read_only)
    print(json.dumps({"version": 1, "cluster": topology.cluster, "uri": uri}) if options.json else uri)
    return 0
