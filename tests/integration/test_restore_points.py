"""Named restore points and transactions, looked for in WAL: which backup is taken, and what there is twice."""

import json
import shlex
import shutil
from collections.abc import Iterator

import pytest

from integration.test_restore import ROWS, Past, ask, remove
from support.clusters import Cluster

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    """Two backups; restore points before and after the second, one name twice, and a switchover."""
    with Cluster() as cluster:
        cluster.up()
        it = Past(cluster)
        it.write("one", "db1")
        cluster.ok("backup", "--yes")
        point(it, "db1", "before two")
        point(it, "db1", "every day")
        it.write("two", "db1")
        it.settle("db1")
        cluster.ok("switchover", "--yes")
        it.write("three", "db2")
        cluster.ok("backup", "--yes")
        point(it, "db2", "every day")
        it.write("four", "db2")
        point(it, "db2", "before five")
        it.cluster.sql("db2", "SELECT pg_create_restore_point('it''s $(id)')")
        it.write("five", "db2")
        it.settle("db2")
        yield it


def point(past: Past, node: str, name: str) -> None:
    past.cluster.sql(node, f"SELECT pg_create_restore_point('{name}')")


@pytest.fixture(autouse=True)
def _tidy(past: Past) -> Iterator[None]:
    yield
    remove(past.cluster)


def labels(past: Past) -> list[str]:
    return [backup["label"] for backup in json.loads(past.cluster.ok("backup", "list", "--json").out)["backups"]]


def test_the_newest_backup_before_it_is_taken(past: Past) -> None:
    first, second = labels(past)
    done = past.cluster.ok("restore", "--to", "name:before five", "--yes")
    assert second in done.out
    assert first not in done.out
    assert ask(past.cluster, done, ROWS) == ["one", "two", "three", "four"]
    # The same command goes on from there, and looks for nothing again.
    done = past.cluster.ok("restore", "--to", "name:before five", "--promote", "--yes")
    assert "looking for" not in done.out
    assert ask(past.cluster, done, ROWS) == ["one", "two", "three", "four"]


def test_a_name_that_is_there_twice_is_told_and_the_first_is_taken(past: Past) -> None:
    done = past.cluster.ok("restore", "--to", "name:every day", "--yes")
    said = " ".join(done.out.split())
    assert "It is there 2 times: 0/" in said
    assert ask(past.cluster, done, ROWS) == ["one"]
    other = said.partition("for another one: --to ")[2].split()[0]
    done = past.cluster.ok("restore", "--to", other, "--yes")
    assert ask(past.cluster, done, ROWS) == ["one", "two", "three"]


def test_without_pg_waldump_recovery_tells(past: Past) -> None:
    cluster = past.cluster
    there = cluster.base / "programs"
    there.mkdir(mode=0o755)
    real = cluster.programs()
    for path in real.iterdir():
        if path.name != "pg_waldump":
            (there / path.name).symlink_to(path)
    cluster.topology["cluster"]["binaries"] = str(there)
    cluster.write()
    try:
        before = cluster.journal_lines()
        words = " ".join(cluster.run("restore", "--to", "name:before fife", "--yes").refused("PT-3054", 12).split())
        assert "These bytes are nowhere in the WAL between" in words
        assert "it belongs beside the programs of" in words
        steps = [each["step"] for each in cluster.journal()[before:] if "step" in each]
        assert not [step for step in steps if step.startswith("restored.")], "nothing was restored for it"
        words = cluster.run("restore", "--to", "xid:4000000000", "--yes")
        assert "recovery tells at its end (there is no pg_waldump)" in words.out
        assert "PT-4054" in words.err
        remove(cluster)
        done = cluster.ok("restore", "--to", "name:before five", "--promote", "--yes")
        assert "recovery tells at its end (there is no pg_waldump)" in done.out
        assert ask(cluster, done, ROWS) == ["one", "two", "three", "four"]
        done = cluster.run("restore", "--names")
        assert "There is no pg_waldump." in done.err
    finally:
        del cluster.topology["cluster"]["binaries"]
        cluster.write()
        shutil.rmtree(there)


def test_the_line_that_goes_on_from_a_name_can_be_pasted_into_a_shell(past: Past) -> None:
    done = past.cluster.ok("restore", "--to", "name:it's $(id)", "--yes")
    (line,) = [line for line in done.out.splitlines() if line.startswith("go on:")]
    words = shlex.split(line)
    assert words[words.index("--to") + 1] == "name:it's $(id)"
    assert words[-1] == "--promote"
