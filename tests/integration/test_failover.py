"""The primary is gone: the standby that received the most takes over, and no second primary can come up."""

import os
import re
import shutil
import signal
from collections.abc import Iterator

import pytest

from support.clusters import Cluster
from support.servers import wait_until
from support.writer import Writer

from .conftest import TellLines


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with Cluster(standbys=2, replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        yield cluster


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


def primary_of(cluster: Cluster) -> str:
    (name,) = [name for name, (role, state) in cluster.states().items() if (role, state) == ("primary", "running")]
    return name


def rejoin(cluster: Cluster, node: str) -> None:
    cluster.ok("rejoin", node, "--yes")
    cluster.converged()


def test_after_kill_9_no_acknowledged_synchronous_row_is_missing(trio: Cluster) -> None:
    for _ in range(2):
        old = primary_of(trio)
        with Writer(trio) as writer:
            trio.kill_server(old)
            done = trio.ok("failover", "--yes")
            assert "Lost: no commit that was acknowledged to a client." in done.out
            new = primary_of(trio)
            assert new != old
            writer.goes_on()
        assert (trio.data(old) / "standby.signal").exists(), "it can only come back as a standby"
        assert writer.missing(new) == []
        rejoin(trio, old)
        writer.everything_is_on("db1", "db2", "db3")


def test_with_too_few_standbys_seen_nobody_is_promoted_who_could_lack_an_acknowledged_row(trio: Cluster) -> None:
    old = primary_of(trio)
    standbys = [node for node in trio.nodes if node != old]
    trio.stop_server(standbys[0])
    trio.write_row("acknowledged by the other", old)
    trio.kill_server(old)
    trio.stop_server(standbys[1])
    trio.pg_ctl(standbys[0], "start", "-w", "-l", str(trio.data(standbys[0])) + ".log")
    words = trio.run("failover", "--yes").refused("PT-3042", 12)
    assert "acknowledged commits" in words
    assert f"1 of 2 standbys of {old} are seen" in words
    trio.pg_ctl(standbys[1], "start", "-w", "-l", str(trio.data(standbys[1])) + ".log")
    trio.ok("failover", "--yes")
    assert primary_of(trio) == standbys[1], "the one that has the row"
    trio.shows_row(standbys[1], "acknowledged by the other")
    rejoin(trio, old)


def test_a_primary_whose_disk_is_gone_counts_for_what_it_acknowledged(trio: Cluster) -> None:
    """One standby confirmed alone and stopped then, the other one runs: what nobody sees must not be lost."""
    old = primary_of(trio)
    with_all, without = (node for node in trio.nodes if node != old)
    with Writer(trio) as writer:
        frozen = trio.sql(without, "SELECT pid FROM pg_stat_wal_receiver")
        os.kill(frozen, signal.SIGSTOP)
        writer.goes_on()
        trio.kill_server(old)
        trio.kill_child(without, frozen)
        trio.kill_server(with_all)
    shutil.move(trio.data(old), trio.folder / "gone")
    words = trio.run("failover", "--yes").refused("PT-3042", 12)
    assert f"acknowledged commits of {without}: 1 of 2 standbys of {old} are seen" in words
    started = trio.run("apply", "--yes")
    assert f"start {with_all}" in started.out
    assert "pgtandem failover" in started.refused("PT-6001", 15)
    trio.ok("failover", "--yes")
    assert primary_of(trio) == with_all
    assert writer.missing(with_all) == []
    trio.converged()


def test_what_is_lost_is_told_and_the_old_primary_comes_back(pair: Cluster) -> None:
    old = primary_of(pair)
    new = "db2" if old == "db1" else "db1"
    with Writer(pair) as writer:
        pair.sql(new, "SELECT pg_wal_replay_pause()")
        pair.sql(new, "SELECT pg_wal_replay_resume()")
        freeze(pair, new)
        writer.goes_on(30)
        pair.kill_server(old)
        thaw(pair, new)
        done = pair.ok("failover", "--yes")
        said = " ".join(done.out.split())
        announced = re.search(
            r"(\d+) transactions? (?:were|was) committed after \S+, about [0-9.]+ [kMG]?B of WAL", said
        )
        assert announced or "no transaction was committed" in said, done.said
        assert said.index("Lost: ") < said.index("promoted"), "told before anybody is promoted"
        writer.goes_on()
    missing = writer.missing(new)
    assert len(missing) <= (int(announced.group(1)) if announced else 0), done.said
    refused = pair.run("apply", "--yes")
    assert refused.exit_code == 0 or f"pgtandem rejoin {old}" in refused.err, refused.said
    rejoin(pair, old)


@pytest.mark.chaos
def test_a_standby_that_is_ahead_of_the_new_primary_is_rewound_by_the_failover() -> None:
    with Cluster(standbys=2) as cluster:
        cluster.up()
        freeze(cluster, "db2")
        cluster.write_row("only db3 has it")
        cluster.shows_row("db3", "only db3 has it")
        cluster.stop_server("db3")
        cluster.kill_server("db1")
        thaw(cluster, "db2")
        done = cluster.ok("failover", "--yes")
        assert "rewind" in done.out, done.said
        assert primary_of(cluster) == "db2"
        cluster.write_row("on the new primary", "db2")
        cluster.shows_row("db3", "on the new primary")
        assert not cluster.sql("db3", "SELECT EXISTS (SELECT FROM note WHERE text = 'only db3 has it')")
        assert list(cluster.data("db3").parent.glob("db3-diverged-*")), "what it had is kept"
        rejoin(cluster, "db1")


def freeze(cluster: Cluster, node: str) -> None:
    """The standby's WAL receiver stands still; what it has not got yet is lost with the primary."""
    for pid in receivers(cluster, node):
        os.kill(pid, signal.SIGSTOP)


def thaw(cluster: Cluster, node: str) -> None:
    for pid in receivers(cluster, node):
        cluster.kill_child(node, pid)


def receivers(cluster: Cluster, node: str) -> list[int]:
    pid = cluster.pid(node)
    from support.processes import children, command_lines

    below = set(children(pid)) if pid else set()
    return [number for number, words in command_lines() if number in below and "walreceiver" in words]


def test_a_primary_that_runs_is_not_failed_over(pair: Cluster) -> None:
    words = pair.run("failover", "--yes").refused("PT-3042", 12)
    assert "pgtandem switchover" in words


@pytest.mark.chaos
def test_a_hung_primary_is_ended_first(pair: Cluster) -> None:
    old = primary_of(pair)
    pid = pair.pid(old)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        done = pair.run("failover", "--yes", seconds=120)
        assert done.exit_code == 13, done.said
        assert f"kill -9 {pid}" in done.err, "a frozen process obeys nothing else"
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: pair.pid(old) is None, "the signal that waited ends it", 60)
    pair.ok("failover", "--yes")
    assert primary_of(pair) != old
    rejoin(pair, old)


def test_after_a_clean_stop_nothing_is_lost_and_the_old_primary_simply_follows(pair: Cluster) -> None:
    old = primary_of(pair)
    pair.write_row("the last one", old)
    pair.stop_server(old)
    done = pair.ok("failover", "--yes")
    assert "Lost: nothing" in done.out
    pair.converged()
    new = primary_of(pair)
    assert new != old
    pair.shows_row(old, "the last one")


def holds(cluster: Cluster, first: int, every: int, most: int = 1000) -> int:
    """kill -9 of the primary, and of pgtandem at some line of the failover; then the same command again, until it is
    through without a kill, or so many times at most. How often."""
    lines, kills = first, 0
    while True:
        old = primary_of(cluster)
        with Writer(cluster) as writer:
            cluster.kill_server(old)
            before = cluster.journal_lines()
            running = cluster.start("failover", "--yes")
            wait_until(
                lambda before=before, lines=lines, running=running: (
                    cluster.journal_lines() - before >= lines or not running.alive
                ),
                f"line {lines}",
                120,
            )
            cut_off = running.alive
            running.kill()
            again = cluster.run("failover", "--yes")
            if again.exit_code:
                # Cut off before anything was done that matters: nobody was told to promote itself.
                assert "runs as the primary" in again.err, again.said
            writer.goes_on()
        new = primary_of(cluster)
        assert writer.missing(new) == []
        if new != old:
            rejoin(cluster, old)
        cluster.converged()
        if not cut_off:
            return kills
        lines, kills = lines + every, kills + 1
        if kills == most:
            return kills


def test_killed_at_some_lines_of_the_journal_it_is_completed(trio: Cluster) -> None:
    """A sample; the chaos run takes all."""
    assert holds(trio, first=9, every=5, most=2) > 0


@pytest.mark.chaos
def test_killed_at_every_line_of_the_journal_it_is_completed(tell_lines: TellLines) -> None:
    with Cluster(standbys=2, replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        tell_lines(holds(cluster, first=1, every=1))
