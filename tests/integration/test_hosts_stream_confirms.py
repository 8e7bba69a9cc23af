"""The archive on a host of its own confirms commits: whatever it alone has is promoted with, or nobody is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hosts import CONTROL, Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.remote_writer import RemoteWriter

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or ""), pytest.mark.chaos]

SENDER = "application_name = 'pgtandem_archive' AND state = 'streaming'"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


@pytest.fixture
def cluster(hosts: Hosts) -> Iterator[RemoteCluster]:
    lines = ["host all postgres 10.231.0.0/24 scram-sha-256"]
    with RemoteCluster(hosts, 2, replication={"synchronous": "any 1"}, pg_hba={"lines": lines}) as made:
        made.know_hosts()
        (hosts.srv("h3") / "bob").chmod(0o755)
        url = f"ssh://bob@{hosts.address('h3')}"
        place = {"directory": f"/srv/bob/{made.folder.name}", "host": url, "stream": True, "synchronous": True}
        made.tables["archive"] = place
        made.apply()
        made.converged()
        yield made
        for host in hosts.names:
            hosts.unblock(host)
            if not hosts.alive(host):
                hosts.boot(host)
        hosts.run("h3", ["sh", "-c", f"kill $(cat /srv/bob/{made.folder.name}/*/receiver/pid)"])


def names(cluster: RemoteCluster, node: str) -> str:
    return cluster.psql(node, "SHOW synchronous_standby_names")


def freeze_receiver(cluster: RemoteCluster, node: str) -> str:
    """From now on only the archive can confirm; returns the process."""
    frozen = cluster.psql(node, "SELECT pid FROM pg_stat_wal_receiver")
    cluster.hosts.run(cluster.host_of(node), ["kill", "-STOP", frozen])
    return frozen


def stream(cluster: RemoteCluster) -> dict[str, Any]:
    shown: dict[str, Any] = cluster.status()["stream"]
    return shown


def test_what_the_archive_alone_had_confirmed_is_promoted_with(cluster: RemoteCluster) -> None:
    """The standby's receiver is frozen while a client writes, then the primary's host loses its power."""
    hosts = cluster.hosts
    assert names(cluster, "db1") == 'ANY 1 ("db2", "pgtandem_archive")'
    with RemoteWriter(cluster, "db1") as writer:
        frozen = freeze_receiver(cluster, "db2")
        writer.goes_on(300)
        cluster.psql("db1", "SELECT pg_switch_wal()")
        writer.goes_on(300)
        hosts.power_off("h1")
        cluster.kill_child("db2", frozen)
        cluster.ok("failover", "--to", "db2", "--the-primary-is-dead", "--yes", seconds=200)
        writer.goes_on(20)
    assert not writer.missing("db2")
    assert not writer.warned
    assert names(cluster, "db2") == 'ANY 1 ("db1", "pgtandem_archive")'
    hosts.boot("h1")
    cluster.ok("rejoin", "db1", "--yes", seconds=200)
    cluster.converged()
    writer.everything_is_on("db1", "db2")


def insert(cluster: RemoteCluster, number: int, seconds: int = 5) -> bool:
    """Whether db1 acknowledges a row to a client on its own host."""
    password = cluster.secrets()["superuser_password"]
    sql = f"INSERT INTO kept VALUES ({number})"
    psql = [f"{BIN}/psql", "-XAtq", "-h", "127.0.0.1", "-p", str(cluster.port), "-U", "postgres", "-c", sql]
    argv = ["env", f"PGPASSWORD={password}", "timeout", str(seconds), *psql]
    return cluster.hosts.run("h1", argv, user="postgres").returncode == 0


def test_a_primary_that_lives_after_all_is_confirmed_nothing_more_by_the_archive(cluster: RemoteCluster) -> None:
    """Only the control seat and the standby are cut off from its host; the archive hears it still."""
    hosts = cluster.hosts
    cluster.psql("db1", "CREATE TABLE kept (id int)")
    cluster.wait_for("db2", "SELECT to_regclass('kept') IS NOT NULL")
    for other in (CONTROL, "h2"):
        hosts.block("h1", other)
    assert all(insert(cluster, number) for number in range(100)), "the archive confirms"
    cluster.ok("failover", "--to", "db2", "--the-primary-is-dead", "--yes", seconds=200)
    assert not insert(cluster, 100), "nobody confirms it"
    kept = cluster.psql("db2", "SELECT array_agg(id ORDER BY id) FROM kept")
    assert kept == "{" + ",".join(map(str, range(100))) + "}"
    cluster.psql("db2", "INSERT INTO kept VALUES (101)")
    for other in (CONTROL, "h2"):
        hosts.unblock(other)
    cluster.ok("rejoin", "db1", "--yes", seconds=200)
    cluster.converged()
    cluster.wait_for("db1", "SELECT array_agg(id) @> '{101}' AND NOT array_agg(id) @> '{100}' FROM kept")


def test_a_standby_that_hangs_on_a_new_connection_to_the_lost_host_asks_the_archive(cluster: RemoteCluster) -> None:
    """It noticed that the primary is gone, and connects anew to a host that answers nothing. pg_stat_wal_receiver tells
    of no such process."""
    hosts = cluster.hosts
    cluster.tables["parameters"] = {"wal_receiver_timeout": "2s"}
    cluster.apply()
    cluster.psql("db1", "CREATE TABLE kept (id int)")
    cluster.wait_for("db2", "SELECT to_regclass('kept') IS NOT NULL")
    for other in (CONTROL, "h2"):
        hosts.block("h1", other)
    assert all(insert(cluster, number) for number in range(10)), "the archive confirms"
    connecting = "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver')"
    cluster.wait_for("db2", f"SELECT {connecting} AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
    cluster.ok("failover", "--to", "db2", "--the-primary-is-dead", "--yes", seconds=200)
    assert cluster.psql("db2", "SELECT count(*) FROM kept") == "10"
    for other in (CONTROL, "h2"):
        hosts.unblock(other)
    cluster.ok("rejoin", "db1", "--yes", seconds=200)
    cluster.converged()


def test_where_the_archive_cannot_be_asked_nobody_is_promoted_but_by_name(cluster: RemoteCluster) -> None:
    hosts = cluster.hosts
    cluster.write_row("everybody has it")
    cluster.shows_row("db2", "everybody has it")
    hosts.power_off("h3")
    hosts.power_off("h1")
    done = cluster.run("failover", "--to", "db2", "--the-primary-is-dead", "--yes", seconds=200)
    assert done.exit_code == 12, done.said
    assert "[PT-3042]" in done.err
    assert "not the archive" in done.err
    assert "--the-archive-is-lost" in done.err
    assert cluster.psql("db2", "SELECT pg_is_in_recovery()") == "t"
    words = ("--the-primary-is-dead", "--the-archive-is-lost")
    done = cluster.run("failover", "--to", "db2", *words, "--yes", seconds=200)
    assert "the archive alone had confirmed them" in " ".join(done.out.split())
    cluster.shows_row("db2", "everybody has it")
    assert cluster.psql("db2", "SELECT pg_is_in_recovery()") == "f"
    for host in ("h1", "h3"):
        hosts.boot(host)
    cluster.ok("rejoin", "db1", "--yes", seconds=200)
    cluster.converged()
    assert stream(cluster)["state"] == "streaming"
