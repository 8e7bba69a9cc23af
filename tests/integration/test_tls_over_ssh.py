"""TLS between nodes on hosts of their own: replication goes by it from host to host, pgtandem comes by SSH."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


@pytest.fixture
def cluster(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts) as made:
        made.know_hosts()
        yield made


def encrypted(cluster: RemoteCluster) -> str:
    query = "SELECT application_name, ssl, client_addr FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)"
    return cluster.psql("db1", query)


def test_tls_is_switched_on_between_hosts_and_off_again(cluster: RemoteCluster) -> None:
    cluster.tables["tls"] = {"required": True}
    # What came over TLS is not summed up once more.
    assert "each has its size by the server's manifest" in cluster.apply().out
    for _ in range(2):
        cluster.apply()
        cluster.converged()
        address = cluster.hosts.address("h2")
        assert encrypted(cluster) == f"db2|t|{address}"
        assert f"host={cluster.hosts.address('h1')}" in cluster.psql("db2", "SHOW primary_conninfo")
        assert "sslmode=verify-full" in cluster.psql("db2", "SHOW primary_conninfo")
        # From another host nobody is let in without TLS, whoever it is.
        way = f"host={cluster.hosts.address('h1')} port={cluster.port} sslmode=disable user=postgres"
        for more in ("dbname=postgres", "replication=true"):
            said = cluster.hosts.run(
                "h2", ["/usr/lib/postgresql/15/bin/psql", "-c", "", f"{way} {more}"], user="postgres"
            )
            assert "no encryption" in said.stderr
        assert "tls:" in cluster.ok("status").out
        assert cluster.ok("psql", "--", "-Atc", "SELECT 1").out.strip() == "1"
        del cluster.tables["tls"]
        cluster.apply()
        cluster.converged()
        cluster.tables["tls"] = {"required": True}
    cluster.write_row("after all that")
    cluster.shows_row("db2", "after all that")
