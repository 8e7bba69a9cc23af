"""Keys on a host are a node's by the folder's name, in the form of today and in that of an earlier pgtandem."""

from dataclasses import replace

from pgtandem.model.names import NodeName
from pgtandem.model.observed import KeysOnHost, Observed
from pgtandem.model.topology import Topology
from pgtandem.plan.converge import plan_converge
from pgtandem.topology.load import load_topology

from .case import FOLDER
from .healthy import SYSTEM, healthy, look

HOST = "ssh://postgres@10.0.0.1"
TEXT = """
[cluster]
name = "shop"
postgresql = 15
[nodes.db1]
host = "ssh://postgres@10.0.0.1"
[nodes.db2]
host = "ssh://postgres@10.0.0.2"
[archive]
directory = "/srv/wal"
"""


def with_keys(granted: tuple[str, ...], made: tuple[str, ...]) -> tuple[Topology, Observed]:
    topology = load_topology(TEXT, folder=FOLDER)
    observed = look(topology, topology, healthy(topology, NodeName("db1"), {}))
    return topology, replace(observed, keys={**observed.keys, HOST: KeysOnHost(granted, made)})


def test_keys_of_either_form_stay_while_their_node_needs_them() -> None:
    for made in (f"db1.{SYSTEM}", "db1"):
        assert not plan_converge(*with_keys(("db2",), (made,))).steps


def test_keys_of_either_form_go_with_their_node_and_it_is_named_once() -> None:
    (step,) = plan_converge(*with_keys(("db2", "db3"), ("db1", "db3", f"db3.{SYSTEM}"))).steps
    assert step.what == "remove the SSH keys of db3 on 10.0.0.1"
    assert step.names == (HOST, "granted:db3", "made:db3", f"made:db3.{SYSTEM}")
