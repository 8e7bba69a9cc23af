"""A cluster that is adopted, and that a pg_receivewal confirms commits of: it is told that this ends."""

from dataclasses import replace

from pgtandem.model.found import Found
from pgtandem.model.names import NodeName
from pgtandem.model.server import Role, Sender
from pgtandem.model.topology import LOCAL
from pgtandem.topology.infer import Inferred, infer_topology
from pgtandem.topology.load import load_topology

from .case import FOLDER
from .healthy import healthy

TEXT = """
[cluster]
name = "shop"
postgresql = 18
[nodes.db1]
port = 5432
[nodes.db2]
port = 5433
[replication]
synchronous = "any 1"
"""


def inferred(sync_state: str) -> Inferred:
    topology = load_topology(TEXT, folder=FOLDER)
    nodes, found = healthy(topology, NodeName("db1"), {}), []
    for node in topology.nodes:
        server = nodes[node.name].running
        assert server is not None
        superuser = Role(True, True, True, -1, "scram-sha-256", True)
        server = replace(server, roles={**server.roles, "postgres": superuser})
        if not server.in_recovery:
            receiver = Sender("archiver", 1, "127.0.0.1", "streaming", sync_state, None, None, None, None)
            server = replace(server, senders=(*server.senders, receiver))
        found.append(Found(LOCAL, "here", node.port, node.data_directory, "/usr/lib/postgresql/18/bin", server))
    return infer_topology("shop", found)


def test_a_receiver_that_confirms_is_not_dropped_silently() -> None:
    (remark,) = (each for each in inferred("quorum").remarks if "no server that was found" in each)
    assert remark.startswith("archiver may confirm commits")
    assert "synchronous = true under [archive]" in remark


def test_a_receiver_that_confirms_nothing_is_not_told_of() -> None:
    assert not [each for each in inferred("async").remarks if "no server that was found" in each]
