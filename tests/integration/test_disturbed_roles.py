"""Role changes that somebody breaks off with Ctrl-C, and two at once: one primary, and nothing is lost."""

from collections.abc import Iterator

import psycopg
import pytest

from support.clusters import Cluster
from support.servers import wait_until
from support.writer import Writer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with Cluster(standbys=2, replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        yield cluster


def primary_of(cluster: Cluster) -> str:
    (name,) = [name for name, (role, state) in cluster.states().items() if (role, state) == ("primary", "running")]
    return name


def writable(cluster: Cluster) -> list[str]:
    found = []
    for node in cluster.nodes:
        try:
            if cluster.pid(node) and not cluster.sql(node, "SELECT pg_is_in_recovery()"):
                found.append(node)
        except psycopg.OperationalError:
            continue
    return found


def interrupted_at(cluster: Cluster, lines: int, *command: str) -> bool:
    """Ctrl-C once it has written so many lines. False when it was done before."""
    before = cluster.journal_lines()
    running = cluster.start(*command)
    wait_until(lambda: cluster.journal_lines() - before >= lines or not running.alive, f"line {lines}", 120)
    was_alive = running.alive
    if was_alive:
        running.interrupt()
    done = running.end(120)
    assert "Traceback" not in done.said, done.said
    assert done.exit_code in ((0, 130) if was_alive else (0,)), done.said
    return done.exit_code != 0


def test_switchovers_that_are_interrupted_at_any_line(trio: Cluster) -> None:
    lines, cut_off = 2, True
    while cut_off:
        old = primary_of(trio)
        to = "db2" if old == "db1" else "db1"
        with Writer(trio) as writer:
            cut_off = interrupted_at(trio, lines, "switchover", "--to", to, "--yes")
            assert len(writable(trio)) <= 1
            trio.ok("switchover", "--to", to, "--yes")
            assert writable(trio) == [to]
            writer.goes_on()
        trio.converged()
        writer.everything_is_on(*trio.nodes)
        lines += 4


def test_failovers_and_rejoins_that_are_interrupted_at_any_line(trio: Cluster) -> None:
    lines, cut_off = 2, True
    while cut_off:
        old = primary_of(trio)
        with Writer(trio) as writer:
            trio.kill_server(old)
            cut_off = interrupted_at(trio, lines, "failover", "--yes")
            assert len(writable(trio)) <= 1
            again = trio.run("failover", "--yes")
            assert again.exit_code == 0 or "runs as the primary" in again.err, again.said
            writer.goes_on()
            new = primary_of(trio)
            if new != old:
                cut_off |= interrupted_at(trio, lines, "rejoin", old, "--yes")
                assert writable(trio) == [new]
                trio.ok("rejoin", old, "--yes")
        trio.converged()
        assert writer.missing(new) == []
        writer.everything_is_on(*trio.nodes)
        lines += 4


def test_of_two_role_changes_at_once_one_is_refused(trio: Cluster) -> None:
    old = primary_of(trio)
    first, second = (node for node in trio.nodes if node != old)
    with Writer(trio) as writer:
        before = trio.journal_lines()
        running = trio.start("switchover", "--to", first, "--yes")
        wait_until(lambda: trio.journal_lines() - before >= 3 or not running.alive, "it has begun", 60)
        for command in (("switchover", "--to", second), ("failover",), ("rejoin", second), ("apply",)):
            done = trio.run(*command, "--yes")
            if running.alive:
                words = done.refused("PT-5001", 14)
                assert "switchover" in words
            assert len(writable(trio)) <= 1
        assert running.end(120).exit_code == 0
        writer.goes_on()
    trio.apply()
    assert len(writable(trio)) == 1
    writer.everything_is_on(*trio.nodes)
