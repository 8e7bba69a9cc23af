"""The primary fails, in every way that a machine can, while a client writes: failover, rejoin, and what became of rows.

Synchronous ("any 1"): no acknowledged row is ever missing. Asynchronous: no more than `failover` announced.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.hosts import CONTROL, Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.remote_writer import RemoteWriter
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

NODES = ("db1", "db2", "db3")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


def build(hosts: Hosts, synchronous: str) -> RemoteCluster:
    lines = ["host all postgres 10.231.0.0/24 scram-sha-256"]
    tables = {"replication": {"synchronous": synchronous}, "pg_hba": {"lines": lines}}
    cluster = RemoteCluster(hosts, 3, cluster={"name": f"{synchronous.replace(' ', '-')}-fails"}, **tables)
    cluster.know_hosts()
    cluster.tables["archive"] = {"directory": f"{cluster.base}/archive"}
    cluster.apply()
    return cluster


@pytest.fixture(scope="module")
def asynchronous(hosts: Hosts) -> Iterator[RemoteCluster]:
    with build(hosts, "none") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def synchronous(hosts: Hosts) -> Iterator[RemoteCluster]:
    with build(hosts, "any 1") as cluster:
        yield cluster


def stands(cluster: RemoteCluster) -> str:
    """The primary, once all runs again: hosts that were killed under the other cluster took this one's servers too."""
    cluster.apply()
    cluster.converged()
    return primary(cluster)


def primary(cluster: RemoteCluster) -> str:
    return next(n["name"] for n in cluster.status()["nodes"] if n["role"] == "primary" and n["state"] == "running")


def data(cluster: RemoteCluster, node: str) -> str:
    return str(cluster.nodes[node]["data_directory"])


def pg_ctl(cluster: RemoteCluster, node: str, *words: str) -> None:
    done = cluster.hosts.run(
        cluster.host_of(node), [f"{BIN}/pg_ctl", "-D", data(cluster, node), *words], user="postgres"
    )
    assert done.returncode == 0, done.stderr


def stop(cluster: RemoteCluster, node: str) -> None:
    pg_ctl(cluster, node, "stop", "-m", "fast", "-w")


def kill(cluster: RemoteCluster, node: str) -> None:
    cluster.hosts.run(cluster.host_of(node), ["sh", "-c", f"kill -9 $(head -n 1 {data(cluster, node)}/postmaster.pid)"])


def on_its_host(method: str) -> Callable[[RemoteCluster, str], None]:
    def happen(cluster: RemoteCluster, node: str) -> None:
        getattr(cluster.hosts, method)(cluster.host_of(node))

    return happen


def hear_nobody(cluster: RemoteCluster, node: str) -> None:
    """What the host sends still goes out; nothing comes in, from the other hosts or from where pgtandem runs."""
    host = cluster.host_of(node)
    for other in (CONTROL, *cluster.hosts.names):
        if other != host:
            cluster.hosts.block(other, host)


def hear_again(cluster: RemoteCluster, node: str) -> None:
    cluster.hosts.unblock(cluster.host_of(node))


def nothing(cluster: RemoteCluster, node: str) -> None:
    """Nothing has to be mended."""


@dataclass(frozen=True)
class Failure:
    """What happens to the primary's machine, and what ends it. `silent`: nobody can tell that the primary is down."""

    happens: Callable[[RemoteCluster, str], None]
    ends: Callable[[RemoteCluster, str], None] = nothing
    silent: bool = False


FAILURES = {
    "graceful stop": Failure(stop),
    "kill -9 of the postmaster": Failure(kill),
    "host killed": Failure(on_its_host("power_off"), on_its_host("boot"), silent=True),
    "host frozen and thawed": Failure(on_its_host("freeze"), on_its_host("thaw"), silent=True),
    "network cut one way": Failure(hear_nobody, hear_again, silent=True),
    "network cut": Failure(on_its_host("cut"), on_its_host("heal"), silent=True),
}


def announced(said: str, writer: RemoteWriter, began: float) -> int:
    """How many rows are lost at most, by what failover said."""
    said = " ".join(said.split())
    if "Lost: no" in said:
        return 0
    told = re.search(r"(\d+) transactions? (?:were|was) committed after", said)
    if told:
        return int(told.group(1))
    if "no transaction was committed after" in said:
        return 0
    window = re.search(r"at most what was committed in the (\d+) s before now", said)
    assert window, said
    since = began - float(window.group(1)) - 1  # shown in whole seconds
    return sum(moment > since for moment in list(writer.acknowledged.values()))


def comes_back(cluster: RemoteCluster, failure: Failure) -> None:
    old = primary(cluster)
    waits = cluster.tables["replication"]["synchronous"] != "none"
    with RemoteWriter(cluster, old) as writer:
        failure.happens(cluster, old)
        began = time.monotonic()
        try:
            if failure.silent:
                assert "--the-primary-is-dead" in cluster.run("failover", "--yes").refused("PT-3043", 12)
            options = ["--the-primary-is-dead"] if failure.silent else []
            done = cluster.ok("failover", "--yes", *options)
            new = primary(cluster)
            assert new != old
            writer.goes_on()
        finally:
            failure.ends(cluster, old)
        limit = announced(done.out, writer, began)
        if waits and failure.silent:
            refuses_to_acknowledge(cluster, old)
        writer.goes_on()
        cluster.ok("rejoin", old, "--yes")
        cluster.apply()
        cluster.converged()
        writer.goes_on()
    missing = writer.missing(new)
    print(f"{len(writer.acknowledged)} acknowledged, {len(missing)} missing, announced at most {limit}")
    assert len(missing) <= (0 if waits else limit), done.said
    assert writer.warned == []
    agree(cluster)


def refuses_to_acknowledge(cluster: RemoteCluster, old: str, sql: str = "INSERT INTO written VALUES (-1)") -> None:
    """Whoever writes to the old primary, which may be one still, gets no word: nobody confirms."""
    secrets = cluster.secrets()
    argv = [f"{BIN}/psql", "-XAtq", "-h", "127.0.0.1", "-p", str(cluster.nodes[old]["port"]), "-U", "postgres"]
    password = f"PGPASSWORD={secrets['superuser_password']}"
    done = cluster.hosts.run(cluster.host_of(old), ["timeout", "3", "env", password, *argv, "-c", sql], user="postgres")
    assert done.returncode != 0, "it was acknowledged"


def agree(cluster: RemoteCluster) -> None:
    """Every node has the same rows, and none that was written to a primary that had lost its standbys."""
    new = primary(cluster)
    query = "SELECT count(*) || ' ' || sum(id) FROM written"
    rows = cluster.psql(new, query)
    for node in NODES:
        wait_until(lambda node=node: cluster.psql(node, query) == rows, f"{node} has the rows of {new}", 60)
    assert cluster.psql(new, "SELECT count(*) FROM written WHERE id < 0") == "0"


@pytest.mark.chaos
@pytest.mark.parametrize("failure", FAILURES)
def test_synchronous_no_acknowledged_row_is_missing(synchronous: RemoteCluster, failure: str) -> None:
    comes_back(synchronous, FAILURES[failure])


@pytest.mark.chaos
@pytest.mark.parametrize("failure", FAILURES)
def test_asynchronous_no_more_is_missing_than_was_announced(asynchronous: RemoteCluster, failure: str) -> None:
    comes_back(asynchronous, FAILURES[failure])


@pytest.mark.chaos
def test_a_primary_that_its_standbys_do_not_hear_is_not_failed_over(synchronous: RemoteCluster) -> None:
    """Cut the other way: the primary runs, and pgtandem sees it. Commits wait, and go on when the cut heals."""
    old = stands(synchronous)
    others = [synchronous.host_of(node) for node in NODES if node != old]
    with RemoteWriter(synchronous, old) as writer:
        for host in others:
            synchronous.hosts.block(synchronous.host_of(old), host)
        try:
            words = synchronous.run("failover", "--yes").refused("PT-3042", 12)
            assert "runs as the primary" in words
            refuses_to_acknowledge(synchronous, old, "INSERT INTO written VALUES (1)")
            before = len(writer.acknowledged)
            refuses_to_acknowledge(synchronous, old, "INSERT INTO written VALUES (2)")
            assert len(writer.acknowledged) == before, "nobody can have confirmed it"
        finally:
            for host in others:
                synchronous.hosts.unblock(host)
        writer.goes_on(seconds=150)  # the standbys' connections may have to time out first
    assert writer.missing(old) == []
    synchronous.psql(old, "DELETE FROM written WHERE id < 10")
    synchronous.apply()
    agree(synchronous)


@pytest.mark.chaos
def test_a_primary_that_is_said_to_be_dead_and_only_hidden_from_pgtandem_acknowledges_nothing_more(
    synchronous: RemoteCluster,
) -> None:
    """Its standbys stream from it, and a client writes to it, all through the failover."""
    old = stands(synchronous)
    host = synchronous.host_of(old)
    with RemoteWriter(synchronous, old) as writer:
        synchronous.hosts.block(host, CONTROL)
        try:
            assert "--the-primary-is-dead" in synchronous.run("failover", "--yes").refused("PT-3043", 12)
            done = synchronous.ok("failover", "--yes", "--the-primary-is-dead")
            assert "The old primary may go on after all" in " ".join(done.out.split()), done.said
            new = primary(synchronous)
            assert new != old
            refuses_to_acknowledge(synchronous, old)
        finally:
            synchronous.hosts.unblock(CONTROL)
        synchronous.ok("rejoin", old, "--yes")
        writer.goes_on()
        synchronous.apply()
    assert writer.missing(new) == []
    agree(synchronous)


def test_a_failover_does_not_wait_for_an_archive_that_hangs(hosts: Hosts) -> None:
    """Its host takes connections and says nothing. It confirms no commit, so what it has decides nothing; what it lacks
    is handed in once it is back."""
    lines = ["host all postgres 10.231.0.0/24 scram-sha-256"]
    with RemoteCluster(hosts, 2, pg_hba={"lines": lines}) as cluster:
        cluster.know_hosts()
        url = f"ssh://postgres@{hosts.address('h3')}"
        cluster.tables["archive"] = {"directory": f"{cluster.base}/archive", "host": url}
        cluster.apply()
        with RemoteWriter(cluster, "db1") as writer:
            hosts.freeze("h3")
            try:
                cluster.psql("db1", "SELECT pg_switch_wal()")
                writer.goes_on()
                hosts.crash("h1")
                began = time.monotonic()
                running = cluster.start("failover", "--yes", "--the-primary-is-dead")
                wait_until(lambda: "Plan for cluster" in running.out, "the plan is there", 60)
                took = time.monotonic() - began
                done = running.end()
                assert done.exit_code == 0, done.said
                assert "could not look at the WAL archive" in done.out, done.said
                assert took < 9, done.said  # ssh alone gives a host ten seconds for its first word
                writer.goes_on()
            finally:
                hosts.thaw("h3")
            hosts.boot("h1")
            cluster.ok("rejoin", "db1", "--yes")
            cluster.apply()
            cluster.converged()
        cluster.psql("db2", "SELECT pg_switch_wal()")
        cluster.wait_for(
            "db2", "SELECT NOT EXISTS (SELECT FROM pg_ls_dir('pg_wal/archive_status') f WHERE f ~ 'ready')", 120
        )
        cluster.ok("archive", "verify")
        cluster.ok("down", "--destroy", "--yes")


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("waits", ["none", "any 1"])
def test_the_disk_of_the_best_candidate_is_full(hosts: Hosts, waits: str) -> None:
    lines = ["host all postgres 10.231.0.0/24 scram-sha-256"]
    tables = {"replication": {"synchronous": waits}, "pg_hba": {"lines": lines}}
    name = f"full-{waits.replace(' ', '-')}"
    with RemoteCluster(hosts, 3, cluster={"name": name}, parameters={"min_wal_size": "32MB"}, **tables) as cluster:
        cluster.know_hosts()
        small = f"{cluster.base}/small"
        cluster.nodes["db2"]["data_directory"] = f"{small}/db2"
        hosts.run("h2", ["install", "-d", "-o", "postgres", "-g", "postgres", cluster.base, small])
        hosts.run("h2", ["mount", "-t", "tmpfs", "-o", "size=300m,uid=64321,gid=64321", "tmpfs", small])
        try:
            cluster.apply()
            with RemoteWriter(cluster, "db1") as writer:
                hosts.run("h2", ["sh", "-c", f"cat /dev/zero >{small}/fill"], user="postgres")
                cluster.psql("db1", "CREATE TABLE big AS SELECT repeat('x', 900) FROM generate_series(1, 60000)")
                cluster.wait_for(
                    "db1", "SELECT count(*) = 0 FROM pg_stat_replication WHERE application_name = 'db2'", 60
                )
                writer.goes_on()
                began = time.monotonic()
                kill(cluster, "db1")
                done = cluster.run("failover", "--yes")
                if waits != "none":
                    # What db3 confirmed is on db3; of db2 nobody knows that it does not have more.
                    assert done.exit_code == 12, done.said
                    assert "acknowledged commits" in done.err or "db2 is starting up" in done.err, done.said
                    hosts.run("h2", ["rm", f"{small}/fill"])
                    if not cluster.try_psql("db2", "SELECT 1").stdout:
                        pg_ctl(cluster, "db2", "start", "-w", "-l", f"{data(cluster, 'db2')}.log")
                    began, done = time.monotonic(), cluster.ok("failover", "--yes")
                assert done.exit_code == 0, done.said
                assert primary(cluster) == "db3"
                hosts.run("h2", ["rm", "-f", f"{small}/fill"])
                writer.goes_on()
                limit = announced(done.out, writer, began)
                cluster.ok("rejoin", "db1", "--yes")
                cluster.apply()
                writer.goes_on()
            missing = writer.missing("db3")
            assert len(missing) <= (0 if waits != "none" else limit), done.said
            agree(cluster)
        finally:
            hosts.run("h2", ["sh", "-c", f"pkill -9 -f {cluster.base}; sleep 0.5; umount -l {small}"])
