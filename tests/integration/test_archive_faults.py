"""What happens to an archive under a writer, and what comes back of it: while it lasts, all that came into the archive
before and nothing that is not told as lost; afterwards every row that was acknowledged."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from integration.test_restore import ask
from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT
from support.clusters import Cluster
from support.processes import command_lines
from support.servers import wait_until
from support.writer import Writer

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system, and give a folder away"),
]

Fault = Callable[[Cluster, Path], Iterator[None]]


def _mount(place: Path, *options: str) -> None:
    subprocess.run(["mount", *options, str(place)], check=True)


def _full(cluster: Cluster, folder: Path) -> Iterator[None]:
    """The file system of the archive has no block left."""
    filler = folder.parent.parent / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            pass
    yield
    filler.unlink()


def _read_only(cluster: Cluster, folder: Path) -> Iterator[None]:
    _mount(cluster.base / "disk", "-o", "remount,ro")
    yield
    _mount(cluster.base / "disk", "-o", "remount,rw")


def _gone(cluster: Cluster, folder: Path) -> Iterator[None]:
    kept = folder.rename(folder.with_name("gone"))
    yield
    kept.rename(folder)


def _wrong_owner(cluster: Cluster, folder: Path) -> Iterator[None]:
    info = folder.stat()
    os.chown(folder, 0, 0)
    folder.chmod(0o755)
    yield
    os.chown(folder, info.st_uid, info.st_gid)
    folder.chmod(info.st_mode & 0o777)


def _garbage(cluster: Cluster, folder: Path) -> Iterator[None]:
    """A file that is no WAL is there already, under the name of the segment that is written now."""
    name = str(cluster.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())"))
    path = folder / name
    path.write_bytes(b"garbage" * 1000)
    cluster.own(path)
    yield
    assert path.read_bytes() == b"garbage" * 1000, "it was not written over"
    path.unlink()


def _no_script(cluster: Cluster, folder: Path) -> Iterator[None]:
    """The program that archives was removed from the primary."""
    script = cluster.data("db1") / ARCHIVE_SCRIPT
    script.unlink()
    yield
    assert not script.exists()
    assert cluster.run("plan").exit_code == 2, "it is seen to be missing"
    cluster.ok("apply", "--yes")


@contextmanager
def archiver_killed_again_and_again(cluster: Cluster) -> Iterator[list[int]]:
    """kill -9 of whatever archives at that moment, each time that something does."""
    killed: list[int] = []

    def kill() -> bool:
        cluster.sql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
        for pid, words in command_lines():
            if "archive-wal" in words and str(cluster.base) in words:
                try:
                    os.kill(pid, 9)
                    killed.append(pid)
                except ProcessLookupError:
                    continue
        return len(killed) >= 4

    # Its server waits ten seconds before it starts a killed archiver's successor.
    wait_until(kill, "the archiver was killed four times", 120)
    yield killed


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One node, whose archive is on a small disk of its own, with a backup."""
    with Cluster(standbys=0, parameters={"track_commit_timestamp": "on"}) as made:
        disk = made.base / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=755", "tmpfs", str(disk)], check=True)
        try:
            made.own(disk)
            made.topology["archive"] = {"directory": str(disk / "archive"), "compression": "lz4"}
            made.write()
            made.up()
            made.ok("backup", "--yes")
            yield made
            made.ok("down", "--yes")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def system_folder(cluster: Cluster) -> Path:
    (folder,) = [path for path in (cluster.base / "disk/archive").iterdir() if path.name.isdigit()]
    return folder


def committed(cluster: Cluster) -> list[tuple[int, datetime]]:
    query = "SELECT id, pg_xact_commit_timestamp(xmin) FROM written ORDER BY id"
    return [(number, at) for number, at in cluster.rows("db1", query)]


def interval(cluster: Cluster) -> dict[str, str]:
    (found,) = json.loads(cluster.ok("restore", "--json").out)["intervals"]
    return dict(found)


def restored(cluster: Cluster, name: str, to: str = "latest") -> list[int]:
    into = cluster.folder / "data" / name
    done = cluster.ok("restore", "--to", to, "--into", str(into), "--yes")
    try:
        return [int(number) for number in ask(cluster, done, "SELECT id FROM written ORDER BY id")]
    finally:
        cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(into))


def finished(cluster: Cluster) -> str:
    ((name,),) = cluster.rows(
        "db1", "SELECT pg_walfile_name(pg_switch_wal()) FROM pg_logical_emit_message(true, 'test', 'x')"
    )
    return str(name)


def all_archived(cluster: Cluster) -> None:
    name = finished(cluster)
    there = system_folder(cluster)
    wait_until(lambda: (there / f"{name}.lz4").exists(), f"{name} is archived", 180)


def everything_comes_back(cluster: Cluster, writer: Writer) -> None:
    all_archived(cluster)
    rows = [number for number, _ in committed(cluster)]
    assert set(writer.acknowledged) <= set(rows)
    assert restored(cluster, "afterwards") == rows
    assert cluster.run("archive", "verify").exit_code == 0
    cluster.converged()


#: What the archive command complains of, as status and doctor tell it.
SAID = {
    "_full": "Write error",  # as lz4 calls it
    "_read_only": "Read-only file system",
    "_gone": "archive-wal: the archive",
    "_wrong_owner": "Permission denied",
    "_garbage": "archive-wal: ",
    "_no_script": "pgtandem/archive-wal",
}


@pytest.mark.parametrize(
    "fault", [_full, _read_only, _gone, _wrong_owner, _garbage, _no_script], ids=lambda one: one.__name__[1:]
)
def test_what_the_archive_did_not_take_is_told_and_comes_when_it_does(cluster: Cluster, fault: Fault) -> None:
    with Writer(cluster) as writer:
        writer.goes_on()
        moment = cluster.sql("db1", "SELECT clock_timestamp()")
        writer.goes_on()
        all_archived(cluster)
        writer.goes_on()
        with contextmanager(fault)(cluster, system_folder(cluster)):
            name = finished(cluster)
            cluster.wait_for("db1", "SELECT failed_count > 0 FROM pg_stat_archiver", 60)
            writer.goes_on(100)
            shown = cluster.run("status")
            assert shown.exit_code == 2
            assert "FAILING" in shown.out
            document = json.loads(cluster.run("doctor", "--json").out)
            (why,) = [finding["seen"] for finding in document["findings"] if finding["id"] == "ARC05"]
            said = " ".join(shown.out.split())
            for words in (said[said.index("The archive command says: ") :], why):
                assert SAID[fault.__name__] in words, words
            if fault is _garbage:
                # What the archive ends with is no WAL: no end of it is guessed, and what is before comes back.
                into = str(cluster.folder / "data/to-the-end")
                refused = cluster.run("restore", "--to", "latest", "--into", into, "--yes").refused("PT-4054", 13)
                assert f"{name} is damaged in the archive" in refused
                rows = committed(cluster)
                assert restored(cluster, "before", moment.isoformat()) == [id for id, at in rows if at <= moment]
            elif fault is not _gone:
                until = interval(cluster)
                assert until["missing_segment"] == name, "where the archive ends"
                there = restored(cluster, "meanwhile")
                rows = committed(cluster)
                assert there == [number for number, _ in rows][: len(there)], "a beginning, without a hole"
                end = datetime.fromisoformat(until["end"])
                lost = [at for number, at in rows if number not in set(there)]
                assert lost
                assert all(at.timestamp() >= end.timestamp() - 2 for at in lost), "what is lost is behind that end"
        writer.goes_on()
    everything_comes_back(cluster, writer)


def test_an_archiver_that_is_killed_again_and_again_loses_nothing(cluster: Cluster) -> None:
    with Writer(cluster) as writer, archiver_killed_again_and_again(cluster) as killed:
        assert len(killed) >= 4
        writer.goes_on()
    everything_comes_back(cluster, writer)


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_damaged_segment_is_named_and_what_is_before_it_comes_back(cluster: Cluster, damage: str) -> None:
    with Writer(cluster) as writer:
        all_archived(cluster)
        writer.goes_on()
        moment = cluster.sql("db1", "SELECT clock_timestamp()")
        writer.goes_on()
        all_archived(cluster)
        writer.goes_on()
        name = str(cluster.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())"))
        all_archived(cluster)
        writer.goes_on()
        all_archived(cluster)
    rows = committed(cluster)
    path = system_folder(cluster) / f"{name}.lz4"
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes(flipped if damage == "flipped" else content[:middle])
    verified = cluster.run("archive", "verify")
    assert verified.exit_code == 2
    assert name in verified.out
    assert f"where {name} is damaged" in " ".join(verified.out.split()), "what can be restored ends there"
    into = cluster.folder / "data/damaged"
    refused = cluster.run("restore", "--to", "latest", "--into", str(into), "--yes")
    assert refused.exit_code == 13, refused.said
    assert name in refused.err, "the segment that stops it is named"
    before = restored(cluster, "before", moment.isoformat())
    assert before == [number for number, at in rows if at <= moment]
    path.write_bytes(content)
    everything_comes_back(cluster, writer)


def test_a_primary_that_is_killed_while_it_is_backed_up_loses_nothing(cluster: Cluster) -> None:
    with cluster.connect("db1") as connection:
        connection.execute("CREATE TABLE big AS SELECT repeat(md5(i::text), 60) AS x FROM generate_series(1, 20000) i")
    cluster.replication["max_copy_rate"] = "5MB"
    cluster.write()
    backups = system_folder(cluster) / "backups"
    with Writer(cluster) as writer:
        running = cluster.start("backup", "--full", "--yes")
        wait_until(lambda: list(backups.glob(".*.part/base.tar.lz4")), "it copies", 60)
        cluster.kill_server("db1")
        assert running.end().exit_code == 13
        cluster.replication["max_copy_rate"] = "1GB"
        cluster.apply()
        writer.goes_on()
    assert [path.name for path in backups.iterdir() if path.name.startswith(".")] == []
    everything_comes_back(cluster, writer)
    cluster.ok("backup", "--full", "--yes")
    assert restored(cluster, "from-the-new-one") == [number for number, _ in committed(cluster)]
