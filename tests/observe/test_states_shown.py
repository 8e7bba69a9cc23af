"""What status says of nodes that are down, away, or half made."""

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


def test_a_copy_that_was_cut_off_while_it_was_put_together_is_not_taken_for_none() -> None:
    absent = {"data": "absent", "server": "absent", "postmaster": "absent"}
    look = changed(healthy_look("pair"), {"db2": {**absent, "merges": ["/srv/db2.pgtandem-merge.1"]}})
    health = cluster_health(look.topology, look.observed)
    assert [node.state for node in health.nodes] == ["running", "half copied"]
    assert any("pgtandem apply finishes it" in problem for problem in health.problems)
