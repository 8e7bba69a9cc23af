"""A planned change of the primary on real servers, with a client that writes through all of it."""

import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from support.clusters import Cluster
from support.installations import Installation, installations, packaged
from support.servers import wait_until
from support.writer import Writer

from .conftest import TellLines


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with Cluster(standbys=2, replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        yield cluster


def primary_of(cluster: Cluster) -> str:
    (name,) = [name for name, (role, _) in cluster.states().items() if role == "primary"]
    return name


def switch(cluster: Cluster, to: str) -> None:
    cluster.ok("switchover", "--to", to, "--yes")
    assert primary_of(cluster) == to
    cluster.converged()


def one_primary(cluster: Cluster) -> None:
    """Never more than one server accepts writes, whatever pgtandem thinks."""
    primaries = [node for node in cluster.nodes if cluster.pid(node) and writable(cluster, node)]
    assert len(primaries) <= 1, primaries


def writable(cluster: Cluster, node: str) -> bool:
    import psycopg

    try:
        return not cluster.sql(node, "SELECT pg_is_in_recovery()")
    except psycopg.OperationalError:
        return False


NEWEST, *OTHERS = sorted(installations(), key=lambda found: -found.major)


@pytest.mark.parametrize(
    "on",
    [
        pytest.param(NEWEST, id=NEWEST.name),
        *(pytest.param(found, id=found.name, marks=pytest.mark.chaos) for found in OTHERS),
    ],
)
def test_there_and_back_under_a_writer_loses_nothing(on: Installation) -> None:
    with Cluster(standbys=2, on=on) as cluster:
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.write()
        cluster.up()
        with Writer(cluster) as writer:
            switch(cluster, "db2")
            writer.goes_on()
            assert cluster.streams("db2") == ["db1", "db3"]
            assert cluster.slots("db2") == ["pgtandem_db1", "pgtandem_db3"]
            assert cluster.slots("db1") == []
            switch(cluster, "db1")
            writer.goes_on()
            assert cluster.streams("db1") == ["db2"]
            assert cluster.streams("db2") == ["db3"]
        writer.everything_is_on("db1", "db2", "db3")
        histories = {"00000002.history", "00000003.history"}
        wait_until(lambda: histories <= set(cluster.archived()), "both history files are archived", 60)


@pytest.mark.parametrize("major", [11, pytest.param(12, marks=pytest.mark.chaos)])
def test_versions_that_read_where_to_stream_from_at_a_start_only(major: int) -> None:
    """recovery.conf, and then primary_conninfo as a setting of the context postmaster."""
    try:
        found = packaged(major)
    except LookupError as reason:
        pytest.skip(str(reason))
    with Cluster(standbys=2, on=found) as cluster:
        cluster.up()
        with Writer(cluster) as writer:
            switch(cluster, "db2")
            started = cluster.started_at("db2")
            writer.goes_on()
            switch(cluster, "db3")
        assert cluster.started_at("db2") > started
        writer.everything_is_on("db1", "db2", "db3")


def test_synchronous_commits_survive_switchovers_to_every_node(trio: Cluster) -> None:
    with Writer(trio) as writer:
        for node in ("db2", "db3", "db1"):
            switch(trio, node)
            writer.goes_on()
            assert trio.setting(node, "synchronous_standby_names").startswith("ANY 1 (")
    assert writer.warnings == []
    writer.everything_is_on("db1", "db2", "db3")


def test_the_best_standby_is_chosen_and_a_second_run_switches_again(trio: Cluster) -> None:
    before = primary_of(trio)
    trio.ok("switchover", "--yes")
    assert primary_of(trio) != before
    trio.converged()
    done = trio.ok("switchover", "--to", primary_of(trio), "--yes")
    assert "nothing to do" in done.out


def test_what_stands_in_the_way_is_told_at_once_and_nothing_is_changed(trio: Cluster) -> None:
    switch(trio, "db1")
    trio.sql("db2", "SELECT pg_wal_replay_pause()")
    trio.sql("db1", "CREATE TABLE big AS SELECT repeat('x', 900) FROM generate_series(1, 300)")
    trio.topology["parameters"]["work_mem"] = "9MB"
    trio.write()
    try:
        with trio.unchanged(servers_run=True):
            words = trio.run("switchover", "--to", "db2", "--max-lag-bytes", "1000", "--yes").refused("PT-3042", 12)
        assert "replay of db2: paused" in words
        assert "lag of db2" in words
        assert "the cluster is not what the topology file says" in words
        refused = trio.run("switchover", "--to", "db9", "--yes").refused("PT-1006", 10)
        assert "db9" in refused
    finally:
        trio.sql("db2", "SELECT pg_wal_replay_resume()")
        del trio.topology["parameters"]["work_mem"]
        trio.apply()
    assert primary_of(trio) == "db1"


def in_seconds(seconds: float) -> str:
    """A time for --at, in this machine's zone."""
    return (datetime.now() + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def test_at_a_time_it_looks_at_once_waits_without_the_lock_and_looks_again(trio: Cluster) -> None:
    switch(trio, "db1")
    trio.sql("db2", "SELECT pg_wal_replay_pause()")
    try:
        words = trio.run("switchover", "--to", "db2", "--at", in_seconds(3600), "--yes").refused("PT-3042", 12)
        assert "replay of db2: paused" in words, "what stands in the way now is told now"
    finally:
        trio.sql("db2", "SELECT pg_wal_replay_resume()")
    running = trio.start("switchover", "--to", "db2", "--at", in_seconds(8), "--yes")
    wait_until(lambda: "Ctrl-C ends this" in running.out, "it waits", 60)
    trio.ok("apply", "--yes")
    assert primary_of(trio) == "db1"
    done = running.end(60)
    assert done.exit_code == 0, done.said
    assert primary_of(trio) == "db2"
    trio.converged()


def test_at_a_time_ctrl_c_changes_nothing_and_what_came_meanwhile_is_refused(trio: Cluster) -> None:
    switch(trio, "db1")
    running = trio.start("switchover", "--at", in_seconds(3600), "--yes")
    wait_until(lambda: "Ctrl-C ends this" in running.out, "it waits", 60)
    running.interrupt()
    done = running.end(30)
    assert done.exit_code == 130, done.said
    assert "nothing was changed" in done.err
    running = trio.start("switchover", "--to", "db2", "--at", in_seconds(6), "--yes")
    wait_until(lambda: "Ctrl-C ends this" in running.out, "it waits", 60)
    trio.sql("db2", "SELECT pg_wal_replay_pause()")
    try:
        assert "replay of db2: paused" in running.end(60).refused("PT-3042", 12)
    finally:
        trio.sql("db2", "SELECT pg_wal_replay_resume()")
    assert primary_of(trio) == "db1"


def test_a_successor_that_dies_in_the_middle_leaves_the_old_primary_at_work(trio: Cluster) -> None:
    switch(trio, "db1")
    with Writer(trio) as writer:
        running = trio.start("switchover", "--to", "db2", "--yes")
        wait_until(lambda: '"db1.stop"' in journal_of(trio) or not running.alive, "the stop has begun", 60)
        trio.kill_server("db2")
        done = running.end(120)
        if done.exit_code:
            assert done.exit_code in (11, 13), done.said
            assert primary_of(trio) == "db1", done.said
        writer.goes_on()
        trio.apply()
    writer.everything_is_on("db1", "db2", "db3")
    switch(trio, "db1")


def journal_of(cluster: Cluster) -> str:
    """The journal since the last plan."""
    text = (cluster.workspace / "journal.jsonl").read_text()
    return text[text.rfind('"plan"') :]


def killed_at(cluster: Cluster, to: str, lines: int) -> bool:
    """A switchover, killed (kill -9) once it has written so many lines. False when it was done before."""
    before = cluster.journal_lines()
    running = cluster.start("switchover", "--to", to, "--yes")
    wait_until(lambda: cluster.journal_lines() - before >= lines or not running.alive, f"line {lines}", 120)
    was_alive = running.alive
    running.kill()
    return was_alive


def holds(cluster: Cluster, first: int, every: int, turn: int = 0, most: int = 1000) -> int:
    """Killed at line `first`, and every so many further, until it is through, or so many times at most; and completed:
    by the same command, or by apply. How often."""
    lines, kills = first, 0
    while True:
        old = primary_of(cluster)
        to = "db2" if old == "db1" else "db1"
        with Writer(cluster) as writer:
            cut_off = killed_at(cluster, to, lines)
            one_primary(cluster)
            again = ("apply", "--yes") if turn % 2 else ("switchover", "--to", to, "--yes")
            cluster.ok(*again)
            one_primary(cluster)
            assert again[0] == "apply" or primary_of(cluster) == to
            writer.goes_on()
        cluster.converged()
        assert writer.warnings == []
        writer.everything_is_on(*cluster.nodes)
        if not cut_off:
            return kills
        lines, turn, kills = lines + every, turn + 1, kills + 1
        if kills == most:
            return kills


def test_killed_at_some_lines_of_the_journal_it_is_completed(trio: Cluster) -> None:
    """A sample; the chaos run takes all."""
    assert holds(trio, first=8, every=22, most=2) > 0


@pytest.mark.chaos
@pytest.mark.parametrize(("synchronous", "turn"), [("none", 0), ("any 1", 1)])
def test_killed_at_every_line_of_the_journal_it_is_completed(
    synchronous: str, turn: int, tell_lines: TellLines
) -> None:
    """Of the two, one completes it at a line by the same command, and the other one by apply."""
    with Cluster(standbys=2, replication={"synchronous": synchronous}) as cluster:
        cluster.up()
        tell_lines(holds(cluster, first=1, every=1, turn=turn))


def test_a_primary_that_was_stopped_by_a_cut_off_switchover_goes_on_even_after_a_crash(trio: Cluster) -> None:
    switch(trio, "db1")
    with Writer(trio) as writer:
        running = trio.start("switchover", "--to", "db2", "--yes")
        wait_until(
            lambda: ('"db1.fence"' in journal_of(trio) and fenced(trio)) or not running.alive, "db1 is fenced", 60
        )
        running.kill()
        pid = trio.pid("db1")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: trio.pid("db1") is None, "db1 is gone", 30)
        trio.ok("apply", "--yes")
        writer.goes_on()
        one_primary(trio)
    trio.converged()
    writer.everything_is_on("db1", "db2", "db3")


def fenced(cluster: Cluster) -> bool:
    return (cluster.data("db1") / "standby.signal").exists()


@pytest.mark.chaos
def test_a_standby_that_is_late_for_a_moment_is_looked_at_again_and_one_that_stays_late_is_refused() -> None:
    with Cluster(parameters={"max_standby_streaming_delay": "5min"}) as cluster:
        cluster.up()
        cluster.sql("db1", "CREATE TABLE readers AS SELECT 1 AS x")
        cluster.wait_for("db2", "SELECT to_regclass('readers') IS NOT NULL")
        with Writer(cluster) as writer, cluster.connect("db2", autocommit=False) as reader:
            reader.execute("SELECT * FROM readers")
            cluster.sql("db1", "DROP TABLE readers")
            cluster.wait_for("db1", "SELECT replay_lag > interval '2 s' FROM pg_stat_replication", 60)
            command = ("switchover", "--max-lag-seconds", "1", "--yes")
            assert "replay lag of db2" in cluster.run(*command).refused("PT-3042", 12)
            before = refusals(cluster)
            running = cluster.start(*command)
            wait_until(lambda: refusals(cluster) > before or not running.alive, "it was looked at once", 60)
            reader.rollback()
            done = running.end()
            assert done.exit_code == 0, done.said
            assert primary_of(cluster) == "db2"
            writer.goes_on()
        writer.everything_is_on("db1", "db2")
        cluster.converged()


def refusals(cluster: Cluster) -> int:
    return sum(line["event"] == "refused" for line in cluster.journal())
