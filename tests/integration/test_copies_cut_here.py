"""Copies on one machine that were cut: the next run goes on with what is there, and nothing of it counts unseen."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.test_copies import KERNEL, add, checksums_fit, churn
from pgtandem.postgres.half_programs import MAKE_SAME
from support.clusters import Cluster
from support.processes import children
from support.program import Running
from support.said_sizes import sizes_said
from support.servers import wait_until
from support.writer import Writer

_MEGABYTE = 1024 * 1024
#: Four rows a page, no two of which are the same.
_ROWS = "SELECT g AS id, repeat(md5(g::text || random()), 55) AS text FROM generate_series(1, {}) AS series(g)"
_TABLES = ("big", "shrunk", "note")


@pytest.fixture
def large() -> Iterator[Cluster]:
    """A primary of some 130 MB, without a standby."""
    with Cluster(standbys=0) as cluster:
        cluster.up()
        cluster.sql("db1", f"CREATE TABLE big AS {_ROWS.format(45_000)}")
        cluster.sql("db1", f"CREATE TABLE shrunk AS {_ROWS.format(2_000)}")
        cluster.sql("db1", f"CREATE TABLE gone AS {_ROWS.format(300)}")
        cluster.write_row("before the copy")
        cluster.sql("db1", "VACUUM FREEZE")  # or the first who reads a page changes it
        cluster.sql("db1", "CHECKPOINT")
        yield cluster


def file_of(cluster: Cluster, table: str) -> str:
    return str(cluster.sql("db1", f"SELECT pg_relation_filepath('{table}')"))


def has_the_same_rows(cluster: Cluster, node: str = "db2") -> None:
    """Once it has all; and the server, which compares checksums, can read every page."""
    cluster.write_row("after the copy")
    cluster.shows_row(node, "after the copy")
    for table in _TABLES:
        query = f"SELECT count(*) || ' ' || coalesce(sum(hashtext(t::text)::bigint), 0) FROM {table} AS t"
        assert cluster.sql(node, query) == cluster.sql("db1", query), table
    checksums_fit(cluster, node)


def is_the_same(cluster: Cluster, node: str = "db2") -> None:
    """Row for row; and every page of every file has its checksum."""
    has_the_same_rows(cluster, node)
    cluster.converged()
    cluster.stop_server(node)
    wait_until(lambda: not (cluster.data(node) / "postmaster.pid").exists(), f"{node} has stopped", 60)
    cluster.program("pg_checksums", "--check", "-D", str(cluster.data(node)))
    cluster.apply()


def test_a_half_of_an_older_start_is_gone_on_with_and_nothing_of_it_is_believed(large: Cluster) -> None:
    """It has whatever a half-made copy can have: files that are cut off, that have changed since, that are gone at the
    source, a label, WAL, a control file, and links into the data of the primary."""
    data, half = large.data("db1"), large.data("db2").with_name("db2.pgtandem-new.earlier")
    large.sql("db1", "CREATE TABLE filler AS SELECT 1")
    shutil.copytree(data, half, symlinks=True, ignore=shutil.ignore_patterns("postmaster.*", "*.s.PGSQL*"))
    big, gone, note = (half / file_of(large, table) for table in ("big", "gone", "note"))
    os.truncate(big, big.stat().st_size * 3 // 4)
    with big.open("r+b") as file:
        file.seek(20 * _MEGABYTE + 5000)
        file.write(b"what no checksum fits")
    note.unlink()
    os.link(data / file_of(large, "note"), note)
    (half / "backup_label").write_text("START WAL LOCATION: 0/1000028 (file 000000010000000000000000)\n")
    (half / "pg_wal/000000010000000000000002").write_bytes(b"stale")
    (half / "pgtandem_of_before").write_bytes(b"stale")
    (half / "base/of_before").symlink_to(data / "base")
    for path in (half, *half.rglob("*")):
        if not path.is_symlink() and (path.is_dir() or path.stat().st_nlink == 1):
            large.own(path)
    large.sql("db1", "UPDATE big SET text = 'changed since' WHERE id BETWEEN 20000 AND 20100")
    large.sql("db1", "DELETE FROM shrunk WHERE id > 50")
    large.sql("db1", "VACUUM shrunk")
    large.sql("db1", "DROP TABLE gone")
    large.sql("db1", "CHECKPOINT")
    add(large, "db2")
    shown = " ".join(large.run("plan").out.split())
    assert re.search(r"The copy of db2 goes on with a half-made copy, [\d.]+ MB( of [\d.]+ MB)?; all of it is", shown)
    said = large.ok("apply", "--yes").out
    assert KERNEL.search(said), said
    sent, total = sizes_said(said)
    assert sent < total // 2, said
    assert not any((large.data("db2") / path.relative_to(half)).exists() for path in (gone, half / "base/of_before"))
    assert not (large.data("db2") / "pgtandem_of_before").exists()
    assert large.leftovers() == []
    has_the_same_rows(large)


def made(cluster: Cluster) -> int:
    """How many megabytes the half-made copies have."""
    size = 0
    for folder in cluster.leftovers():
        for at, _, names in os.walk(folder):
            for name in names:
                with suppress(FileNotFoundError):
                    size += (Path(at) / name).stat().st_size
    return size // _MEGABYTE


def copying(pid: int) -> list[int]:
    """The programs of a run that write copies."""
    found = []
    for child in children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if words[0] in (b"cp", b"dd") or MAKE_SAME.encode() in words:
                found.append(child)
    return found


def seen(running: Running, programs: int) -> bool:
    """Waits until so many programs of a run have copied or compared; False where it was done before."""
    pids: set[int] = set()

    def enough() -> bool:
        pids.update(copying(running.process.pid))
        return len(pids) >= programs or not running.alive

    wait_until(enough, f"{programs} programs have copied", 60)
    return running.alive


def kill(running: Running) -> None:
    """kill -9 of pgtandem alone. What it had started goes on, but for one program, which is held up: a copy is under
    way for as long as the next run lets it be."""
    orphans = copying(running.process.pid)
    for pid in orphans[:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    running.kill()


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_pgtandem_killed_at_many_points_of_a_copy_makes_a_standby_in_the_end(large: Cluster) -> None:
    """The primary writes all the time, and the next run begins at once."""
    large.replication["max_copy_rate"] = "60MB"
    add(large, "db2")
    cuts = 0
    with Writer(large) as writer, churn(large):
        running = large.start("apply", "--yes")
        wait_until(lambda: made(large) >= 80 or not running.alive, "80 MB", 60)
        assert running.alive, running.out
        kill(running)
        before = large.leftovers()
        running = large.start("apply", "--yes")
        wait_until(lambda: large.leftovers() != before or not running.alive, "it is taken over", 60)
        kill(running)
        for programs in (1, 2, 3, 4, 5, 6):
            running = large.start("apply", "--yes")
            if not seen(running, programs):
                break
            cuts += 1
            kill(running)
            assert not large.data("db2").exists()
            assert len(large.leftovers()) == 1
        else:
            running = large.start("apply", "--yes")
        said = running.end(120).out
        writer.goes_on()
    assert cuts >= 3
    sent, total = sizes_said(said)
    assert sent < total, said
    large.replication.pop("max_copy_rate")
    large.apply()
    writer.everything_is_on("db2")
    is_the_same(large)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_copy_whose_programs_are_killed_again_and_again_is_gone_on_with(large: Cluster) -> None:
    """kill -9 of whatever copies, or compares, a little later each time."""
    large.replication["max_copy_rate"] = "60MB"
    add(large, "db2")
    cuts = 0
    for programs in (0, 1, 3, 5, 7):
        running = large.start("apply", "--yes")
        if cuts == 0:
            wait_until(lambda running=running: made(large) >= 80 or not running.alive, "80 MB", 60)
        else:
            seen(running, programs)
        found: list[int] = []
        while running.alive and not found:
            found = copying(running.process.pid)
        for pid in found[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        done = running.end(120)
        if done.exit_code == 0:
            break  # the signal came after the last one
        assert "could not copy db1 to db2" in done.refused("PT-4006", 13)
        assert not large.data("db2").exists()
        assert len(large.leftovers()) == 1
        cuts += 1
    assert cuts >= 3
    if not large.data("db2").exists():
        sent, total = sizes_said(large.ok("apply", "--yes").out)
        assert sent < total // 2
    large.replication.pop("max_copy_rate")
    large.apply()
    is_the_same(large)


@pytest.mark.chaos
def test_ctrl_c_leaves_what_the_next_run_goes_on_with(large: Cluster) -> None:
    large.replication["max_copy_rate"] = "40MB"
    add(large, "db2")
    running = large.start("apply", "--yes")
    wait_until(lambda: made(large) >= 80, "80 MB are copied", 60)
    running.interrupt()
    assert running.end(60).exit_code == 130
    assert len(large.leftovers()) == 1
    large.replication.pop("max_copy_rate")
    large.write()
    sent, total = sizes_said(large.ok("apply", "--yes").out)
    assert sent < total // 2
    is_the_same(large)


@pytest.mark.chaos
def test_rejoin_by_a_copy_that_was_killed_is_gone_on_with_and_the_old_data_stays(large: Cluster) -> None:
    add(large, "db2")
    large.apply()
    large.replication["max_copy_rate"] = "40MB"
    large.write()
    running = large.start("rejoin", "db2", "--copy", "--yes")
    wait_until(lambda: made(large) >= 80, "80 MB are copied", 60)
    running.kill()
    assert (large.data("db2") / "PG_VERSION").exists()
    large.replication.pop("max_copy_rate")
    large.write()
    done = large.ok("rejoin", "db2", "--copy", "--yes")
    sent, total = sizes_said(done.out)
    assert sent < total // 2
    assert "goes on with a half-made copy" in " ".join(done.out.split())
    large.apply()
    is_the_same(large)


@pytest.mark.chaos
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_disk_full_while_a_half_is_gone_on_with_gives_its_room_back(large: Cluster) -> None:
    small = large.base / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=1777", "tmpfs", str(small)], check=True)
    try:
        large.replication["max_copy_rate"] = "40MB"
        add(large, "db2", data_directory=str(small / "db2"))
        running = large.start("apply", "--yes")
        wait_until(lambda: made(large) >= 80, "80 MB are copied", 60)
        running.interrupt()
        assert running.end(60).exit_code == 130
        assert len(large.leftovers()) == 1
        running = large.start("apply", "--yes")
        wait_until(lambda: copying(running.process.pid), "it compares", 60)
        filler = small / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * _MEGABYTE):
                pass
        assert "No space left" in running.end(120).refused("PT-4006", 13)
        assert [path.name for path in small.iterdir()] == ["filler"], "the copy's space is given back"
        filler.unlink()
        large.replication.pop("max_copy_rate")
        large.apply()
        is_the_same(large)
    finally:
        large.destroy()
        subprocess.run(["umount", "-l", str(small)], check=True)
