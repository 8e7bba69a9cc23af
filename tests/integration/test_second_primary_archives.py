"""Two primaries on one archive: somebody started a copy of the primary's data beside it, as a cloned machine does, and
both archive segments of the same names. What is there is never written over, whoever comes second is told, and every
row that the real one acknowledged comes back."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from integration.test_restore import ask
from support.clusters import Cluster, free_ports
from support.servers import wait_until
from support.writer import Writer

pytestmark = pytest.mark.chaos

FINISHED = "SELECT pg_walfile_name(pg_switch_wal()) FROM pg_logical_emit_message(true, 'test', 'x')"


class Intruder:
    """The copy, as a server of its own with the settings of the real one, its archive_command among them."""

    def __init__(self, cluster: Cluster, data: Path) -> None:
        self.cluster, self.data, self.log = cluster, data, Path(f"{data}.log")
        (self.port,) = free_ports(1)

    def ask(self, query: str) -> object:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", password=self.cluster.password()
        ) as connection:
            connection.autocommit = True
            row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    def writes(self) -> str:
        """A row that the real one never has, and the segment that it is in."""
        self.ask("INSERT INTO written VALUES (-1) ON CONFLICT DO NOTHING RETURNING 1")
        return str(self.ask(FINISHED))

    def failed(self) -> bool:
        return bool(self.ask("SELECT failed_count > 0 FROM pg_stat_archiver"))


@contextmanager
def copied_and_started(cluster: Cluster) -> Iterator[Intruder]:
    cluster.stop_server("db1")
    wait_until(lambda: not (cluster.data("db1") / "postmaster.pid").exists(), "db1 has ended")
    data = cluster.folder / "data" / "intruder"
    shutil.copytree(cluster.data("db1"), data, symlinks=True)
    for path in (data, *data.rglob("*")):
        cluster.own(path)
    cluster.ok("apply", "--yes")
    intruder = Intruder(cluster, data)
    options = f"-p {intruder.port}"
    cluster.program("pg_ctl", "start", "-w", "-D", str(data), "-l", str(intruder.log), "-o", options)
    try:
        yield intruder
    finally:
        cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(data))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(standbys=0) as made:
        made.up()
        made.ok("backup", "--yes")
        made.sql("db1", "CREATE TABLE written (id bigint PRIMARY KEY)")
        yield made
        made.ok("down", "--yes")


def folder_of(cluster: Cluster) -> Path:
    (folder,) = [path for path in cluster.archive.iterdir() if path.name.isdigit()]
    return folder


def finished(cluster: Cluster) -> str:
    ((name,),) = cluster.rows("db1", FINISHED)
    return str(name)


def restored(cluster: Cluster, name: str) -> list[int]:
    into = cluster.folder / "data" / name
    done = cluster.ok("restore", "--to", "latest", "--into", str(into), "--yes")
    try:
        return [int(number) for number in ask(cluster, done, "SELECT id FROM written ORDER BY id")]
    finally:
        cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(into))


def everything_comes_back(cluster: Cluster, writer: Writer) -> None:
    last = finished(cluster)
    wait_until(lambda: (folder_of(cluster) / last).exists(), f"{last} is archived", 120)
    rows = [int(number) for (number,) in cluster.rows("db1", "SELECT id FROM written ORDER BY id")]
    assert set(writer.acknowledged) <= set(rows)
    assert restored(cluster, "afterwards") == rows
    assert -1 not in rows
    assert cluster.run("archive", "verify").exit_code == 0


def told_in(log: str, first: Path) -> bool:
    """The server's log names what lies there and what was to be archived."""
    return str(first) in log and "pg_wal" in log and "other content" in log


def test_the_second_to_archive_is_refused_and_told_and_the_first_loses_nothing(cluster: Cluster) -> None:
    with copied_and_started(cluster) as intruder:
        with Writer(cluster) as writer:
            name = finished(cluster)
            path = folder_of(cluster) / name
            wait_until(path.exists, f"{name} is archived", 60)
            content, at = path.read_bytes(), path.stat().st_mtime_ns
            assert intruder.writes() == name, "both wrote a segment of this name"
            wait_until(intruder.failed, "it is refused", 60)
            wait_until(lambda: told_in(intruder.log.read_text(), path), "both files are named", 30)
            writer.goes_on(100)
            finished(cluster)
            intruder.writes()
            writer.goes_on(100)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, at)
        everything_comes_back(cluster, writer)
        assert cluster.run("status").exit_code == 0, "nothing is wrong with the real one"
    cluster.converged()


def test_where_the_copy_was_first_the_real_one_says_so_until_its_files_are_moved_away(cluster: Cluster) -> None:
    with copied_and_started(cluster) as intruder:
        name = intruder.writes()
        path = folder_of(cluster) / name
        wait_until(path.exists, f"{name} is archived by the copy", 60)
        content = path.read_bytes()
        with Writer(cluster) as writer:
            assert finished(cluster) == name, "both wrote a segment of this name"
            cluster.wait_for("db1", "SELECT failed_count > 0 FROM pg_stat_archiver", 60)
            writer.goes_on(100)
            shown = cluster.run("status")
            assert shown.exit_code == 2
            assert f"FAILING at {name}" in " ".join(shown.out.split())
            assert "ARC05" in cluster.run("doctor").out
            wait_until(lambda: told_in(cluster.log("db1"), path), "both files are named", 30)
            assert path.read_bytes() == content, "it was not written over"
            asked = cluster.run("restore", "--to", "latest", "--into", str(cluster.folder / "data" / "asked"))
            assert f"db1 cannot archive {name}, and the archive has one" in " ".join(asked.out.split())
    # The copy is stopped. A person moves away what it had archived.
    aside = cluster.base / "aside"
    aside.mkdir()
    for found in [one for one in folder_of(cluster).rglob(f"{name}*") if one.is_file()]:
        shutil.move(found, aside / f"{found.parent.name}-{found.name}")
    everything_comes_back(cluster, writer)
    cluster.converged()
