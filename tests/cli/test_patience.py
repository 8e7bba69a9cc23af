"""Which hosts a failover does not wait for."""

import pytest

from pgtandem.cli.workbench import can_wait
from pgtandem.topology.load import load_topology

ARCHIVE = "ssh://archive"
PAIR = """
[cluster]
name = "shop"
postgresql = 15
[nodes.db1]
port = 5432
host = "ssh://one"
data_directory = "/srv/db1"
[nodes.db2]
port = 5432
host = "ssh://two"
data_directory = "/srv/db2"
"""


@pytest.mark.parametrize(
    ("tables", "waits"),
    [
        ("", True),
        ("stream = true", False),
        ("stream = true\nsynchronous = true\n[replication]\nsynchronous = 'any 1'", False),
        (f"[pgbouncers.pool]\nhost = '{ARCHIVE}'\nfile = '/etc/pool.ini'\ndatabases = {{ shop = 'shop' }}", False),
    ],
)
def test_an_archive_that_confirms_nothing_can_wait(tables: str, waits: bool) -> None:
    topology = load_topology(f"{PAIR}[archive]\ndirectory = '/srv/wal'\nhost = '{ARCHIVE}'\n{tables}\n", folder="/tmp")
    assert can_wait(topology, ARCHIVE, ["ssh://one", "ssh://two"]) is waits


def test_a_host_with_a_server_cannot() -> None:
    topology = load_topology(f"{PAIR}[archive]\ndirectory = '/srv/wal'\nhost = 'ssh://two'\n", folder="/tmp")
    assert not can_wait(topology, "ssh://two", ["ssh://one", "ssh://two"])
    # One that the topology file does not name any more has a server, too.
    topology = load_topology(f"{PAIR}[archive]\ndirectory = '/srv/wal'\nhost = '{ARCHIVE}'\n", folder="/tmp")
    assert not can_wait(topology, ARCHIVE, ["ssh://one", "ssh://two", ARCHIVE])
