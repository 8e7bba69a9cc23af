"""Backups that are compressed, and of nodes with tablespaces and pg_wal elsewhere: back by pgtandem, and by hand."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.test_restore import ask, remove
from support.clusters import Cluster, free_ports
from support.servers import wait_until


@pytest.fixture(scope="module")
def spread() -> Iterator[Cluster]:
    """A node whose WAL and one table are elsewhere, and a backup of it, compressed."""
    with Cluster(standbys=0) as cluster:
        for name in ("space", "wal"):
            (cluster.base / name).mkdir()
            cluster.own(cluster.base / name)
        cluster.topology["archive"]["compression"] = "zstd"
        cluster.nodes["db1"]["wal_directory"] = str(cluster.base / "wal" / "db1")
        cluster.write()
        cluster.up()
        run(cluster, f"CREATE TABLESPACE fast LOCATION '{cluster.base / 'space' / 'fast'}'")
        run(cluster, "CREATE TABLE far TABLESPACE fast AS SELECT generate_series(1, 20000) AS number")
        cluster.ok("backup", "--yes")
        run(cluster, "INSERT INTO far VALUES (0)")
        yield cluster


def run(cluster: Cluster, statement: str) -> None:
    for place in cluster.base.glob("space"):
        (place / "fast").mkdir(exist_ok=True)
        cluster.own(place / "fast")
    with cluster.connect("db1") as connection:
        connection.autocommit = True
        connection.execute(statement.encode())


def archived(cluster: Cluster) -> None:
    run(cluster, "SELECT pg_logical_emit_message(true, 'test', 'something')")
    ((segment,),) = cluster.rows("db1", "SELECT pg_walfile_name(pg_switch_wal())")
    wait_until(lambda: f"{segment}.zst" in cluster.archived(), f"{segment} is archived", 60)


def backup(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.ok("backup", "list", "--json").out)["backups"][-1]
    return found


def test_every_tar_is_compressed_and_each_file_is_as_the_server_sent_it(spread: Cluster) -> None:
    folder = Path(backup(spread)["folder"])
    tars = [path.name for path in folder.iterdir() if ".tar" in path.name]
    assert len(tars) == 3
    assert all(name.endswith(".tar.zst") for name in tars)
    assert "files are as the server sent them" in spread.ok("backup", "verify").out


@pytest.mark.chaos
def test_a_copy_beside_has_tablespaces_and_wal_of_its_own(spread: Cluster) -> None:
    archived(spread)
    done = spread.ok("restore", "--to", "latest", "--promote", "--yes")
    assert ask(spread, done, "SELECT count(*) FROM far") == [20001]
    ask(spread, done, "INSERT INTO far VALUES (-1) RETURNING 1")
    (where,) = ask(spread, done, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'")
    assert ".tablespaces/" in where
    assert done.out.partition("end:")[2].rstrip().endswith(f" and {where}"), "and not what may lie beside it"
    assert spread.rows("db1", "SELECT count(*) FROM far") == [(20001,)]
    remove(spread)
    spread.ok("drill", "--query", "SELECT count(*) FROM far", "--yes")
    assert not list((spread.folder / "data").glob("*-drill*"))
    spread.converged()


def test_it_can_be_restored_by_hand_as_its_folder_says(spread: Cluster) -> None:
    """With the commands of RESTORE.txt."""
    archived(spread)
    about = backup(spread)
    folder = Path(about["folder"])
    lines = (folder / "RESTORE.txt").read_text().splitlines()
    commands = [line.strip() for line in lines if line.startswith("    ") and (" tar " in line or " -m 700 " in line)]
    (restore,) = [line.strip() for line in lines if "restore_command = " in line]
    hand = spread.base / "hand"
    hand.mkdir()
    data, port = hand / "data", free_ports(1)[0]
    script = " && ".join(commands).replace("DATA", str(data)).replace("TABLESPACE-", f"{hand}/space-")
    subprocess.run(["sh", "-c", script], cwd=folder, check=True)
    (space,) = hand.glob("space-*")
    (data / "tablespace_map").write_text(f"{space.name.removeprefix('space-')} {space}\n")
    (data / "recovery.signal").touch()
    settings = [
        restore,
        "archive_mode = off",
        f"port = {port}",
        "primary_conninfo = ''",
        "unix_socket_directories = ''",
    ]
    with (data / "postgresql.auto.conf").open("a") as text:
        text.write("\n".join(settings) + "\n")
    subprocess.run(["chown", "-R", "--reference", str(spread.data("db1")), str(hand)], check=True)
    try:
        spread.program("pg_ctl", "start", "-w", "-D", str(data), "-l", str(hand / "log"))
        with psycopg.connect(
            host="127.0.0.1", port=port, user="postgres", dbname="postgres", password=spread.password()
        ) as connection:
            assert connection.execute("SELECT count(*) FROM far").fetchone() == (20001,)
    finally:
        spread.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(data))
        shutil.rmtree(hand)


def test_a_tablespace_that_is_younger_than_the_backup_is_not_written_into(spread: Cluster) -> None:
    """WAL that tells of its making would make it at the same path, in the files of the cluster that runs."""
    other = spread.base / "space" / "younger"
    other.mkdir()
    spread.own(other)
    run(spread, f"CREATE TABLESPACE younger LOCATION '{other}'")
    run(spread, "CREATE TABLE precious TABLESPACE younger AS SELECT generate_series(1, 1000) AS number")
    archived(spread)
    for words in (("restore", "--to", "latest"), ("drill",), ("restore", "--to", "latest", "--node", "db1")):
        assert "is older than the tablespace" in spread.run(*words, "--yes").refused("PT-3057", 12)
    run(spread, "DROP TABLE precious")
    run(spread, "DROP TABLESPACE younger")


def test_what_cannot_be_renamed_is_told_before_anything_is_stopped_or_restored(spread: Cluster) -> None:
    """The folder of a tablespace stands where only root may write, as many do."""
    began, above = spread.started_at("db1"), spread.base / "space"
    mode = above.stat().st_mode
    above.chmod(0o555)
    try:
        refused = spread.run("restore", "--to", "latest", "--node", "db1", "--yes").refused("PT-3056", 12)
    finally:
        above.chmod(mode)
    assert f"what is in {above / 'fast'} cannot be replaced" in refused
    assert "--into DIR" in refused
    assert spread.started_at("db1") == began
    assert [path.name for path in (spread.folder / "data").iterdir() if "restored" in path.name] == []


@pytest.mark.chaos
def test_a_copy_beside_does_not_take_the_place_of_a_node_with_tablespaces(spread: Cluster) -> None:
    """Its tablespace and its WAL are elsewhere: those that the node has would have become a part of it."""
    archived(spread)
    spread.ok("restore", "--to", "latest", "--promote", "--yes")
    refused = spread.run("restore", "--to", "latest", "--node", "db1", "--yes")
    assert "was not made to take the place of db1" in refused.refused("PT-3055", 12)
    assert spread.rows("db1", "SELECT count(*) FROM far") == [(20001,)]
    remove(spread)


@pytest.mark.chaos
def test_a_restore_that_was_cut_off_names_every_folder_that_it_left(spread: Cluster) -> None:
    """Who gives it up removes what is named: the copies of tablespaces and WAL were left for ever."""
    archived(spread)
    moment = str(spread.sql("db1", "SELECT clock_timestamp()"))
    archived(spread)
    command = ["restore", "--to", moment, "--node", "db1", "--yes"]
    running = spread.start(*command)
    wait_until(lambda: "done   restored  unpack" in running.out, "it is unpacked", 120)
    running.kill()
    (beside,) = [path for path in (spread.folder / "data").glob("db1-restored-*") if path.suffix != ".log"]
    ending = beside.name.removeprefix("db1")
    said = "".join(spread.run("status").out.split())
    for left in (beside, spread.base / "space" / f"fast{ending}", spread.base / "wal" / f"db1{ending}"):
        assert left.is_dir()
        assert str(left) in said, said
    done = spread.ok(*command, seconds=300)
    assert "beside its tablespaces and WAL" in done.out
    assert "goes on with it" not in " ".join(spread.run("status").out.split())
    spread.converged()
    spread.ok("backup", "--yes")


@pytest.mark.chaos
def test_a_node_is_replaced_with_its_tablespaces_and_its_wal(spread: Cluster) -> None:
    """And what it had before can be started as it was."""
    archived(spread)
    moment = str(spread.sql("db1", "SELECT clock_timestamp()"))
    before = spread.rows("db1", "SELECT count(*) FROM far")
    run(spread, "INSERT INTO far SELECT generate_series(1, 500)")
    archived(spread)
    done = spread.ok("restore", "--to", moment, "--node", "db1", "--yes", seconds=300)
    assert spread.rows("db1", "SELECT count(*) FROM far") == before
    where = spread.sql("db1", "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'")
    assert where == str(spread.base / "space" / "fast")
    assert (spread.data("db1") / "pg_wal").readlink() == spread.base / "wal" / "db1"
    spread.converged()
    spread.ok("backup", "--yes")
    spread.ok("down", "--yes")
    *_, aside = sorted((spread.folder / "data").glob("db1-before-restore-*"))
    assert str(aside) in done.out
    spread.program("pg_ctl", "start", "-w", "-D", str(aside), "-l", str(spread.base / "space" / "log"))
    try:
        assert spread.rows("db1", "SELECT count(*) FROM far") == [(before[0][0] + 500,)]
    finally:
        spread.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(aside))


def _pair_with_wal_elsewhere(cluster: Cluster) -> None:
    for node in cluster.nodes:
        cluster.nodes[node]["wal_directory"] = str(cluster.base / "wal" / node)
    (cluster.base / "wal").mkdir()
    cluster.own(cluster.base / "wal")
    cluster.write()
    cluster.up()


@pytest.mark.chaos
def test_a_standby_with_wal_elsewhere_is_copied_anew_beside_its_old_data() -> None:
    with Cluster() as cluster:
        _pair_with_wal_elsewhere(cluster)
        cluster.ok("rejoin", "db2", "--copy", "--yes")
        assert cluster.states()["db2"] == ("standby", "streaming")
        cluster.ok("apply", "--yes")
        cluster.converged()
        assert sorted(path.name for path in (cluster.base / "wal").iterdir()) == ["db1", "db2"]
        assert not list((cluster.folder / "data").glob("*.pgtandem-*"))


@pytest.mark.chaos
@pytest.mark.parametrize("line", [0, *range(9, 40, 4)])
def test_killed_anywhere_while_nodes_with_wal_elsewhere_go_back(line: int) -> None:
    """kill -9 of pgtandem; at line 0 it is not killed at all."""
    with Cluster() as cluster:
        _pair_with_wal_elsewhere(cluster)
        cluster.write_row("one")
        cluster.ok("backup", "--yes")
        cluster.write_row("two")
        moment = str(cluster.sql("db1", "SELECT clock_timestamp()"))
        cluster.write_row("a mistake")
        ((segment,),) = cluster.rows("db1", "SELECT pg_walfile_name(pg_switch_wal())")
        wait_until(lambda: segment in cluster.archived(), f"{segment} is archived", 60)
        arguments = ("restore", "--to", moment, "--node", "db1", "--yes")
        if line:
            before = cluster.journal_lines()
            running = cluster.start(*arguments)
            wait_until(lambda: cluster.journal_lines() >= before + line or not running.alive, f"line {line}", 200)
            running.kill()
        cluster.ok(*arguments, seconds=300)
        for name in cluster.nodes:
            assert cluster.rows(name, "SELECT text FROM note ORDER BY ctid") == [("one",), ("two",)]
            assert (cluster.data(name) / "pg_wal").readlink() == cluster.base / "wal" / name
        cluster.converged()
        (aside,) = (cluster.folder / "data").glob("db1-before-restore-*")
        kept = (aside / "pg_wal").readlink()
        assert kept.name == aside.name
        assert list(kept.glob("0000*"))


@contextmanager
def mounted(cluster: Cluster, place: Path, options: str) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        cluster.own(place)
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


@pytest.mark.chaos
@needs_root
@pytest.mark.parametrize("form", ["none", "zstd"])
def test_disk_full_while_a_backup_is_written(form: str) -> None:
    with Cluster() as cluster:
        cluster.topology["archive"]["compression"] = form
        cluster.write()
        cluster.up()
        cluster.ok("backup", "--yes")
        folder = Path(backup(cluster)["folder"]).parent
        kept = {path.name for path in folder.iterdir()}
        moved = cluster.base / "moved"
        folder.rename(moved)
        with mounted(cluster, folder, "size=2m"):
            words = cluster.run("backup", "--yes").refused("PT-4051", 13)
            assert "No space left" in words
            assert "make room" in words
            assert list(folder.iterdir()) == [], "its space is given back"
            cluster.write_row("the server goes on")
        folder.rmdir()
        moved.rename(folder)
        cluster.ok("backup", "--yes")
        assert kept < {path.name for path in folder.iterdir()}
        cluster.ok("backup", "verify")
        cluster.converged()


@pytest.mark.chaos
@needs_root
def test_disk_full_while_a_backup_is_unpacked() -> None:
    """And one that is known to be too small is refused before."""
    with Cluster(standbys=0) as cluster:
        cluster.up()
        cluster.ok("backup", "--yes")
        small = cluster.base / "small"
        order = ("restore", "--to", "latest", "--into", str(small / "copy"), "--yes")
        with mounted(cluster, small, "size=300m,nr_inodes=300"):
            words = cluster.run(*order).refused("PT-4055", 13)
            assert "No space left" in words
            assert "make room" in words
            assert list(small.iterdir()) == [], "its space is given back"
            cluster.write_row("the server goes on")
        with mounted(cluster, small, "size=20m"):
            assert "MB free, and the restore needs" in cluster.run(*order).refused("PT-3009", 12)
        with mounted(cluster, small, "size=300m"):
            cluster.ok(*order)
            cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(small / "copy"))


@pytest.mark.chaos
@needs_root
def test_disk_full_while_wal_is_replayed() -> None:
    """It goes on where it was, once there is room."""
    with Cluster(standbys=0) as cluster:
        cluster.up()
        cluster.ok("backup", "--yes")
        cluster.sql("db1", "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 200000)")
        small = cluster.base / "small"
        order = ("restore", "--to", "latest", "--into", str(small / "copy"), "--yes")
        with mounted(cluster, small, "size=200m"):
            words = cluster.run(*order).refused("PT-4054", 13)
            assert "is full" in words
            assert "make room" in words
            assert "archive verify" not in words
            subprocess.run(["mount", "-o", "remount,size=900m", str(small)], check=True)
            assert "unpack" not in cluster.ok(*order).out
            cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(small / "copy"))


@pytest.mark.chaos
@needs_root
def test_a_folder_that_a_disk_is_mounted_on_is_not_replaced_and_nothing_is_restored() -> None:
    with Cluster(standbys=0) as cluster:
        (cluster.base / "wal").mkdir()
        cluster.own(cluster.base / "wal")
        disk = cluster.base / "wal" / "db1"
        with mounted(cluster, disk, "size=400m,mode=700"):
            cluster.nodes["db1"]["wal_directory"] = str(disk)
            cluster.write()
            cluster.up()
            cluster.write_row("one")
            cluster.ok("backup", "--yes")
            began = cluster.started_at("db1")
            refused = cluster.run("restore", "--to", "latest", "--node", "db1", "--yes").refused("PT-3056", 12)
            assert f"what is in {disk} cannot be replaced" in refused
            assert "--into DIR" in refused
            assert cluster.started_at("db1") == began, "nothing was stopped"
            assert [path.name for path in (cluster.folder / "data").iterdir() if "restored" in path.name] == []
            assert cluster.rows("db1", "SELECT text FROM note") == [("one",)]
            done = cluster.ok("restore", "--to", "latest", "--into", str(cluster.folder / "data/copy"), "--yes")
            assert ask(cluster, done, "SELECT text FROM note") == ["one"]
            cluster.converged()
            cluster.ok("down", "--yes")
            cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(cluster.folder / "data/copy"))


@pytest.mark.chaos
@needs_root
def test_a_standby_with_a_disk_mounted_at_its_wal_is_not_stopped_for_a_copy_that_cannot_be_made() -> None:
    """The old data keeps its WAL under another name, and what a disk is mounted on gets none."""
    with Cluster() as cluster:
        (cluster.base / "wal").mkdir()
        cluster.own(cluster.base / "wal")
        disk = cluster.base / "wal" / "db2"
        with mounted(cluster, disk, "size=400m,mode=700"):
            cluster.nodes["db2"]["wal_directory"] = str(disk)
            cluster.write()
            cluster.up()
            began = cluster.started_at("db2")
            refused = cluster.run("rejoin", "db2", "--copy", "--yes").refused("PT-3023", 12)
            assert f"the WAL directory in {disk} cannot make room for a new copy of db2" in refused
            assert cluster.started_at("db2") == began, "it was not stopped"
            assert cluster.states()["db2"] == ("standby", "streaming")

            # What the message says to do.
            data = Path(cluster.data("db2"))
            cluster.program("pg_ctl", "stop", "-m", "fast", "-w", "-D", str(data))
            data.rename(f"{data}.before")
            for path in disk.iterdir():
                shutil.move(path, cluster.base / path.name)
            cluster.ok("apply", "--yes")
            assert cluster.states()["db2"] == ("standby", "streaming")
            cluster.converged()
            cluster.ok("down", "--yes")
