"""status on real servers: what holds a standby up, and the view that goes on."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from support.clusters import Cluster
from support.servers import wait_until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


def test_stages_and_slots_of_an_idle_pair(pair: Cluster) -> None:
    pair.shows_row("db2", _row(pair))
    primary, standby = pair.status()["nodes"]
    assert primary["stages"] is None
    wait_until(lambda: pair.status()["nodes"][1]["stages"]["replay_lag_bytes"] == 0, "the standby has everything")
    assert standby["stages"]["slow"] is None
    (slot,) = pair.status()["slots"]
    assert (slot["name"], slot["node"], slot["active"]) == ("pgtandem_db2", "db1", True)
    assert slot["room_bytes"] > 0
    assert "pgtandem_db2 on db1 is in use" in pair.ok("status").out


def _row(pair: Cluster) -> str:
    text = f"row of {time.monotonic()}"
    pair.write_row(text)
    return text


def test_replay_that_stands_still_is_named(pair: Cluster) -> None:
    pair.sql("db2", "SELECT pg_wal_replay_pause()")
    try:
        pair.sql("db1", "CREATE TABLE much AS SELECT repeat('x', 500) FROM generate_series(1, 20000)")

        def slow() -> object:
            stages = pair.status()["nodes"][1]["stages"]
            return stages["slow"] == "replay" and stages["flush_lag_bytes"] == 0

        wait_until(slow, "replay is what is slow", 30)
        assert "slow:     db2, in replay: 0 B to send" in pair.run("status").out
    finally:
        pair.sql("db2", "SELECT pg_wal_replay_resume()")


def test_a_query_that_holds_replay_up_is_named_and_the_lag_is_not_older_than_what_is_missing(pair: Cluster) -> None:
    pair.sql("db1", "CREATE TABLE readers AS SELECT 1 AS x")
    pair.wait_for("db2", "SELECT to_regclass('readers') IS NOT NULL")
    began = time.monotonic()
    pair.sql("db1", "CHECKPOINT")
    with pair.connect("db2", application_name="reports", autocommit=False) as reader:
        reader.execute("SELECT * FROM readers")
        pair.sql("db1", "DROP TABLE readers")
        wait_until(lambda: pair.status()["nodes"][1]["replay_hold"], "replay waits", 30)
        out = pair.run("status").out
        (node,) = [node for node in pair.status()["nodes"] if node["name"] == "db2"]
        assert node["replay_hold"]["pid"] == reader.info.backend_pid
        reader.rollback()
    assert f"replay on db2 waits for process {node['replay_hold']['pid']} (reports of user postgres)" in out.replace(
        "\n          ", " "
    )
    assert node["lag_bytes"] > 0
    assert node["replay_lag_seconds"] <= time.monotonic() - began + 2, "nothing is missing from before the checkpoint"


def test_how_long_a_slot_has_room_at_the_rate_of_wal(pair: Cluster) -> None:
    pair.sql("db1", "CREATE TABLE rate AS SELECT repeat('x', 500) FROM generate_series(1, 20000)")
    age = "SELECT extract(epoch FROM clock_timestamp() - checkpoint_time) >= 6 FROM pg_control_checkpoint()"
    pair.wait_for("db1", age)
    status = pair.status()
    (slot,) = status["slots"]
    rate = status["wal_bytes_per_second"]
    assert rate > 0
    assert abs(slot["cap_reached_seconds"] * rate / slot["room_bytes"] - 1) < 0.01


def test_a_standby_that_gets_nothing_any_more_is_as_late_as_its_last_row(pair: Cluster) -> None:
    began = time.monotonic()
    pair.shows_row("db2", _row(pair))
    pair.sql("db1", "CREATE ROLE nobody; ALTER ROLE pgtandem_replication NOLOGIN")
    try:
        pair.sql("db1", "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        wait_until(lambda: pair.states()["db2"][1] == "not streaming", "it does not stream", 30)
        pair.write_row("that it does not get")
        late = []

        def is_late() -> bool:
            late[:] = [node["replay_lag_seconds"] for node in pair.status()["nodes"] if node["name"] == "db2"]
            return late[0] is not None and late[0] > 1

        wait_until(is_late, "it is late although it has replayed all that it has", 30)
        assert late[0] <= time.monotonic() - began + 2
    finally:
        pair.sql("db1", "ALTER ROLE pgtandem_replication LOGIN; DROP ROLE nobody")
    wait_until(lambda: pair.states()["db2"][1] == "streaming", "it streams again", 60)


def test_zones_are_shown(pair: Cluster) -> None:
    assert "zone" not in pair.run("status").out
    pair.nodes["db1"]["zone"] = "tokyo-a"
    pair.write()
    try:
        assert re.search(r"^db1 +primary +running +-? *tokyo-a ", pair.run("status").out, re.MULTILINE)
    finally:
        del pair.nodes["db1"]["zone"]
        pair.write()


def test_an_archive_that_is_behind_is_told_with_since_when(pair: Cluster) -> None:
    pair.archive.rename(pair.base / "away")
    try:
        pair.sql("db1", "SELECT pg_switch_wal()")
        pair.sql("db1", "CHECKPOINT")
        wait_until(lambda: "FAILING" in pair.run("status").out, "the archive fails", 30)
        status = pair.status()
    finally:
        (pair.base / "away").rename(pair.archive)
    assert status["archive_waiting_segments"] >= 1
    assert status["archive_age_seconds"] >= 0
    assert "behind, the last was archived" in status["archive"]
    wait_until(lambda: pair.run("status").exit_code == 0, "it is well again", 90)


def test_watch_goes_on_until_it_is_interrupted(pair: Cluster) -> None:
    running = pair.start("status", "--watch", "0.2")
    lines = pair.start("status", "--watch", "0.2", "--json")
    wait_until(lambda: running.out.count("cluster shop") >= 2, "two looks", 30)
    pair.stop_server("db2")
    try:
        wait_until(lambda: "! db2 is stopped" in running.out, "what changed is seen", 30)
        wait_until(lambda: "db2 is stopped" in lines.out, "what changed is seen", 30)
    finally:
        running.interrupt()
        lines.interrupt()
    done = running.end(20)
    assert done.exit_code == 2, "as the last look"
    assert done.err == ""
    assert "\x1b" not in done.out
    documents = [json.loads(line) for line in lines.end(20).out.splitlines()]
    assert documents[0]["problems"] == []
    assert documents[-1]["problems"] != []
    pair.up()


def test_watch_redraws_on_a_terminal(pair: Cluster) -> None:
    controller, terminal = pty.openpty()
    options = pair.options()
    options["env"] = {**options["env"], "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*pair.argv, "status", "--watch", "0.2"], stdin=terminal, stdout=terminal, stderr=terminal, **options
    )
    os.close(terminal)
    shown = b""
    try:
        give_up = time.monotonic() + 30
        while shown.count(b"\x1b[H") < 3 and time.monotonic() < give_up:
            if select.select([controller], [], [], 0.5)[0]:
                shown += os.read(controller, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(controller)
    assert shown.count(b"\x1b[2J") == 1
    assert shown.count(b"\x1b[H") >= 3
    assert b"Ctrl-C ends" in shown
    assert b"error" not in shown
