"""Point-in-time recovery on real WAL, across a switchover and a failover; restore drills; what interrupts them."""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.clusters import Cluster, free_ports, installation
from support.installations import PACKAGED_MAJORS, packaged
from support.processes import alive
from support.program import Done
from support.provoking import Looks, ids, provokes
from support.servers import wait_until


@dataclass
class Past:
    """A cluster with a past: at each mark the moment, and the rows that there were."""

    cluster: Cluster
    rows: list[str] = field(default_factory=list)
    marks: list[tuple[str, list[str]]] = field(default_factory=list)
    places: list[tuple[str, list[str]]] = field(default_factory=list)

    def write(self, text: str, node: str) -> None:
        self.cluster.write_row(text, node)
        self.rows.append(text)

    def mark(self, node: str) -> None:
        """Between two commits by the server's own clock, and their positions."""
        self.places.append((self.cluster.sql(node, "SELECT pg_current_wal_lsn()"), list(self.rows)))
        self.cluster.sql(node, "SELECT pg_sleep(0.02)")
        moment = self.cluster.sql(node, "SELECT clock_timestamp()")
        self.cluster.sql(node, "SELECT pg_sleep(0.02)")
        self.marks.append((moment.astimezone(UTC).isoformat(), list(self.rows)))

    def settle(self, node: str) -> None:
        """All of it in the archive."""
        segment = self.cluster.sql(node, "SELECT pg_walfile_name(pg_current_wal_lsn())")
        self.cluster.sql(node, "SELECT pg_switch_wal()")
        wait_until(lambda: archived(self.cluster, segment), f"{segment} is archived", 60)


def archived(cluster: Cluster, segment: str) -> bool:
    return any(name.startswith(segment) for name in cluster.archived())


def primary_of(cluster: Cluster) -> str:
    (name,) = [name for name, (role, _) in cluster.states().items() if role == "primary"]
    return name


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    """A backup, then rows and marks on timelines 1 to 3: a switchover, then a primary that was killed."""
    with Cluster() as cluster:
        cluster.up()
        it = Past(cluster)
        it.write("before the backup", "db1")
        cluster.ok("backup", "--yes")
        it.write("one", "db1")
        it.mark("db1")
        it.write("two", "db1")
        cluster.ok("switchover", "--yes")
        it.write("three", "db2")
        it.mark("db2")
        it.write("four", "db2")
        cluster.shows_row("db1", "four")
        it.settle("db2")
        cluster.kill_server("db2")
        cluster.ok("failover", "--yes")
        cluster.ok("rejoin", "db2", "--yes")
        it.write("five", "db1")
        it.mark("db1")
        cluster.sql("db1", "SELECT pg_create_restore_point('before six')")
        it.write("six", "db1")
        it.settle("db1")
        cluster.converged()
        yield it


def ask(cluster: Cluster, done: Done, query: str) -> list[Any]:
    """The first column of what the restored server says."""
    found = re.search(r"-p (\d+)", done.out)
    assert found, done.said
    with psycopg.connect(
        host="127.0.0.1", port=int(found[1]), user="postgres", dbname="postgres", password=cluster.password()
    ) as connection:
        return [row[0] for row in connection.execute(query.encode()).fetchall()]


ROWS = "SELECT text FROM note ORDER BY ctid"


def restored(cluster: Cluster) -> list[Path]:
    return sorted(
        path for path in (cluster.folder / "data").iterdir() if "-restored-" in path.name or "-drill" in path.name
    )


def remove(cluster: Cluster) -> None:
    """Every restored server, as its last line tells how."""
    for path in restored(cluster):
        if not path.is_dir():
            path.unlink()
            continue
        pid = path / "postmaster.pid"
        if pid.exists() and alive(int(pid.read_text().split()[0])):
            cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(path))
        shutil.rmtree(path)


@pytest.fixture(autouse=True)
def _tidy(past: Past) -> Iterator[None]:
    yield
    remove(past.cluster)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_mark_comes_back_row_for_row(past: Past, number: int) -> None:
    """By time, on the newest timeline."""
    moment, rows = past.marks[number]
    done = past.cluster.ok("restore", "--to", moment, "--yes")
    assert ask(past.cluster, done, ROWS) == rows
    assert ask(past.cluster, done, "SELECT pg_is_in_recovery()") == [True]
    assert ask(past.cluster, done, "SHOW archive_mode") == ["off"]
    assert ask(past.cluster, done, "SHOW primary_conninfo") == [""]
    past.cluster.converged()


def test_a_position_and_a_name_and_the_end(past: Past) -> None:
    place, rows = past.places[0]
    done = past.cluster.ok("restore", "--to", place, "--yes")
    assert ask(past.cluster, done, ROWS) == rows
    done = past.cluster.ok("restore", "--to", "name:before six", "--promote", "--yes")
    assert ask(past.cluster, done, ROWS) == past.rows[:-1]
    left = "SELECT name FROM pg_settings WHERE name ~ '^recovery_target_?(name|time|lsn|xid)?$' AND setting <> ''"
    assert ask(past.cluster, done, f"{left} OR pending_restart") == []
    ask(past.cluster, done, "INSERT INTO note VALUES ('it takes writes') RETURNING text")
    done = past.cluster.ok("restore", "--to", "latest", "--yes")
    assert ask(past.cluster, done, ROWS) == past.rows
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        ask(past.cluster, done, "INSERT INTO note VALUES ('it does not') RETURNING text")
    past.cluster.converged()


def test_a_name_or_a_transaction_that_is_not_there_is_refused_at_once_with_the_nearest(past: Past) -> None:
    words = " ".join(past.cluster.run("restore", "--to", "name:befor-six", "--yes").refused("PT-3054", 12).split())
    assert 'cannot restore to restore point "befor-six"' in words
    assert 'There is "before six" (0/' in words
    assert "restore --to 'name:before six'" in words
    words = " ".join(past.cluster.run("restore", "--to", "xid:4000000", "--yes").refused("PT-3054", 12).split())
    assert "No transaction 4000000 ends between" in words
    assert restored(past.cluster) == []
    said = past.cluster.ok("restore", "--names", "--json")
    (found,) = json.loads(said.out)["restore_points"]
    assert found["name"] == "before six"
    assert found["time"] > past.marks[-1][0][:19]
    assert "looking for restore points in " in said.err


@pytest.mark.chaos
def test_a_transaction_is_the_last_that_comes_back(past: Past) -> None:
    (xid,) = past.cluster.rows("db1", "SELECT xmin FROM note WHERE text = 'three'")[0]
    done = past.cluster.ok("restore", "--to", f"xid:{xid}", "--yes")
    assert ask(past.cluster, done, ROWS) == past.rows[: past.rows.index("three") + 1]
    past.cluster.converged()


def test_an_older_timeline_can_be_asked_for(past: Past) -> None:
    """What the old primary wrote is there to its end, and nothing of what came after."""
    intervals = shown(past.cluster)
    assert [each["timeline"] for each in intervals] == [1, 2, 3]
    done = past.cluster.ok("restore", "--to", past.places[0][0], "--timeline", "1", "--promote", "--yes")
    assert ask(past.cluster, done, ROWS) == past.places[0][1]


def shown(cluster: Cluster, exit_code: int = 0) -> list[dict[str, Any]]:
    done = cluster.run("restore", "--json")
    assert done.exit_code == exit_code, done.said
    found: list[dict[str, Any]] = json.loads(done.out)["intervals"]
    return found


def test_it_goes_on_from_inspection_to_promotion(past: Past) -> None:
    moment, rows = past.marks[1]
    past.cluster.ok("restore", "--to", moment, "--yes")
    again = past.cluster.ok("restore", "--to", moment, "--yes")
    assert "unpack" not in again.out
    done = past.cluster.ok("restore", "--to", moment, "--promote", "--yes")
    assert "unpack" not in done.out
    assert ask(past.cluster, done, ROWS) == rows
    assert ask(past.cluster, done, "SELECT pg_is_in_recovery()") == [False]
    (folder,) = [path for path in restored(past.cluster) if path.is_dir()]
    assert "recovery_target" not in (folder / "pgtandem" / "settings.conf").read_text()


def test_what_is_outside_is_refused_with_the_nearest(past: Past) -> None:
    refused = past.cluster.run("restore", "--promote").refused("PT-1006", 10)
    assert "pgtandem restore --to latest --promote" in " ".join(refused.split())
    refused = past.cluster.run("restore", "--to", "F/0", "--yes").refused("PT-3054", 12)
    assert "Recovery gets to the last record before" in refused
    refused = past.cluster.run("restore", "--to", "2001-01-01T00:00Z", "--yes").refused("PT-3054", 12)
    assert re.search(r"The first one after it is \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", refused)
    taken = past.cluster.run("restore", "--to", "latest", "--into", str(past.cluster.data("db1")), "--yes")
    assert "in use" in taken.refused("PT-3055", 12)
    past.cluster.converged()


def test_a_hole_in_the_archive_says_what_cannot_be_restored(past: Past) -> None:
    whole = shown(past.cluster)
    segments = sorted(name for name in past.cluster.archived() if re.fullmatch("00000003[0-9A-F]{16}.*", name))
    (folder,) = [path for path in past.cluster.archive.iterdir() if path.name.isdigit()]
    gone = folder / segments[0]
    kept = past.cluster.base / "kept"
    shutil.move(gone, kept)
    try:
        broken = shown(past.cluster)
        assert broken != whole
        assert 3 not in [each["timeline"] for each in broken]
        moment, _ = past.marks[2]
        refused = past.cluster.run("restore", "--to", moment, "--timeline", "3", "--yes").refused("PT-3054", 12)
        assert "timeline 3" in refused
        moment, rows = past.marks[0]
        done = past.cluster.ok("restore", "--to", moment, "--yes")
        assert ask(past.cluster, done, ROWS) == rows
    finally:
        shutil.move(kept, gone)
    assert shown(past.cluster) == whole


def test_a_drill_passes_and_leaves_nothing_and_status_tells(past: Past) -> None:
    """The one before was killed (kill -9): status names what that left, and the next drill removes it."""
    running = past.cluster.start("drill", "--yes")
    wait_until(lambda: restored(past.cluster) or not running.alive, "something stands in the scratch place", 60)
    assert "a restore drill was cut off" not in past.cluster.ok("status").out or not running.alive, "it is at work"
    running.kill()
    (note,) = [note for note in past.cluster.status()["remarks"] if "a restore drill was cut off" in note]
    assert "-drill" in note
    assert "pgtandem drill --like db2 removes it" in note
    done = past.cluster.ok("drill", "--query", "SELECT count(*) FROM note", "--yes")
    assert f"the query says {len(past.rows)}" in done.out
    assert re.search(r"restored in [\d.]+ s; the last transaction is \d+ s old", done.out)
    assert restored(past.cluster) == []
    said = past.cluster.ok("status").out
    assert "drill passed" in said
    assert "cut off" not in said


@pytest.mark.chaos
@provokes("RST15")
def test_a_drill_in_another_folder_that_was_killed_is_named_with_the_command_that_removes_it(
    past: Past, looks: Looks
) -> None:
    cluster = past.cluster

    def found() -> set[str]:
        return looks.take(ids(json.loads(cluster.run("doctor", "--json").out)))

    assert "RST15" not in found()
    scratch = cluster.folder / "scratch"
    scratch.mkdir()
    cluster.own(scratch)
    into = ("--into", str(scratch / "a trial"))
    running = cluster.start("drill", *into, "--yes")
    wait_until(lambda: os.listdir(scratch) or not running.alive, "something stands in the scratch place", 60)
    running.kill()
    (note,) = [note for note in cluster.status()["remarks"] if "a restore drill was cut off" in note]
    assert f"left {scratch}/a trial" in note
    assert "RST15" in found()
    said = " ".join(cluster.run("doctor").out.split())
    assert f"a restore drill was cut off and left {scratch}/a trial" in said
    assert f"pgtandem drill --like db2 --into '{scratch}/a trial' removes it" in note
    cluster.ok("drill", *into, "--like", "db2", "--yes")
    assert os.listdir(scratch) == []
    assert restored(cluster) == []
    assert "cut off" not in cluster.ok("status").out
    assert "RST15" not in found()


def test_a_drill_that_fails_leaves_nothing_but_the_note(past: Past) -> None:
    folder = Path(json.loads(past.cluster.ok("backup", "list", "--json").out)["backups"][-1]["folder"])
    base = folder / "base.tar"
    content = base.read_bytes()
    base.write_bytes(content[: len(content) // 2])
    try:
        past.cluster.run("drill", "--yes").refused("PT-4055", 13)
        assert restored(past.cluster) == []
        assert "The last restore drill" in past.cluster.run("status").out
    finally:
        base.write_bytes(content)
    # A query that is wrong says nothing against the backup. Several statements in one are only known by asking them.
    refused = past.cluster.run("drill", "--query", "SELECT 1; SELECT count(*) FROM nowhere", "--yes")
    why = " ".join(refused.refused("PT-4057", 13).split())
    assert 'relation "nowhere" does not exist' in why.lower()
    assert "42P01" not in why
    assert "Nothing is wrong with the backup, and that is noted: restored in" in why
    assert restored(past.cluster) == []
    assert "drill passed" in past.cluster.ok("status").out


def test_a_drill_whose_result_cannot_be_written_says_what_it_measured_and_leaves_nothing(past: Past) -> None:
    folder = Path(json.loads(past.cluster.ok("backup", "list", "--json").out)["backups"][-1]["folder"])
    note = folder / "drill.json"
    before = note.read_bytes() if note.exists() else None
    folder.chmod(0o555)
    try:
        words = " ".join(past.cluster.run("drill", "--yes").refused("PT-4058", 13).split())
        assert f"backup {folder.name} can be restored, and that could not be written down" in words
        assert re.search(r"why: restored in [\d.]+ s; the last transaction is \d+ s old", words)
        assert "drill.json" in words
        assert "Cleaning up failed" not in words
        query = ("--query", "SELECT 1; SELECT count(*) FROM nowhere")
        words = " ".join(past.cluster.run("drill", *query, "--yes").refused("PT-4057", 13).split())
        assert "Nothing is wrong with the backup, but that could not be noted (" in words
    finally:
        folder.chmod(0o700)
    assert (note.read_bytes() if note.exists() else None) == before, "nothing was said against it"
    assert restored(past.cluster) == []


def test_a_query_that_is_wrong_is_told_before_anything_is_restored(past: Past) -> None:
    before = past.cluster.journal_lines()
    for words, wrong in (
        (("--query", "SELECT count(*) FROM nowhere"), 'relation "nowhere" does not exist'),
        (("--query", "SELECT count(*) FROM note", "--database", "shop"), 'there is no database "shop"'),
    ):
        refused = past.cluster.run("drill", *words, "--yes").refused("PT-3058", 12)
        assert f"the query cannot be asked: {wrong}" in refused
    assert past.cluster.journal_lines() == before
    assert restored(past.cluster) == []
    assert past.cluster.run("status").exit_code == 0


@pytest.mark.parametrize("line", [2, 4])
def test_killed_on_the_way_the_same_command_goes_on(past: Past, line: int) -> None:
    """kill -9 of pgtandem, while it unpacks and while the server recovers."""
    _killed_at(past, line)


@pytest.mark.chaos
@pytest.mark.parametrize("line", range(1, 9))
def test_killed_at_every_line_of_the_journal(past: Past, line: int) -> None:
    """kill -9 of pgtandem."""
    _killed_at(past, line)


def _killed_at(past: Past, line: int) -> None:
    moment, rows = past.marks[2]
    before = past.cluster.journal_lines()
    running = past.cluster.start("restore", "--to", moment, "--promote", "--yes")
    wait_until(lambda: past.cluster.journal_lines() >= before + line or not running.alive, f"line {line}", 60)
    running.kill()
    said = list(past.cluster.archive.glob("*/backups/.in-use.*"))
    assert said or line > 4, "as long as it is at work the archive says what it reads, so that nobody prunes that"
    for path in said:
        path.unlink()
    done = past.cluster.ok("restore", "--to", moment, "--promote", "--yes")
    assert ask(past.cluster, done, ROWS) == rows
    assert "it takes writes" in done.out
    assert "it takes writes" in past.cluster.ok("restore", "--to", moment, "--yes").out
    assert [path.name for path in restored(past.cluster) if ".pgtandem-new." in path.name] == []
    past.cluster.converged()


@pytest.mark.chaos
def test_a_file_that_the_account_may_not_read_is_named_with_what_to_do(past: Past) -> None:
    """Somebody copied a part of the archive elsewhere and back, as root or with other rights."""
    cluster = past.cluster
    (tar,) = cluster.archive.glob("*/backups/2*/base.tar")
    mode = tar.stat().st_mode
    tar.chmod(0)
    told = cluster.run("restore", "--to", "latest", "--yes").refused("PT-4055", 13)
    assert f"may not read {tar}" in " ".join(told.split())
    assert f"chown {cluster.account or tar.owner()} {tar} && chmod 600 {tar}" in told
    tar.chmod(mode)
    segment = [path for path in sorted(cluster.archive.glob("*/0000000[1-9]*")) if len(path.name) == 24][-1]
    segment.chmod(0)
    told = cluster.run("restore", "--to", "latest", "--yes").refused("PT-4054", 13)
    assert f"may not read {segment}" in " ".join(told.split())
    assert f" {segment} && chmod 600 {segment}" in told
    bad = cluster.run("archive", "verify")
    assert f"{segment.name} cannot be read by" in " ".join(bad.out.split())
    segment.chmod(mode)
    assert ask(cluster, cluster.ok("restore", "--to", "latest", "--yes"), ROWS) == past.rows


@pytest.mark.chaos
@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99, None])
def test_recovery_does_not_take_a_broken_restore_wal_for_the_end_of_the_wal(
    past: Past, share: float | None, sure: bool
) -> None:
    """What a full disk leaves: an empty file, a cut one, none. Called as for a standby the server opens too early,
    which is why the command of a restore says more than that."""
    cluster = past.cluster
    cluster.ok("restore", "--to", past.marks[0][0], "--yes")
    (folder,) = [path for path in restored(cluster) if path.is_dir()]
    cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(folder))
    script, settings = folder / "pgtandem/restore-wal", folder / "pgtandem/settings.conf"
    whole = script.read_text()
    script.unlink()
    if share is not None:
        script.write_text(whole[: int(len(whole) * share)])
        cluster.own(script)
    lines = [line for line in settings.read_text().splitlines() if "recovery_target_" not in line]
    assert any("; case $? in" in line for line in lines)
    if not sure:
        lines = [re.sub("; case .* esac", "", line) for line in lines]
    settings.write_text("\n".join(lines) + "\n")
    log = str(folder) + ".log"
    Path(log).write_text("")
    with suppress(AssertionError):  # pg_ctl says that the server did not start
        cluster.program("pg_ctl", "start", "-w", "-l", log, "-D", str(folder))
    wait_until(lambda: re.search("could not restore|archive recovery complete", Path(log).read_text()), "it ends", 60)
    opened = "archive recovery complete" in Path(log).read_text()
    assert opened is not sure, Path(log).read_text()[-2000:]


def test_another_port_is_taken_up_where_the_restored_server_is_down_and_refused_where_it_runs(past: Past) -> None:
    first, second = free_ports(2)
    done = past.cluster.ok("restore", "--to", "latest", "--port", str(first), "--yes")
    assert f"-p {first} " in done.out
    words = past.cluster.run("restore", "--to", "latest", "--port", str(second), "--yes").refused("PT-3055", 12)
    assert f"listens on port {first} already" in words
    (there,) = restored(past.cluster)[:1]
    past.cluster.program("pg_ctl", "stop", "-w", "-D", str(there))
    done = past.cluster.ok("restore", "--to", "latest", "--port", str(second), "--yes")
    assert f"-p {second} " in done.out
    assert ask(past.cluster, done, "SELECT current_setting('port')") == [str(second)]


def test_a_port_that_it_cannot_have_is_refused_before_anything_is_copied(past: Past) -> None:
    before = past.cluster.journal_lines()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port, why in ((80, "only root may listen on a port below"), (taken.getsockname()[1], "is taken by")):
            for command in (("restore", "--to", "latest"), ("drill",)):
                words = past.cluster.run(*command, "--port", str(port), "--yes").refused("PT-3007", 12)
                assert why in " ".join(words.split())
    assert [entry["step"] for entry in past.cluster.journal()[before:] if "step" in entry] == []
    assert restored(past.cluster) == []


@pytest.mark.parametrize("major", [11, *(pytest.param(major, marks=pytest.mark.chaos) for major in (15, 16))])
def test_other_majors(major: int) -> None:
    try:
        on = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))
    with Cluster(on=on, standbys=0) as cluster:
        cluster.up()
        it = Past(cluster)
        it.write("one", "db1")
        cluster.ok("backup", "--yes")
        it.write("two", "db1")
        it.mark("db1")
        it.write("three", "db1")
        it.settle("db1")
        done = cluster.ok("restore", "--to", it.marks[0][0], "--promote", "--yes")
        assert ask(cluster, done, ROWS) == ["one", "two"]
        done = cluster.run("restore", "--to", "name:three", "--yes")
        there = (cluster.programs() / "pg_waldump").exists()
        assert ("PT-3054" if there else "PT-4054") in done.err, done.said
        assert there or "last transaction that it has is of" in " ".join(done.err.split())
        if not there:
            # Its recovery ended where the archive does, as if that were the target: asked again, that is no success.
            for more in ((), ("--promote",), ("--node", "db1")):
                again = cluster.run("restore", "--to", "name:three", *more, "--yes")
                assert "PT-4054" in again.err, again.said
                assert "--to latest --timeline 1" in again.err
                assert "remove /" in again.err
                # It would take writes, short of where it was to stop.
                (short,) = [path for path in restored(cluster) if path.name.endswith("-restored-name-three")]
                assert not (short / "postmaster.pid").exists()
        cluster.ok("drill", "--yes")
        cluster.converged()


def test_an_incremental_chain_is_put_together() -> None:
    with Cluster(standbys=0) as cluster:
        cluster.topology["backup"] = {"incremental": True}
        cluster.write()
        cluster.up()
        it = Past(cluster)
        it.write("one", "db1")
        cluster.ok("backup", "--yes")
        it.write("two", "db1")
        cluster.ok("backup", "--yes")
        it.write("three", "db1")
        it.settle("db1")
        done = cluster.ok("restore", "--to", "latest", "--yes")
        assert "-full and " in done.out
        assert ask(cluster, done, ROWS) == ["one", "two", "three"]


@pytest.mark.chaos
def test_a_drill_that_is_interrupted_leaves_no_server_behind() -> None:
    """Ctrl-C, while the restored server recovers."""
    with Cluster(standbys=0) as cluster:
        cluster.up()
        cluster.ok("backup", "--yes")

        def at_work() -> bool:
            return any("-drill" in words for words in cluster.processes().values())

        def recovering() -> bool:
            return (cluster.folder / "data/db1-drill/postmaster.pid").exists()

        running = cluster.start("drill", "--yes")
        wait_until(lambda: recovering() or not running.alive, "it recovers", 60)
        assert running.alive
        running.interrupt()
        assert running.end().exit_code == 130
        assert not at_work()
        assert "remove what an interrupted drill left" in cluster.ok("drill", "--yes").out
