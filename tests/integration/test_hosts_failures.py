"""The primary fails, in every way that a machine can, while a client writes: failover, rejoin, and what became of rows.

Synchronous ("any 1"): no acknowledged row is ever missing. Asynchronous: no more than `failover` announced.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
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
    "network cut": Failure(on_its_host("cut"), on_its_host("heal"), silent=True),
}


def announced(said: str, writer: RemoteWriter, began: float) -> int:
    """How many rows are lost at most, by what failover said."""
    said = " ".join(said.split())
    if "Lost: no" in said:
        return 0
    told = re.search(r"(\d+) transactions were committed after", said)
    if told:
        return int(told.group(1))
    if "no transaction was committed after" in said:
        return 0
    window = re.search(r"at most what was committed in the (\d+) s before now", said)
    assert window, said
    since = began - float(window.group(1)) - 1  # shown in whole seconds
    return sum(moment > since for moment in writer.acknowledged.values())


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


def refuses_to_acknowledge(cluster: RemoteCluster, old: str) -> None:
    """Whoever writes to the old primary, which may be one still, gets no word: nobody confirms."""
    sql = "INSERT INTO written VALUES (-1)"
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


def test_a_primary_that_was_frozen_and_thaws_after_the_failover(synchronous: RemoteCluster) -> None:
    comes_back(synchronous, FAILURES["host frozen and thawed"])


@pytest.mark.chaos
@pytest.mark.parametrize("failure", FAILURES)
def test_synchronous_no_acknowledged_row_is_missing(synchronous: RemoteCluster, failure: str) -> None:
    comes_back(synchronous, FAILURES[failure])


@pytest.mark.chaos
@pytest.mark.parametrize("failure", FAILURES)
def test_asynchronous_no_more_is_missing_than_was_announced(asynchronous: RemoteCluster, failure: str) -> None:
    comes_back(asynchronous, FAILURES[failure])
