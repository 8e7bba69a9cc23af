"""An archive on a host of its own that is also fed by streaming: what a lost host had written is not lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or ""), pytest.mark.chaos]

SENDER = "application_name = 'pgtandem_archive' AND state = 'streaming'"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


@pytest.fixture
def cluster(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts, 2) as made:
        made.know_hosts()
        (hosts.srv("h3") / "bob").chmod(0o755)
        url = f"ssh://bob@{hosts.address('h3')}"
        made.tables["archive"] = {"directory": f"/srv/bob/{made.folder.name}", "host": url, "stream": True}
        yield made
        made.ok("down", "--destroy", "--yes")
        assert hosts.processes("h3", "receiver/run") == []


def streams(cluster: RemoteCluster, node: str) -> None:
    cluster.wait_for(node, f"SELECT EXISTS (SELECT FROM pg_stat_replication WHERE {SENDER})", 60)


def streamed(cluster: RemoteCluster, node: str) -> None:
    position = cluster.psql(node, "SELECT pg_current_wal_flush_lsn()")
    has = f"SELECT flush_lsn >= '{position}' FROM pg_stat_replication WHERE {SENDER}"
    cluster.wait_for(node, f"SELECT coalesce(({has}), false)", 60)


def test_the_stream_over_the_network_is_started_followed_and_ended(cluster: RemoteCluster) -> None:
    hosts = cluster.hosts
    cluster.apply()
    cluster.converged()
    streams(cluster, "db1")
    assert len(hosts.processes("h3", "receiver/run")) == 1
    for pid in (*hosts.processes("h3", "receiver/run"), *hosts.processes("h3", "pg_receivewal")):
        hosts.run("h3", ["kill", "-9", str(pid)])
    wait_until(lambda: not hosts.processes("h3", "pg_receivewal"), "it is gone", 30)
    assert cluster.status()["stream"]["state"] == "down"
    cluster.apply()
    streams(cluster, "db1")
    cluster.ok("switchover", "--yes")
    streams(cluster, "db2")
    cluster.converged()
    hosts.crash("h3")
    hosts.boot("h3")
    cluster.apply()
    streams(cluster, "db2")
    cluster.converged()
    cluster.tables["archive"]["stream"] = False
    cluster.apply()
    assert hosts.processes("h3", "receiver/run") == []


def test_a_failover_over_the_network_promotes_with_what_only_the_archive_has(cluster: RemoteCluster) -> None:
    """The standby's receiver is frozen, then the primary's host loses its power."""
    hosts = cluster.hosts
    cluster.apply()
    streams(cluster, "db1")
    cluster.write_row("everybody has it")
    cluster.shows_row("db2", "everybody has it")
    frozen = cluster.psql("db2", "SELECT pid FROM pg_stat_wal_receiver")
    hosts.run("h2", ["kill", "-STOP", frozen])
    for number in range(20):
        cluster.write_row(f"only the archive has it: {number}")
    cluster.psql("db1", "SELECT pg_switch_wal()")
    cluster.write_row("and this, in the next segment")
    streamed(cluster, "db1")
    hosts.power_off("h1")
    cluster.kill_child("db2", frozen)
    cluster.ok("failover", "--to", "db2", "--the-primary-is-dead", "--yes")
    for number in range(20):
        cluster.shows_row("db2", f"only the archive has it: {number}")
    cluster.shows_row("db2", "and this, in the next segment")
    streams(cluster, "db2")
    hosts.boot("h1")
    cluster.ok("rejoin", "db1", "--yes")
    cluster.converged()
