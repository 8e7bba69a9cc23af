"""A node that went another way comes back as a standby; what only it had is kept aside and told."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.processes import within
from support.servers import wait_until
from support.writer import Writer

from .conftest import TellLines


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


def other(node: str) -> str:
    return "db2" if node == "db1" else "db1"


def primary_of(cluster: Cluster) -> str:
    (name,) = [name for name, (role, _) in cluster.states().items() if role == "primary"]
    return name


def part(cluster: Cluster, rows: int = 3) -> tuple[str, str]:
    """The standby is promoted by hand while the primary lives: both write. The old primary, and the new one."""
    old = primary_of(cluster)
    new = other(old)
    cluster.write_row("before", old)
    cluster.shows_row(new, "before")
    cluster.pg_ctl(new, "promote", "-w")
    for number in range(rows):
        cluster.write_row(f"only on the old one {number}", old)
    cluster.write_row("on the new one", new)
    return old, new


def is_back(cluster: Cluster, old: str, new: str) -> None:
    cluster.converged()
    assert primary_of(cluster) == new
    cluster.shows_row(old, "on the new one")
    assert not cluster.sql(old, "SELECT EXISTS (SELECT FROM note WHERE text LIKE 'only on%')")
    cluster.write_row("afterwards", new)
    cluster.shows_row(old, "afterwards")


def kept(cluster: Cluster, node: str) -> list[Path]:
    return sorted(cluster.data(node).parent.glob(f"{node}-diverged-*"))


def test_two_primaries_are_told_first_and_one_of_them_is_rewound(pair: Cluster) -> None:
    old, new = part(pair)
    status = pair.run("status")
    assert status.exit_code == 2
    (first, *_) = pair.status()["problems"]
    assert first.startswith("TWO PRIMARIES: ")
    assert re.search(rf"{new} left timeline \d+ at [0-9A-F]+/[0-9A-F]+", first)
    assert f"pgtandem rejoin {min(old, new)} or {max(old, new)}" in first
    refused = pair.run("apply", "--yes")
    assert "pgtandem rejoin" in refused.refused("PT-3001", 12)
    before = kept(pair, old)
    done = pair.ok("rejoin", old, "--yes")
    assert "3 transactions were committed" in done.out, done.said
    assert "rewind" in done.out
    (folder,) = [path for path in kept(pair, old) if path not in before]
    assert any(re.fullmatch("[0-9A-F]{24}", path.name) for path in folder.iterdir())
    is_back(pair, old, new)


def test_a_primary_that_was_killed_and_went_on_alone_is_rewound(pair: Cluster) -> None:
    old, new = part(pair)
    pair.kill_server(old)
    refused = pair.run("plan").refused("PT-3013", 12)
    assert f"pgtandem rejoin {old}" in refused
    done = pair.ok("rejoin", old, "--yes")
    assert "3 transactions were committed" in done.out, done.said
    is_back(pair, old, new)


def test_a_copy_can_be_asked_for(pair: Cluster) -> None:
    old, new = part(pair)
    pair.ok("rejoin", old, "--copy", "--yes")
    is_back(pair, old, new)
    assert list(pair.data(old).parent.glob("*.pgtandem-old.*")) == []
    before = pair.data(old).stat().st_ino
    pair.ok("rejoin", old, "--copy", "--yes")  # also of a standby that has nothing to come back from
    assert pair.data(old).stat().st_ino != before
    is_back(pair, old, new)
    assert list(pair.data(old).parent.glob("*.pgtandem-old.*")) == []


def test_two_primaries_on_one_timeline_take_a_copy() -> None:
    with Cluster(archive=False) as cluster:
        cluster.up()
        cluster.write_row("before")
        cluster.shows_row("db2", "before")
        cluster.stop_server("db2")
        (cluster.data("db2") / "standby.signal").unlink()
        cluster.pg_ctl("db2", "start", "-w", "-l", str(cluster.data("db2")) + ".log")
        cluster.write_row("only on the second one", "db2")
        cluster.write_row("on the first one", "db1")
        done = cluster.ok("rejoin", "db2", "--yes")
        assert "both are on the same timeline" in done.out
        cluster.converged()
        cluster.shows_row("db2", "on the first one")
        assert not cluster.sql("db2", "SELECT EXISTS (SELECT FROM note WHERE text LIKE 'only on%')")
        assert kept(cluster, "db2")


def test_nothing_to_come_back_from(pair: Cluster) -> None:
    standby = other(primary_of(pair))
    assert "nothing to do" in pair.ok("rejoin", standby, "--yes").out
    pair.stop_server(standby)
    pair.ok("rejoin", standby, "--yes")
    pair.converged()
    words = pair.run("rejoin", primary_of(pair), "--yes").refused("PT-3042", 12)
    assert "no other node runs as the primary" in words


def killed_at(cluster: Cluster, node: str, lines: int) -> bool:
    before = cluster.journal_lines()
    running = cluster.start("rejoin", node, "--yes")
    wait_until(lambda: cluster.journal_lines() - before >= lines or not running.alive, f"line {lines}", 120)
    was_alive = running.alive
    running.kill()
    return was_alive


def holds(cluster: Cluster, first: int, every: int, most: int = 1000) -> int:
    """The number of kills, `most` at most. A client writes to the new primary all along."""
    lines, turn = first, 0
    while True:
        old, new = part(cluster)
        with Writer(cluster, primary=new) as writer:
            cut_off = killed_at(cluster, old, lines)
            # A program that outlived pgtandem ends by itself.
            within(10, lambda: not any("pg_rewind" in words for words in cluster.processes().values()))
            again = cluster.run("apply", "--yes") if turn % 2 else cluster.run("rejoin", old, "--yes")
            if again.exit_code:
                assert turn % 2, again.said
                cluster.ok("rejoin", old, "--yes")
            writer.goes_on()
        writer.everything_is_on(old, new)
        is_back(cluster, old, new)
        assert kept(cluster, old)
        if not cut_off:
            return turn
        lines, turn = lines + every, turn + 1
        if turn == most:
            return turn


def test_killed_at_some_lines_of_the_journal_it_comes_back(pair: Cluster) -> None:
    """A sample; the chaos run takes all."""
    assert holds(pair, first=7, every=10, most=2) > 0


@pytest.mark.chaos
def test_killed_at_every_line_of_the_journal_it_comes_back(tell_lines: TellLines) -> None:
    with Cluster() as cluster:
        cluster.up()
        tell_lines(holds(cluster, first=1, every=1))
