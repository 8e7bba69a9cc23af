"""An archive whose stream confirms commits, on real servers: nothing acknowledged is lost, wherever it alone has it."""

import shutil
from collections.abc import Iterator

import pytest

from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, packaged
from support.processes import alive
from support.servers import wait_until
from support.writer import Writer

from .test_disturbed_roles import primary_of, writable
from .test_promise import promise, sampled
from .test_streamed import folder, freeze_receiver, kill_all_of_it, kill_receiver, pids, restored, streams, whole


def confirming(cluster: Cluster) -> None:
    cluster.topology["archive"] |= {"stream": True, "synchronous": True}
    cluster.write()


def end_receiver(cluster: Cluster) -> None:
    """kill -9 of all of it; there is none where the stream was never begun."""
    if pids(cluster):
        kill_all_of_it(cluster)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(replication={"synchronous": "any 1"}) as made:
        confirming(made)
        yield made
        end_receiver(made)


def test_writes_wait_for_a_receiver_that_is_gone_and_status_says_so(cluster: Cluster) -> None:
    cluster.up()
    assert cluster.setting("db1", "synchronous_standby_names") == 'ANY 1 ("db2", "pgtandem_archive")'
    assert cluster.status()["stream"]["sync_state"] == "quorum"
    cluster.stop_server("db2")
    # While it is stopping it confirms still, and then the receiver's next attempt would not be waited for below.
    cluster.wait_for("db1", "SELECT NOT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'db2')", 60)
    with Writer(cluster) as writer:
        kill_receiver(cluster)
        writer.goes_on()
        end_receiver(cluster)
        wait_until(lambda: waits(cluster), "status says that writes wait", 30)
        count = len(writer.acknowledged)
        (problem,) = (each for each in cluster.status()["problems"] if each.startswith("WRITES WAIT"))
        assert "missing: db2, the archive)" in problem
        assert len(writer.acknowledged) == count
        cluster.apply()
        writer.goes_on()
    assert writer.warnings == []
    cluster.converged()


def waits(cluster: Cluster) -> bool:
    return any(problem.startswith("WRITES WAIT") for problem in cluster.status()["problems"])


@pytest.mark.chaos
def test_a_restore_has_every_commit_that_only_the_archive_confirmed() -> None:
    """A primary without standbys is killed, and its disk is gone."""
    with Cluster(0, replication={"synchronous": "any 1"}) as cluster:
        confirming(cluster)
        cluster.up()
        cluster.ok("backup", "--yes")
        with Writer(cluster) as writer:
            writer.goes_on(500)
            cluster.sql("db1", "SELECT pg_switch_wal()")
            writer.goes_on(500)
            cluster.kill_server("db1")
        shutil.move(cluster.data("db1"), cluster.folder / "gone")
        assert set(writer.acknowledged) <= set(restored(cluster))
        end_receiver(cluster)


@pytest.mark.chaos
@pytest.mark.parametrize("major", [10, 11, 12, 13, 14, 15, 16, 17, 18])
def test_a_failover_of_every_major_promotes_with_what_the_archive_alone_had(major: int) -> None:
    try:
        on = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))
    with Cluster(on=on, replication={"synchronous": "any 1"}) as cluster:
        confirming(cluster)
        cluster.up(300)
        with Writer(cluster) as writer:
            frozen = freeze_receiver(cluster, "db2")
            writer.goes_on(300)
            cluster.sql("db1", "SELECT pg_switch_wal()")
            writer.goes_on(300)
            cluster.kill_server("db1")
            sure = set(writer.acknowledged)
            cluster.kill_child("db2", frozen)
            cluster.ok("failover", "--yes", seconds=300)
            streams(cluster, "db2")
            writer.goes_on()
        rows = {row[0] for row in cluster.rows("db2", "SELECT id FROM written")}
        assert sure <= rows
        assert set(writer.acknowledged) <= rows
        cluster.ok("rejoin", "db1", "--yes", seconds=300)
        cluster.ok("switchover", "--yes", seconds=300)
        cluster.converged()
        writer.everything_is_on("db1", "db2")
        whole(cluster)
        cluster.ok("down", "--destroy", "--yes")
        assert not any(map(alive, pids(cluster)))


@pytest.mark.chaos
def test_the_archive_comes_and_goes_and_no_commit_is_promised_less(cluster: Cluster) -> None:
    cluster.topology["archive"] |= {"stream": False, "synchronous": False}
    cluster.write()
    cluster.up()
    with Writer(cluster) as writer:
        for wished, key in (("any 1", True), ("any 2", True), ("any 1", True), ("any 1", False), ("any 2", True)):
            before = now(cluster)
            cluster.topology["archive"] |= {"stream": key, "synchronous": key}
            cluster.topology["replication"]["synchronous"] = wished
            with sampled(cluster) as seen:
                cluster.apply()
            after = now(cluster)
            cluster.converged()
            assert {before, after} <= seen
            assert all(confirming >= min(before[1], after[1]) for _, confirming in seen), (before, seen, after)
            writer.goes_on()
            assert ("pgtandem_archive" in cluster.setting("db1", "synchronous_standby_names")) == key
        assert writer.longest_gap() < 20
    assert writer.warnings == []


def now(cluster: Cluster) -> tuple[int, int]:
    return promise(cluster.setting("db1", "synchronous_commit"), cluster.setting("db1", "synchronous_standby_names"))


@pytest.mark.chaos
def test_a_receiver_that_begins_anew_has_what_comes_before(cluster: Cluster) -> None:
    """It was away until its slot was lost: what lies between is archived, or it takes it from the server."""
    cluster.topology["parameters"] |= {"max_slot_wal_keep_size": "64MB", "min_wal_size": "32MB", "max_wal_size": "64MB"}
    cluster.write()
    cluster.up()
    cluster.ok("backup", "--yes")
    (folder(cluster) / "receiver" / "wanted").unlink()  # or the next archived segment would wake it
    end_receiver(cluster)
    cluster.sql("db1", "CREATE TABLE written (id bigint)")
    for number in range(14):
        cluster.sql("db1", f"INSERT INTO written VALUES ({number})")
        cluster.sql("db1", "SELECT pg_switch_wal()")
        cluster.sql("db1", "CHECKPOINT")
    status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'pgtandem_archive'"
    assert cluster.sql("db1", status) == "lost"
    cluster.apply()
    streams(cluster, "db1")
    cluster.converged()
    cluster.stop_server("db2")
    cluster.sql("db1", "INSERT INTO written VALUES (14)")
    cluster.kill_server("db1")
    assert restored(cluster) == list(range(15))


def other(cluster: Cluster, node: str) -> str:
    (found,) = (name for name in cluster.nodes if name != node)
    return found


def behind(cluster: Cluster, writer: Writer, old: str) -> None:
    """The archive alone confirms for a while; then the primary is killed, and the standby is left with less."""
    frozen = freeze_receiver(cluster, other(cluster, old))
    writer.goes_on(100)
    cluster.kill_server(old)
    cluster.kill_child(other(cluster, old), frozen)


@pytest.mark.chaos
def test_failovers_that_are_killed_at_any_line_lose_nothing(cluster: Cluster) -> None:
    cluster.up()
    lines, cut_off = 2, True
    while cut_off:
        old = primary_of(cluster)
        with Writer(cluster) as writer:
            behind(cluster, writer, old)
            before = cluster.journal_lines()
            running = cluster.start("failover", "--yes")
            wait_until(
                lambda run=running, first=before, more=lines: cluster.journal_lines() >= first + more or not run.alive,
                f"line {lines}",
                120,
            )
            cut_off = running.alive
            running.kill()
            assert len(writable(cluster)) <= 1
            if lines % 4:
                again = cluster.run("failover", "--yes")
                assert again.exit_code == 0 or "runs as the primary" in again.err, again.said
            else:
                again = cluster.run("apply", "--yes")
            assert len(writable(cluster)) == 1, again.said
            cluster.run("rejoin", other(cluster, primary_of(cluster)), "--yes", seconds=200)
            writer.goes_on()
        cluster.converged()
        writer.everything_is_on(*cluster.nodes)
        lines += 3


@pytest.mark.chaos
def test_a_standby_that_cannot_get_what_was_streamed_is_not_promoted(cluster: Cluster) -> None:
    cluster.up()
    script = cluster.data("db2") / "pgtandem" / "restore-wal"
    with Writer(cluster) as writer:
        whole_script = script.read_text()
        cluster.edit(script, lambda text: text.replace("set -u\n", "exit 1\n", 1))
        behind(cluster, writer, "db1")
        done = cluster.run("failover", "--yes", seconds=300)
        assert "[PT-4041]" in done.err, done.said
        assert "db2 does not have all that was streamed to the archive" in done.err
        assert cluster.sql("db2", "SELECT pg_is_in_recovery()")
        cluster.edit(script, lambda _: whole_script)
        cluster.ok("failover", "--yes", seconds=200)
        writer.goes_on()
    assert {*writer.acknowledged} <= {row[0] for row in cluster.rows("db2", "SELECT id FROM written")}


@pytest.mark.chaos
def test_switchovers_that_are_killed_at_any_line_promise_no_less(cluster: Cluster) -> None:
    """Back and forth, each killed a few lines later than the one before, and run again."""
    cluster.up()
    lines, cut_off = 2, True
    while cut_off:
        to = other(cluster, primary_of(cluster))
        with Writer(cluster) as writer:
            before = cluster.journal_lines()
            running = cluster.start("switchover", "--to", to, "--yes")
            wait_until(
                lambda run=running, first=before, more=lines: cluster.journal_lines() >= first + more or not run.alive,
                f"line {lines}",
                120,
            )
            cut_off = running.alive
            running.kill()
            assert len(writable(cluster)) <= 1
            cluster.ok("switchover", "--to", to, "--yes", seconds=200)
            assert writable(cluster) == [to]
            wanted = f'ANY 1 ("{other(cluster, to)}", "pgtandem_archive")'
            assert cluster.setting(to, "synchronous_standby_names") == wanted
            writer.goes_on()
        cluster.converged()
        writer.everything_is_on(*cluster.nodes)
        assert writer.warnings == []
        lines += 5
