"""Cut off at any point and run again: it converges, and nothing is lost."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from support.clusters import Cluster
from support.processes import alive
from support.servers import wait_until

from .conftest import TellLines


def kill_at(cluster: Cluster, line: int) -> bool:
    """Builds, and kills pgtandem (kill -9) once the journal has that many lines. False when it was done before."""
    running = cluster.start("up", "--yes")
    wait_until(lambda: cluster.journal_lines() >= line or not running.alive, f"journal line {line}", 120)
    was_alive = running.alive
    running.kill()
    return was_alive


def holds_after_a_kill_at(line: int) -> bool:
    """Whether anything was cut off."""
    with Cluster(replication={"synchronous": "any 1"}) as cluster:
        cut_off = kill_at(cluster, line)
        written = None
        if cluster.pid("db1") and "slot" in cluster.folder.joinpath(".pgtandem/journal.jsonl").read_text():
            written = "while it lay half built"
            with cluster.connect("db1") as connection:
                connection.execute("SET synchronous_commit = local")
                connection.execute("CREATE TABLE note (text text)")
                connection.execute("INSERT INTO note VALUES (%s)", [written])
        cluster.up()
        cluster.converged()
        if written:
            cluster.shows_row("db2", written)
        cluster.write_row("at the end")
        cluster.shows_row("db2", "at the end")
        return cut_off


#: A sample of the journal's lines; the chaos run takes the others.
SAMPLE = (1, 9, 12, 17)


@pytest.mark.parametrize("line", SAMPLE)
def test_killed_at_some_journal_lines_and_run_again(line: int) -> None:
    holds_after_a_kill_at(line)


@pytest.mark.chaos
@pytest.mark.parametrize("first", [0, 1])
def test_killed_at_every_other_journal_line_and_run_again(first: int, tell_lines: TellLines) -> None:
    """Until nothing is cut off any more. In two parts, which can run side by side."""
    for times, line in enumerate(line for line in range(first, 1000, 2) if line not in SAMPLE):
        if not holds_after_a_kill_at(line):
            tell_lines(times)
            return
    raise AssertionError("it never ends")


@pytest.fixture
def large() -> Iterator[Cluster]:
    """A primary with a database that takes a moment to copy, by pg_basebackup; the standby is still to be made."""
    with Cluster(standbys=0) as cluster:
        cluster.up()
        cluster.restart_by_a_link("db1")
        cluster.sql("db1", "CREATE TABLE big AS SELECT g, repeat('x', 500) AS text FROM generate_series(1, 700000) g")
        cluster.write_row("before the copy")
        yield cluster


def copying(cluster: Cluster) -> int | None:
    """The process id of a pg_basebackup of this cluster."""
    return next((pid for pid, words in cluster.processes().items() if "pg_basebackup" in words.split(" ")[0]), None)


def add_standby(cluster: Cluster) -> None:
    from support.clusters import free_ports

    cluster.nodes["db2"] = {"port": free_ports(1)[0]}
    cluster.write()


def test_ctrl_c_in_the_middle_of_a_base_backup(large: Cluster) -> None:
    add_standby(large)
    running = large.start("apply", "--yes")
    wait_until(lambda: copying(large), "the copy is under way", 60)
    pid = copying(large)
    running.interrupt()
    done = running.end(60)
    assert done.exit_code == 130, done.said
    assert "interrupted" in done.err
    assert "run the same command again" in done.err
    assert "Traceback" not in done.said
    assert pid is None or not alive(pid)
    assert not large.data("db2").exists()
    assert large.leftovers() == []
    large.apply()
    large.shows_row("db2", "before the copy")


def test_killed_in_the_middle_of_a_base_backup_whose_copy_goes_on(large: Cluster) -> None:
    add_standby(large)
    running = large.start("apply", "--yes")
    wait_until(lambda: copying(large), "the copy is under way", 60)
    orphan = copying(large)
    assert orphan is not None
    os.kill(orphan, signal.SIGSTOP)
    running.kill()
    assert large.leftovers()
    os.kill(orphan, signal.SIGCONT)
    large.apply()
    large.shows_row("db2", "before the copy")
    wait_until(lambda: not alive(orphan), "the orphan has ended", 60)
    large.converged()


def test_the_primary_killed_in_the_middle_of_a_base_backup(large: Cluster) -> None:
    add_standby(large)
    running = large.start("apply", "--yes")
    wait_until(lambda: copying(large), "the copy is under way", 60)
    large.kill_server("db1")
    done = running.end(120)
    assert done.exit_code == 13, done.said
    assert "[PT-4006]" in done.err
    assert large.leftovers() == []
    large.apply()
    large.shows_row("db2", "before the copy")


def test_a_killed_primary_and_a_killed_standby_are_started_again() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.write_row("acknowledged")
        for name in ("db1", "db2"):
            cluster.kill_server(name)
            assert cluster.run("status").exit_code == 2
            assert cluster.run("plan").exit_code == 2
            cluster.apply()
            cluster.shows_row(name, "acknowledged")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_disk_full_while_copying(large: Cluster) -> None:
    small = large.base / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m,mode=1777", "tmpfs", str(small)], check=True)
    try:
        large.nodes["db2"] = {"port": 0, "data_directory": str(small / "db2")}
        from support.clusters import free_ports

        large.nodes["db2"]["port"] = free_ports(1)[0]
        large.write()
        # There is room when the plan is made; then somebody else fills the disk.
        filler = small / "filler"
        running = large.start("apply", "--yes")
        wait_until(lambda: copying(large), "the copy is under way", 60)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 1024 * 1024):
                pass
        done = running.end(120)
        assert done.exit_code == 13, done.said
        assert "[PT-4006]" in done.err
        assert "No space left" in done.err
        assert "make room" in done.err
        assert [path.name for path in small.iterdir()] == ["filler"], "the copy's space is given back"
        refused = large.run("plan")
        refused.refused("PT-3009", 12)
        filler.unlink()
        large.apply()
        large.shows_row("db2", "before the copy")
    finally:
        large.destroy()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_the_second_of_two_says_who_holds_the_lock_and_since_when(large: Cluster) -> None:
    add_standby(large)
    first = large.start("apply", "--yes")
    wait_until(lambda: copying(large), "the copy is under way", 60)
    second = large.run("apply", "--yes")
    words = second.refused("PT-5001", 14)
    assert '"apply"' in words
    assert str(first.process.pid) in words
    assert "since" in words
    assert first.end().exit_code == 0
    large.converged()
