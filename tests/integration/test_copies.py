"""Copies of nodes: by the kernel on one host, by pg_basebackup elsewhere; whole, and no faster than allowed."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pgtandem.postgres.base_backup import LISTING_FORMAT, Tree, tree_of
from pgtandem.postgres.queries import BACKUP_SESSION
from support.clusters import Cluster, free_ports, installation
from support.installations import PACKAGED_MAJORS, Installation, client_programs, packaged
from support.processes import alive, children
from support.servers import wait_until
from support.writer import Writer

#: Before 12 a standby has a recovery.conf, before 15 a backup is started by another function.
EVERY_TIME = (11, 18)
_BACKUPS = f"pg_stat_activity WHERE application_name = '{BACKUP_SESSION}'"
KERNEL = re.compile(r"(\d+) files by the kernel on local; each has its size")


def _installation(major: int) -> Installation:
    try:
        return packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture(
    params=[
        pytest.param(major, id=str(major), marks=() if major in EVERY_TIME else pytest.mark.chaos)
        for major in range(10, 19)
    ]
)
def on(request: pytest.FixtureRequest) -> Installation:
    return _installation(request.param)


def add(cluster: Cluster, name: str, **keys: object) -> None:
    cluster.nodes[name] = {"port": free_ports(1)[0], **keys}
    cluster.write()


def fill(cluster: Cluster, rows: int) -> None:
    """About 580 bytes a row."""
    cluster.sql(
        "db1", f"CREATE TABLE big AS SELECT g, repeat('x', 500) AS text FROM generate_series(1, {rows}) AS series(g)"
    )


def under_way(cluster: Cluster, name: str = "db2") -> bool:
    """Whether files of a half-made copy are there."""
    return any(list(Path(leftover).glob("base/*/*")) for leftover in cluster.leftovers() if f"/{name}." in leftover)


@contextmanager
def churn(cluster: Cluster) -> Iterator[None]:
    """Tables come, shrink, grow, are rewritten and go, all the time."""
    end = threading.Event()
    statements = (
        "CREATE TABLE passing_{0} AS SELECT * FROM generate_series(1, 20000) AS series(g)",
        "DELETE FROM passing_{0} WHERE g > 100",
        "VACUUM passing_{0}",
        "INSERT INTO passing_{0} SELECT * FROM generate_series(1, 5000)",
        "VACUUM FULL passing_{0}",
        "TRUNCATE passing_{0}",
        "DROP TABLE passing_{0}",
        "CHECKPOINT",
    )

    def run() -> None:
        with cluster.connect("db1") as connection:
            number = 0
            while not end.is_set():
                number += 1
                for statement in statements:
                    connection.execute(statement.format(number).encode())
                    end.wait(0.1)  # a standby must be able to keep up, also on a busy machine

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(60)


def checksums_fit(cluster: Cluster, node: str) -> None:
    """Every page is read by the server, which compares its checksum."""
    for (table,) in cluster.rows(
        node, "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p'"
    ):
        cluster.sql(node, f"SELECT count(*) FROM (SELECT t.* FROM {table} AS t) AS every")


def test_standby_copied_while_everything_changes_has_every_row_and_sound_pages(on: Installation) -> None:
    with Cluster(standbys=0, on=on, replication={"max_copy_rate": "15MB"}) as cluster:
        cluster.up()
        fill(cluster, 20_000)
        cluster.sql("db1", "CREATE UNLOGGED TABLE unlogged AS SELECT * FROM big")
        folder = cluster.base / "wal"
        folder.mkdir(mode=0o755)
        cluster.own(folder)
        add(cluster, "db2", wal_directory=str(folder / "db2"))
        with Writer(cluster) as writer, churn(cluster):
            said = cluster.ok("apply", "--yes").out
            writer.goes_on()
        assert KERNEL.search(said), said
        cluster.converged()
        writer.everything_is_on("db2")
        assert cluster.sql("db2", "SELECT count(*) FROM big") == 20_000
        if on.major >= 14:
            assert cluster.setting("db2", "recovery_init_sync_method") == "syncfs"
        checksums_fit(cluster, "db2")
        assert (cluster.data("db2") / "pg_wal").readlink() == folder / "db2"
        unlogged = cluster.sql("db1", "SELECT pg_relation_filepath('unlogged')")
        assert {path.name for path in cluster.data("db2").glob(f"{unlogged}*")} == {
            Path(f"{unlogged}_init").name,
            *([Path(unlogged).name] if (cluster.data("db2") / unlogged).exists() else []),
        }
        assert backups(cluster) == 0


def listed(folder: Path) -> Tree:
    found = subprocess.run(["find", folder, "-printf", LISTING_FORMAT], check=True, capture_output=True)
    return tree_of(found.stdout)


def test_what_is_copied_is_what_pg_basebackup_copies(on: Installation) -> None:
    if on.major < 11:
        pytest.skip("before 11 pg_basebackup copies temporary and unlogged tables too")
    with Cluster(standbys=0, on=on, archive=False) as cluster:
        cluster.up()
        cluster.sql("db1", "CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS one")
        with cluster.connect("db1") as connection:
            connection.execute("CREATE TEMP TABLE passing AS SELECT 1 AS one")
            connection.execute("CHECKPOINT")
            copy = cluster.base / "copy"
            copy.mkdir()
            cluster.own(copy)
            port, password = str(cluster.port("db1")), cluster.password()
            subprocess.run(
                [client_programs(on) / "pg_basebackup", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-D", copy,
                 "-X", "none", "--checkpoint=fast", "--no-sync"],
                env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin"}, check=True, capture_output=True, timeout=60,
            )  # fmt: skip
            trees = [listed(folder) for folder in (cluster.data("db1"), copy)]
    assert trees[0].files == trees[1].files
    assert set(trees[0].folders) >= set(trees[1].folders) - {"pg_wal/summaries"}


@pytest.fixture
def large() -> Iterator[Cluster]:
    """A primary of 60 MB, which may be copied at 20 MB a second; the standby is still to be made."""
    with Cluster(standbys=0, replication={"max_copy_rate": "20MB"}) as cluster:
        cluster.up()
        fill(cluster, 60_000)
        cluster.write_row("before the copy")
        yield cluster


def is_made_in_the_end(cluster: Cluster, name: str = "db2") -> None:
    """The same command again makes the copy, and no backup goes on."""
    wait_until(lambda: not backups(cluster), "no session has a backup", 30)
    cluster.replication["max_copy_rate"] = "1GB"
    cluster.apply()
    cluster.shows_row(name, "before the copy")
    checksums_fit(cluster, name)


def backups(cluster: Cluster) -> int:
    """Sessions on the primary that have started a backup, and have not ended it."""
    return int(cluster.sql("db1", f"SELECT count(*) FROM {_BACKUPS}"))


@pytest.mark.chaos
def test_limit_is_kept_and_a_pipe_gets_plain_lines(large: Cluster) -> None:
    large.replication["max_copy_rate"] = "5MB"
    add(large, "db2")
    began = time.monotonic()
    done = large.ok("apply", "--yes")
    assert time.monotonic() - began > 60_000 * 500 / (5 * 1024**2)
    assert re.search(
        r"^\.\.\.    db2  copying: [0-9.]+ MB of [0-9.]+ MB, [0-9.]+ MB/s, \d+ s left$", done.out, re.MULTILINE
    )
    large.converged()


def test_killed_while_files_are_copied(large: Cluster) -> None:
    add(large, "db2")
    running = large.start("apply", "--yes")
    wait_until(lambda: under_way(large), "the copy is under way", 60)
    assert backups(large) == 1
    running.kill()
    assert not large.data("db2").exists()
    assert large.leftovers()
    is_made_in_the_end(large)


@pytest.mark.chaos
def test_ctrl_c_while_files_are_copied(large: Cluster) -> None:
    add(large, "db2")
    running = large.start("apply", "--yes")
    wait_until(lambda: under_way(large), "the copy is under way", 60)
    running.interrupt()
    done = running.end(60)
    assert done.exit_code == 130, done.said
    assert not large.data("db2").exists()
    assert large.leftovers() == []
    is_made_in_the_end(large)


def test_primary_killed_while_files_are_copied(large: Cluster) -> None:
    add(large, "db2")
    running = large.start("apply", "--yes")
    wait_until(lambda: under_way(large), "the copy is under way", 60)
    large.kill_server("db1")
    words = running.end(120).refused("PT-4006", 13)
    assert "could not copy db1 to db2" in words
    assert not large.data("db2").exists()
    assert large.leftovers() == []
    large.replication["max_copy_rate"] = "1GB"
    large.apply()
    large.shows_row("db2", "before the copy")


def test_backup_that_somebody_ends_makes_no_standby(large: Cluster) -> None:
    add(large, "db2")
    running = large.start("apply", "--yes")
    wait_until(lambda: under_way(large), "the copy is under way", 60)
    large.sql("db1", f"SELECT pg_terminate_backend(pid) FROM {_BACKUPS}")
    assert "could not copy db1 to db2" in running.end(120).refused("PT-4006", 13)
    assert not large.data("db2").exists()
    is_made_in_the_end(large)


@pytest.mark.chaos
def test_killed_cp_makes_no_standby(large: Cluster) -> None:
    """kill -9 of whatever program copies at the moment."""
    large.replication["max_copy_rate"] = "40MB"
    add(large, "db2")
    running = large.start("apply", "--yes")
    killed = 0
    while running.alive and not killed:
        for pid in children(running.process.pid):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[0] in (b"cp", b"dd"):
                    os.kill(pid, signal.SIGKILL)
                    killed = pid
            except (FileNotFoundError, ProcessLookupError):
                continue
    assert killed, "no cp was seen"
    done = running.end(120)
    # One that was done already when the signal came has done no harm.
    if done.exit_code:
        assert "could not copy db1 to db2" in done.refused("PT-4006", 13)
        assert not large.data("db2").exists()
    wait_until(lambda: not alive(killed), "cp is gone")
    is_made_in_the_end(large)


@pytest.mark.chaos
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_disk_full_while_files_are_copied(large: Cluster) -> None:
    small = large.base / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,mode=1777", "tmpfs", str(small)], check=True)
    try:
        add(large, "db2", data_directory=str(small / "db2"))
        filler = small / "filler"
        running = large.start("apply", "--yes")
        wait_until(lambda: under_way(large), "the copy is under way", 60)
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 1024 * 1024):
                pass
        words = running.end(120).refused("PT-4006", 13)
        assert "No space left" in words
        assert "make room" in words
        assert [path.name for path in small.iterdir()] == ["filler"], "the copy's space is given back"
        filler.unlink()
        is_made_in_the_end(large)
    finally:
        large.destroy()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_standby_promoted_while_it_is_copied_makes_no_standby(large: Cluster) -> None:
    large.replication["max_copy_rate"] = "1GB"
    add(large, "db2")
    large.apply()
    large.replication["max_copy_rate"] = "20MB"
    add(large, "db3", upstream="db2")
    running = large.start("apply", "--yes")
    wait_until(lambda: under_way(large, "db3"), "the copy is under way", 60)
    large.sql("db2", "SELECT pg_promote(true)")
    words = running.end(120).refused("PT-4006", 13)
    assert "promoted during online backup" in words
    assert not large.data("db3").exists()
    assert large.leftovers() == []


def test_where_the_kernel_cannot_copy_pg_basebackup_does_and_its_manifest_is_checked(large: Cluster) -> None:
    large.replication["max_copy_rate"] = "1GB"
    large.restart_by_a_link("db1")
    add(large, "db2")
    said = large.ok("apply", "--yes").out
    # pg_verifybackup of the embedded 18 crashes.
    assert re.search(r"\d+ files by pg_basebackup; each has its size by the server's manifest", said), said
    assert "not by the kernel: the server says that its data directory is" in said
    large.shows_row("db2", "before the copy")


@contextmanager
def spoiling(on: Installation, spoil: str) -> Iterator[Cluster]:
    """A primary that the kernel cannot copy, and a pg_basebackup after which `spoil` runs in the copy."""
    with Cluster(standbys=0, on=on, archive=False) as cluster:
        programs = cluster.base / "programs"
        programs.mkdir(mode=0o755)
        for path in on.programs.iterdir():
            (programs / path.name).symlink_to(path)
        spoiled = programs / "pg_basebackup"
        spoiled.unlink()
        spoiled.write_text(
            f'#!/bin/sh\n"{on.programs}/pg_basebackup" "$@" || exit\n'
            f'while [ "$1" != -D ]; do shift; done\ncd "$2" && {spoil}\n'
        )
        spoiled.chmod(0o755)
        cluster.topology["cluster"]["binaries"] = str(programs)
        cluster.write()
        cluster.up()
        cluster.restart_by_a_link("db1")
        add(cluster, "db2")
        yield cluster


def test_copy_that_lacks_what_the_manifest_names_is_refused() -> None:
    with spoiling(installation(18), ": >global/pg_filenode.map") as cluster:
        words = cluster.run("apply", "--yes").refused("PT-4006", 13)
        assert "global/pg_filenode.map has 0 bytes and not" in " ".join(words.split())
        assert not cluster.data("db2").exists()
        assert cluster.leftovers() == []


def test_copy_with_other_content_than_the_manifest_has_is_refused() -> None:
    another_byte = "printf x | dd of=global/pg_filenode.map bs=1 seek=40 conv=notrunc 2>&1"
    with spoiling(installation(16), f"[ ! -e ../../spoil ] || {another_byte}") as cluster:
        marker = cluster.folder / "spoil"
        marker.touch()
        words = cluster.run("apply", "--yes").refused("PT-4006", 13)
        assert 'checksum mismatch for file "global/pg_filenode.map"' in " ".join(words.split())
        assert not cluster.data("db2").exists()
        assert cluster.leftovers() == []
        marker.unlink()
        said = cluster.ok("apply", "--yes").out
        assert re.search(r"\d+ files by pg_basebackup; each has its size and its checksum by the server's", said), said
        cluster.write_row("after the copy", "db1")
        cluster.shows_row("db2", "after the copy")
