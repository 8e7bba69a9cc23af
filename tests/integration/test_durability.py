"""Each durability level, by what a client sees while the standby that should confirm is stopped."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from support.clusters import Cluster
from support.servers import wait_until

WAITS = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'INSERT%%'"


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with Cluster(standbys=2) as cluster:
        cluster.up()
        cluster.sql("db1", "CREATE TABLE t (i int)")
        yield cluster


class Client:
    """One INSERT in a thread of its own."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.done = threading.Event()
        self._cluster, self._number = cluster, number
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._cluster.connect("db1") as connection:
            try:
                connection.execute("INSERT INTO t VALUES (%s)", [self._number])
            except psycopg.Error:
                return
            self.done.set()


@pytest.mark.parametrize(
    ("durability", "synchronous", "stopped", "waits"),
    [
        ("off", "none", ("db2", "db3"), False),
        ("local", "none", ("db2", "db3"), False),
        ("on", "none", ("db2", "db3"), False),
        ("remote_write", "any 1", ("db2", "db3"), True),
        ("on", "any 1", ("db2",), False),
        ("on", "any 1", ("db2", "db3"), True),
        ("on", "any 2", ("db3",), True),
        ("on", "first 1", ("db2",), False),
        ("remote_apply", "first 2", ("db3",), True),
    ],
)
def test_a_commit_waits_exactly_when_it_should(
    trio: Cluster, durability: str, synchronous: str, stopped: tuple[str, ...], waits: bool
) -> None:
    trio.topology["replication"] = {"durability": durability, "synchronous": synchronous}
    trio.apply()
    assert trio.setting("db1", "synchronous_commit") == durability
    failures = {row["failure"]: row["writes"] for row in trio.plan()["single_failures"]}
    if len(stopped) == 1:
        assert failures[f"{stopped[0]} fails"].startswith("stop" if waits else "go on"), "the plan told the truth"
    for name in stopped:
        trio.stop_server(name)
    client = Client(trio, len(stopped))
    if waits:
        trio.wait_for("db1", WAITS)
        assert not client.done.is_set()
        status = trio.run("status")
        assert status.exit_code == 2
        assert status.out.startswith("! WRITES WAIT on db1: "), status.out
        assert "writes wait" in status.out.split("sync:")[1]
        (first, *_) = trio.status()["problems"]
        assert all(name in first for name in stopped)
        assert 'synchronous = "none"' in first
    else:
        assert "WRITES WAIT" not in trio.run("status").out
        assert client.done.wait(20), "the commit waits for nobody"
    trio.apply()
    wait_until(client.done.is_set, "the client goes on once the standbys are back", 30)


def test_pgtandem_never_hangs_on_a_lost_synchronous_standby(trio: Cluster) -> None:
    trio.topology["replication"] = {"durability": "on", "synchronous": "any 2"}
    trio.apply()
    trio.stop_server("db2")
    trio.stop_server("db3")
    assert trio.run("status", seconds=30).exit_code == 2
    trio.apply()
    trio.topology["replication"] = {}
    trio.apply()
    assert trio.setting("db1", "synchronous_standby_names") == ""


def test_commits_that_wait_by_somebody_elses_setting_are_told_although_every_node_is_up(trio: Cluster) -> None:
    trio.topology["replication"] = {}
    trio.apply()
    trio.sql("db1", "ALTER SYSTEM SET synchronous_standby_names = 'db2, ghost, \"other\"'")
    trio.sql("db1", "SELECT pg_reload_conf()")
    trio.wait_for("db1", "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'")
    assert trio.status()["problems"] == [], "db2 confirms"
    trio.sql("db1", "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 2 (db2, ghost)'")
    trio.sql("db1", "SELECT pg_reload_conf()")
    trio.wait_for("db1", "SELECT current_setting('synchronous_standby_names') LIKE 'FIRST 2%%'")
    (problem,) = trio.status()["problems"]
    assert problem.startswith("WRITES WAIT on db1: 2 standbys have to confirm each commit and 1 can")
    trio.apply()


def test_a_standby_that_must_confirm_leaves_without_stopping_writes(trio: Cluster) -> None:
    trio.topology["replication"] = {"durability": "on", "synchronous": "any 2"}
    trio.apply()
    gone = trio.nodes.pop("db3")
    trio.topology["replication"] = {"durability": "on", "synchronous": "any 1"}
    trio.apply()
    trio.sql("db1", "INSERT INTO t VALUES (99)", options="-c statement_timeout=10000")
    trio.nodes["db3"] = gone
    trio.topology["replication"] = {}
    trio.apply()
