"""A restore to what the primary has written since the end of the archive."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.test_restore import ROWS, Past, ask, remove
from support.clusters import Cluster
from support.servers import wait_until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    with Cluster() as cluster:
        cluster.up()
        it = Past(cluster)
        it.write("one", "db1")
        cluster.ok("backup", "--yes")
        yield it


@pytest.fixture(autouse=True)
def _tidy(past: Past) -> Iterator[None]:
    yield
    remove(past.cluster)


FIRST = "finish one WAL segment and see it in the archive"


def test_moment_of_a_segment_that_is_not_full_yet(past: Past) -> None:
    past.write("two", "db1")
    past.mark("db1")
    moment, rows = past.marks[-1]
    # Nobody writes after it: a recovery to a moment needs a commit to stop at.
    done = past.cluster.ok("restore", "--to", moment, "--yes")
    assert FIRST in done.out
    assert ask(past.cluster, done, ROWS) == rows == ["one", "two"]
    # The line that is told to look at it asks for no password and needs no program in the PATH.
    (line,) = [line.removeprefix("look: ").strip() for line in done.out.splitlines() if line.startswith("look: ")]
    seen = subprocess.run(
        ["sh", "-c", f"{line} -w -At -c 'SELECT count(*) FROM note'"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.stdout.strip() == "2", seen.stderr
    (end,) = [line.removeprefix("end: ").strip() for line in done.out.splitlines() if line.startswith("end: ")]
    stops, _, rest = end.partition(", then remove ")
    stopped = subprocess.run(shlex.split(stops), cwd="/", capture_output=True, text=True, check=False)
    assert not stopped.returncode, stopped.stderr
    assert Path(rest).is_dir()
    # It is there now.
    again = past.cluster.ok("restore", "--to", moment, "--promote", "--yes")
    assert FIRST not in again.out
    assert ask(past.cluster, again, ROWS) == rows


def test_position_name_and_transaction_of_a_segment_that_is_not_full_yet(past: Past) -> None:
    cluster = past.cluster
    before = list(past.rows)
    position = cluster.sql("db1", "SELECT pg_current_wal_lsn()")
    past.write("three", "db1")
    done = cluster.ok("restore", "--to", position, "--yes")
    assert FIRST in done.out
    assert ask(cluster, done, ROWS) == before
    remove(cluster)
    cluster.sql("db1", "SELECT pg_create_restore_point('just now')")
    done = cluster.ok("restore", "--to", "name:just now", "--yes")
    assert FIRST in done.out
    assert ask(cluster, done, ROWS) == [*before, "three"]
    remove(cluster)
    number = cluster.sql("db1", "WITH one AS (SELECT pg_current_xact_id()::text AS id) SELECT id FROM one")
    done = cluster.ok("restore", "--to", f"xid:{number}", "--yes")
    assert FIRST in done.out
    assert ask(cluster, done, ROWS) == [*before, "three"]


def test_moment_after_what_came_late_to_the_archive(past: Past) -> None:
    """The archive has files that are younger than what is asked for, and what they hold is older."""
    cluster, held = past.cluster, past.cluster.base / "held"
    command = cluster.sql("db1", "SHOW archive_command")
    waits = f"while [ -e {held} ]; do sleep 0.05; done; {command}".replace("'", "''")
    cluster.sql("db1", f"ALTER SYSTEM SET archive_command = '{waits}'")
    cluster.sql("db1", "SELECT pg_reload_conf()")
    held.touch()
    past.write("late", "db1")
    segment = cluster.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())")
    cluster.sql("db1", "SELECT pg_switch_wal()")
    # Files tell whole seconds.
    cluster.sql("db1", "SELECT pg_sleep(1 - extract(epoch FROM clock_timestamp())::numeric % 1)")
    past.write("after", "db1")
    past.mark("db1")
    cluster.sql("db1", "SELECT pg_sleep(1 - extract(epoch FROM clock_timestamp())::numeric % 1)")
    held.unlink()
    archived = "SELECT last_archived_wal FROM pg_stat_archiver"
    wait_until(lambda: cluster.sql("db1", archived) == segment, "the segment is archived")
    moment, rows = past.marks[-1]
    done = cluster.ok("restore", "--to", moment, "--yes")
    assert FIRST in done.out
    assert ask(cluster, done, ROWS) == rows
    cluster.sql("db1", "ALTER SYSTEM RESET archive_command")
    cluster.sql("db1", "SELECT pg_reload_conf()")


def test_latest_says_what_it_has_not_and_now_has_it(past: Past) -> None:
    cluster = past.cluster
    archived = list(past.rows)
    cluster.sql("db1", "SELECT pg_switch_wal()")
    past.write("not archived", "db1")
    done = cluster.ok("restore", "--to", "now", "--yes")
    assert FIRST in done.out
    assert ask(cluster, done, ROWS) == [*archived, "not archived"]
    remove(cluster)
    past.write("still not", "db1")
    done = cluster.ok("restore", "--to", "latest", "--yes")
    assert FIRST not in done.out
    assert "db1 has written on" in done.out
    assert ask(cluster, done, ROWS) == [*archived, "not archived"]


def test_what_nobody_has_written_is_refused_and_nothing_is_finished(past: Past) -> None:
    cluster = past.cluster
    segment = cluster.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())")
    refused = cluster.run("restore", "--to", "FF/0", "--yes")
    assert "PT-3054" in refused.err
    assert FIRST not in refused.out
    assert cluster.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())") == segment


def test_archive_that_takes_nothing_is_told(past: Past) -> None:
    cluster = past.cluster
    past.write("four", "db1")
    position = cluster.sql("db1", "SELECT pg_current_wal_lsn()")
    cluster.sql("db1", "ALTER SYSTEM SET archive_command = 'false'")
    cluster.sql("db1", "SELECT pg_reload_conf()")
    try:
        refused = cluster.run("restore", "--to", position, "--yes")
        assert "PT-4007" in refused.err
        assert not list(cluster.base.glob("**/*-restored-*"))
    finally:
        cluster.sql("db1", "ALTER SYSTEM RESET archive_command")
        cluster.sql("db1", "SELECT pg_reload_conf()")


@pytest.mark.chaos
def test_position_of_after_a_promotion_of_which_nothing_is_archived_yet() -> None:
    with Cluster(standbys=1) as cluster:
        cluster.up()
        past = Past(cluster)
        past.write("one", "db1")
        cluster.ok("backup", "--yes")
        cluster.ok("switchover", "--yes")
        past.write("two", "db2")
        position = cluster.sql("db2", "SELECT pg_current_wal_lsn()")
        done = cluster.ok("restore", "--to", position, "--yes")
        assert FIRST in done.out
        assert ask(cluster, done, ROWS) == ["one", "two"]
        remove(cluster)
