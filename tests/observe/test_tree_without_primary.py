"""Who is shown above whom while no primary runs."""

from dataclasses import replace

from doctor.looks import changed, healthy_look
from pgtandem.observe.health import cluster_health


def test_standbys_stay_beneath_the_primary_that_stopped_and_not_beneath_the_first_of_the_file() -> None:
    look = changed(healthy_look("trio"), {"db3": {"server": "absent", "postmaster": "absent"}})
    look = changed(look, {"db1": {"server": "absent", "postmaster": "absent"}})
    turned = replace(look.topology, nodes=tuple(reversed(look.topology.nodes)))
    nodes = {node.name: node for node in cluster_health(turned, look.observed).nodes}
    assert {name: (node.role, node.upstream) for name, node in nodes.items()} == {
        "db3": ("standby", "db1"),
        "db2": ("standby", "db1"),
        "db1": ("primary", None),
    }
