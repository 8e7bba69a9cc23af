"""The archive on a host of its own confirms commits: whatever it alone has is promoted with, or nobody is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hosts import Hosts, why_no_hosts
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
        hosts.run("h2", ["kill", "-9", frozen])
        cluster.wait_for("db2", "SELECT pg_is_in_recovery()")
        cluster.ok("failover", "--to", "db2", "--the-primary-is-dead", "--yes", seconds=200)
        writer.goes_on(20)
    assert not writer.missing("db2")
    assert not writer.warned
    assert names(cluster, "db2") == 'ANY 1 ("db1", "pgtandem_archive")'
    hosts.boot("h1")
    cluster.ok("rejoin", "db1", "--yes", seconds=200)
    cluster.converged()
    writer.everything_is_on("db1", "db2")
