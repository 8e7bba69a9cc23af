"""What `pgtandem whatif` says, and what then happens."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from support.clusters import Cluster
from support.servers import wait_until


@pytest.fixture(scope="module")
def four() -> Iterator[Cluster]:
    """Any 1 of two standbys, and one more below the first of them."""
    with Cluster(standbys=3, replication={"synchronous": "any 1"}) as cluster:
        cluster.nodes["db4"]["upstream"] = "db2"
        cluster.nodes["db3"]["zone"] = "osaka"
        cluster.write()
        assert "not built yet" in cluster.run("whatif", "db1-down").refused("PT-2007", 11)
        cluster.up()
        cluster.sql("db1", "CREATE TABLE t (i int)")
        yield cluster


def whatif(cluster: Cluster, *failures: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(cluster.ok("whatif", *failures, "--json").out)
    return document


def becomes(document: dict[str, Any]) -> dict[str, str]:
    return {node["name"]: node["becomes"] for node in document["nodes"]}


def insert(cluster: Cluster, node: str, number: int) -> threading.Event:
    """One INSERT in a thread of its own; the event is set once it is acknowledged."""
    done = threading.Event()

    def run() -> None:
        with cluster.connect(node) as connection:
            try:
                connection.execute("INSERT INTO t VALUES (%s)", [number])
            except psycopg.Error:
                return
            done.set()

    threading.Thread(target=run, daemon=True).start()
    return done


def test_a_failure_that_there_is_not_is_refused(four: Cluster) -> None:
    assert 'did you mean "db2-down"?' in four.run("whatif", "db2").refused("PT-1006", 10)
    assert 'did you mean "zone:osaka-down"?' in four.run("whatif", "osaka-down").refused("PT-1006", 10)


def test_writes_go_on_wait_and_stop_as_was_told(four: Cluster) -> None:
    # One of the two that confirm: writes go on, and who streams from it gets nothing new.
    told = whatif(four, "db2-down")
    assert (told["writes"], told["already_down"]) == ("go on", [])
    assert becomes(told) == {"db1": "goes on", "db2": "is down", "db3": "goes on", "db4": "falls behind"}
    assert [kept["slot"] for kept in told["kept_wal"]] == ["pgtandem_db2"]
    four.stop_server("db2")
    assert insert(four, "db1", 1).wait(20), "writes go on"
    assert four.states()["db4"] == ("standby", "not streaming")

    # The other one too: every commit waits.
    told = whatif(four, "zone:osaka-down")
    assert (told["writes"], told["down"], told["already_down"]) == ("wait", ["db3"], ["db2"])
    assert "wait: each commit waits for 1 standby, and 0 can confirm" in four.ok("whatif", "db3-down").out
    four.stop_server("db3")
    waiting = insert(four, "db1", 2)
    four.wait_for("db1", "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    assert not waiting.is_set()
    four.apply()
    wait_until(waiting.is_set, "the commit is acknowledged once a standby is back", 30)

    # The primary: the standby that is named can be promoted, and has every acknowledged row.
    told = whatif(four, "db1-down")
    assert (told["writes"], told["loses_acknowledged"]) == ("stop", False)
    four.kill_server("db1")
    new = told["promoted"]
    four.ok("failover", "--to", new, "--yes")
    assert {row[0] for row in four.rows(new, "SELECT i FROM t")} == {1, 2}
    assert told["after_promotion"] is None
    assert insert(four, new, 3).wait(20), "with a standby left that confirms, commits do not wait"


def walreceiver(cluster: Cluster, node: str) -> int:
    return int(cluster.sql(node, "SELECT pid FROM pg_stat_wal_receiver"))


def test_no_more_is_lost_than_was_told() -> None:
    """The standby's WAL receiver is frozen while the primary goes on and dies."""
    with Cluster(standbys=1, archive=False) as pair:
        pair.up()
        pair.sql("db1", "CREATE TABLE t (i int, filling text)")
        pair.wait_for("db2", "SELECT to_regclass('t') IS NOT NULL")
        frozen = walreceiver(pair, "db2")
        os.kill(frozen, signal.SIGSTOP)
        try:
            # More than what may wait in the buffers of a socket.
            pair.sql("db1", "INSERT INTO t SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 30000) AS i")
            written = pair.sql("db1", "SELECT pg_current_wal_lsn()")
            told = whatif(pair, "db1-down")
            assert (told["promoted"], told["loses_acknowledged"]) == ("db2", True)
            pair.kill_server("db1")
        finally:
            os.kill(frozen, signal.SIGCONT)
        pair.ok("failover", "--to", "db2", "--yes")
        # The history file says where db2 left the old timeline.
        switched = pair.sql("db2", "SELECT split_part(pg_read_file('pg_wal/00000002.history'), E'\\t', 2)")
        lost = pair.sql("db2", f"SELECT pg_wal_lsn_diff('{written}', '{switched}')")
        assert 0 < lost <= told["lost_bytes"]
        assert pair.sql("db2", "SELECT count(*) FROM t") == 0, "the transaction was acknowledged, and is lost as told"
