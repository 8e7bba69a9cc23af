"""pgtandem init: writes a commented pgtandem.toml."""

import argparse

from pgtandem.cli.invocation import short, spelled
from pgtandem.cli.new_topology import Wishes, write_topology
from pgtandem.cli.workbench import topology_path


def run(options: argparse.Namespace) -> int:
    path = topology_path(options)
    write_topology(
        path,
        Wishes(
            name=options.name,
            standbys=options.standbys,
            hosts=tuple(options.hosts),
            postgresql=options.postgresql,
            binaries=options.binaries,
            first_port=options.port,
            durability=options.durability,
            synchronous=options.synchronous,
            archive=not options.no_archive,
        ),
    )
    print(f"wrote {short(path)}")
    print(spelled("next:  read it, then   pgtandem plan   and   pgtandem apply", path))
    return 0
