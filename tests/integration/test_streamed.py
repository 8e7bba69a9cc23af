"""An archive that is also fed by streaming, on real servers: what was written a moment ago outlives the primary."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, packaged
from support.processes import alive, command_lines
from support.provoking import Looks, ids, provokes
from support.servers import wait_until
from support.writer import Writer

SLOT = "pgtandem_archive"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        made.topology["archive"]["stream"] = True
        made.write()
        yield made
        for pid in pids(made):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def folder(cluster: Cluster) -> Path:
    (found,) = (path for path in cluster.archive.iterdir() if path.name.isdigit())
    return found


def pid(cluster: Cluster, name: str) -> int:
    """The process that keeps pg_receivewal going ("pid"), or pg_receivewal itself ("child")."""
    return int((folder(cluster) / "receiver" / name).read_text() or "0")


def pids(cluster: Cluster) -> list[int]:
    if not list(cluster.archive.glob("*/receiver/pid")):
        return []
    return [pid(cluster, "pid"), pid(cluster, "child")]


def kill_all_of_it(cluster: Cluster) -> None:
    """kill -9 of what keeps pg_receivewal going, of a second one that waits to take its place, and of itself."""
    kept_by = str(folder(cluster) / "receiver" / "run")
    for loop in [process for process, line in command_lines() if kept_by in line]:
        os.kill(loop, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid(cluster, "child"), signal.SIGKILL)


def kill_receiver(cluster: Cluster) -> None:
    """kill -9 of pg_receivewal; returns when another one runs."""
    before = pid(cluster, "child")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pid(cluster, "child") not in (0, before), "pg_receivewal runs again", 30)


def streams(cluster: Cluster, node: str, seconds: float = 60) -> None:
    query = f"SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = '{SLOT}' AND state = 'streaming')"
    cluster.wait_for(node, query, seconds)


def streamed(cluster: Cluster, node: str) -> None:
    """Waits until everything that a node has written is on the archive's disk."""
    position = cluster.sql(node, "SELECT pg_current_wal_flush_lsn()")
    has = f"SELECT flush_lsn >= '{position}' FROM pg_stat_replication WHERE application_name = '{SLOT}'"
    cluster.wait_for(node, f"SELECT coalesce(({has}), false)", 60)


def restored(cluster: Cluster) -> list[int]:
    """The rows of the writer's table in a restore to the end of the archive."""
    cluster.ok("restore", "--to", "latest", "--yes")
    (place,) = (cluster.folder / "data").glob("*-restored-latest")
    cluster.nodes["restored"] = {"port": 0, "data_directory": str(place)}
    try:
        return [row[0] for row in cluster.rows("restored", "SELECT id FROM written ORDER BY id")]
    finally:
        cluster.stop_server("restored")
        del cluster.nodes["restored"]


def whole(cluster: Cluster) -> None:
    """No hole, nothing that differs, and nothing streamed that is of no use any more."""
    report = json.loads(cluster.run("archive", "--json").out)
    assert report["damages"] == []


@provokes("ARC21")
def test_the_receiver_follows_the_primary_and_is_started_again(cluster: Cluster, looks: Looks) -> None:
    cluster.up()
    assert cluster.status()["stream"]["state"] == "streaming"
    looks.take(ids(json.loads(cluster.run("doctor", "--json").out)))
    cluster.ok("backup", "--yes")
    with Writer(cluster) as writer:
        kill_receiver(cluster)
        streams(cluster, "db1")
        kill_all_of_it(cluster)
        assert ("start_stream", "db1") in cluster.step_kinds()
        status = cluster.status()
        assert status["stream"]["state"] == "down"
        assert [problem for problem in status["problems"] if "the archive's stream does not run" in problem]
        looks.take(ids(json.loads(cluster.run("doctor", "--json").out)))
        cluster.ok("apply", "--yes")
        writer.goes_on()
        cluster.ok("switchover", "--yes")
        writer.goes_on()
    streamed(cluster, "db2")
    cluster.converged()
    whole(cluster)
    assert cluster.slots("db2") == [SLOT, "pgtandem_db1"]
    assert cluster.slots("db1") == []
    assert set(writer.acknowledged) <= set(restored(cluster))
    running = pids(cluster)
    assert all(map(alive, running))
    cluster.topology["archive"]["stream"] = False
    cluster.apply()
    assert not any(map(alive, running))
    assert {path.name for path in folder(cluster).iterdir()} & {"streamed", "receiver"} == set()
    assert cluster.slots("db2") == ["pgtandem_db1"]
    whole(cluster)


@pytest.mark.chaos
def test_what_was_streamed_of_a_lost_primary_is_in_a_restore(cluster: Cluster) -> None:
    """kill -9 of the receiver again and again, then of the primary; its disk is gone, and so is the standby's."""
    cluster.up()
    cluster.ok("backup", "--yes")
    with Writer(cluster) as writer:
        for _ in range(5):
            kill_receiver(cluster)
            writer.goes_on(200)
            streams(cluster, "db1")
        cluster.sql("db1", "SELECT pg_switch_wal()")
        writer.goes_on(200)
        sure = len(writer.acknowledged)  # before it is waited for: the client goes on
        streamed(cluster, "db1")
        cluster.kill_server("db1")
    rows = restored(cluster)
    assert set(writer.acknowledged[:sure]) <= set(rows)


@pytest.mark.chaos
def test_a_failover_promotes_with_what_only_the_archive_has(cluster: Cluster) -> None:
    """The standby's receiver is frozen, the archive's goes on, then the primary is killed for good."""
    cluster.up()
    cluster.ok("backup", "--yes")
    with Writer(cluster) as writer:
        frozen = freeze_receiver(cluster, "db2")
        writer.goes_on(500)
        sure = len(writer.acknowledged)
        streamed(cluster, "db1")
        cluster.kill_server("db1")
        cluster.kill_child("db2", frozen)
        cluster.ok("failover", "--yes")
        writer.goes_on()
        streams(cluster, "db2")
    rows = {row[0] for row in cluster.rows("db2", "SELECT id FROM written")}
    assert set(writer.acknowledged[:sure]) <= rows
    streamed(cluster, "db2")
    whole(cluster)


def freeze_receiver(cluster: Cluster, node: str) -> int:
    found = cluster.sql(node, "SELECT pid FROM pg_stat_wal_receiver")
    os.kill(found, signal.SIGSTOP)
    return int(found)


@pytest.mark.chaos
@pytest.mark.parametrize("major", [10, 11, 12, 13, 14, 15, 16, 17])
def test_every_major_streams_to_the_archive(major: int) -> None:
    """A switchover, then the lost primary's last rows out of the archive."""
    try:
        on = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))
    with Cluster(on=on) as cluster:
        cluster.topology["archive"]["stream"] = True
        cluster.write()
        cluster.up(300)
        cluster.ok("backup", "--yes", seconds=300)
        with Writer(cluster) as writer:
            kill_receiver(cluster)
            writer.goes_on()
            cluster.ok("switchover", "--yes", seconds=300)
            writer.goes_on()
            sure = len(writer.acknowledged)
            streamed(cluster, "db2")
            cluster.kill_server("db2")
        assert set(writer.acknowledged[:sure]) <= set(restored(cluster))
        cluster.ok("failover", "--yes", seconds=300)
        cluster.ok("rejoin", "db2", "--yes", seconds=300)
        cluster.converged()
        whole(cluster)
        cluster.ok("down", "--destroy", "--yes")
        assert not any(map(alive, pids(cluster)))


@pytest.mark.chaos
def test_wal_of_a_timeline_that_nobody_has_any_more_is_set_aside(cluster: Cluster) -> None:
    """The standby is promoted by hand while the stream is whole segments ahead of it: pg_receivewal would ask for what
    follows those for ever."""
    cluster.up()
    cluster.sql("db1", "CREATE TABLE lost AS SELECT 1")
    frozen = freeze_receiver(cluster, "db2")
    cluster.edit(cluster.data("db2") / "pgtandem" / "restore-wal", lambda text: text.replace("set -u\n", "exit 1\n", 1))
    for _ in range(3):
        cluster.sql("db1", "INSERT INTO lost VALUES (2)")
        cluster.sql("db1", "SELECT pg_switch_wal()")
    streamed(cluster, "db1")
    cluster.kill_server("db1")
    cluster.kill_child("db2", frozen)
    cluster.sql("db2", "SELECT pg_promote()")
    cluster.run("rejoin", "db1", "--yes", seconds=300)
    streams(cluster, "db2")
    aside = sorted(path.name for path in (folder(cluster) / "receiver" / "beyond").iterdir())
    assert aside, "what db2 never had is kept"
    cluster.ok("apply", "--yes")
    cluster.converged()


@pytest.mark.chaos
def test_a_full_disk_of_the_archive_costs_the_primary_no_more_than_the_cap(cluster: Cluster) -> None:
    """What was streamed cannot be written any more, while whole segments are still archived: the slot is given up at
    its cap, and the stream begins anew where it is mended."""
    cluster.topology["parameters"] |= {"max_slot_wal_keep_size": "64MB", "min_wal_size": "32MB", "max_wal_size": "64MB"}
    cluster.write()
    cluster.up()
    cluster.ok("backup", "--yes")
    cluster.sql("db1", "CREATE TABLE written (id bigint)")
    taken = folder(cluster) / "streamed"
    taken.chmod(0o500)
    wal_status = f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
    for number in range(14):
        cluster.sql("db1", f"INSERT INTO written VALUES ({number})")
        cluster.sql("db1", "SELECT pg_switch_wal()")
        cluster.sql("db1", "CHECKPOINT")
    assert cluster.sql("db1", wal_status) == "lost"
    kept = cluster.sql("db1", "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'")
    assert kept <= (64 + 64 + 32) // 16
    assert cluster.status()["stream"]["state"] == "not streaming"
    taken.chmod(0o700)
    cluster.ok("apply", "--yes")
    streams(cluster, "db1")
    cluster.converged()
    cluster.sql("db1", "INSERT INTO written VALUES (14)")
    streamed(cluster, "db1")
    cluster.kill_server("db1")
    assert restored(cluster) == list(range(15))


@pytest.mark.chaos
def test_what_a_full_disk_left_of_a_segment_does_not_end_the_stream_for_good(cluster: Cluster) -> None:
    """pg_receivewal fills a segment up with zeros before it writes into it, and takes up none that is too short."""
    cluster.up()
    streams(cluster, "db1")
    gone = pids(cluster)
    kill_all_of_it(cluster)
    wait_until(lambda: not any(map(alive, gone)), "the receiver is gone", 10)
    taken = folder(cluster) / "streamed"
    (part,) = taken.glob("*.partial")
    part.write_bytes(bytes(1167360))
    cluster.ok("apply", "--yes")
    streams(cluster, "db1")
    streamed(cluster, "db1")
    assert part.stat().st_size == 16 * 1024 * 1024
