"""A role change does not wait for work that can be begun anew: it ends a backup, a drill, a restore or a copy."""

import os
import signal
from collections.abc import Iterator

import pytest

from integration.test_restore import Past
from support.clusters import Cluster, free_ports
from support.program import Running
from support.servers import wait_until
from support.terminals import Terminal
from support.writer import Writer

#: A commit is on one standby more, so that nothing is lost with a primary; a backup takes long: 25 MB at 1 MB a second.
QUICKLY = {"synchronous": "any 1"}
SLOWLY = {**QUICKLY, "max_copy_rate": "1MB"}


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with Cluster(standbys=2, replication=SLOWLY) as cluster:
        cluster.up()
        yield cluster


def primary_of(cluster: Cluster) -> str:
    (primary,) = [name for name, (role, _) in cluster.states().items() if role == "primary"]
    return primary


def kept(cluster: Cluster) -> list[str]:
    """The backups that count as such."""
    return [path.name for path in cluster.archive.glob("*/backups/[0-9]*")]


def copying(cluster: Cluster, running: Running) -> None:
    def test() -> bool:
        assert running.alive, running.end().said
        return any(path.stat().st_size for path in cluster.archive.glob("*/backups/.*.part/base.tar"))

    wait_until(test, "it copies", 60)


def failed_over(cluster: Cluster, running: Running, *, apply: bool = False) -> None:
    """The primary is killed, and failover goes first at once. The old primary is brought back."""
    old = primary_of(cluster)
    with Writer(cluster) as writer:
        writer.goes_on()
        cluster.kill_server(old)
        done = cluster.ok("failover", "--yes")
        assert f"(process {running.process.pid}) holds the lock" in done.out
        writer.goes_on()
    cluster.ok("rejoin", old, "--yes")
    if apply:
        cluster.topology["replication"] = QUICKLY
        cluster.apply()
    cluster.converged()
    assert primary_of(cluster) != old
    assert writer.missing(primary_of(cluster)) == []


@pytest.mark.chaos
def test_failover_ends_a_backup_from_a_standby_and_the_next_one_works(trio: Cluster) -> None:
    before = kept(trio)
    running = trio.start("backup", "--full", "--yes")
    copying(trio, running)
    failed_over(trio, running)
    ended = running.end().refused("PT-5002", 14)
    assert '"failover" by' in ended
    assert kept(trio) == before
    trio.topology["replication"] = QUICKLY
    trio.apply()
    trio.ok("backup", "--full", "--yes")
    assert len(kept(trio)) == len(before) + 1
    trio.ok("backup", "verify")
    trio.topology["replication"] = SLOWLY
    trio.apply()


@pytest.mark.chaos
def test_backup_from_the_primary_ends_with_it_and_counts_as_none(trio: Cluster) -> None:
    """kill -9 of the primary, with and without a failover. The archive goes on, and the next backup works."""
    before = kept(trio)
    primary = primary_of(trio)
    running = trio.start("backup", "--full", "--from", primary, "--yes")
    copying(trio, running)
    trio.kill_server(primary)
    assert trio.ok("failover", "--yes").exit_code == 0
    ended = running.end()
    assert ended.exit_code in (13, 14), ended.said
    assert "PT-4051" in ended.err or "PT-5002" in ended.err, ended.said
    assert kept(trio) == before
    trio.ok("rejoin", primary, "--yes")
    trio.converged()
    primary = primary_of(trio)
    running = trio.start("backup", "--full", "--from", primary, "--yes")
    copying(trio, running)
    trio.kill_server(primary)
    failed = running.end().refused("PT-4051", 13)
    assert "could not take a backup from" in failed
    assert kept(trio) == before
    trio.ok("apply", "--yes")  # starts it again
    trio.write_row("after the kill", primary)
    trio.ok("archive", "verify")
    trio.topology["replication"] = QUICKLY
    trio.apply()
    trio.ok("backup", "--full", "--from", primary, "--yes")
    assert len(kept(trio)) == len(before) + 1
    drill = trio.ok("drill", "--query", "SELECT count(*) FROM note WHERE text = 'after the kill'", "--yes")
    assert "1" in drill.out
    trio.topology["replication"] = SLOWLY
    trio.apply()


@pytest.mark.chaos
def test_primary_killed_while_a_standby_is_backed_up_leaves_no_half_backup(trio: Cluster) -> None:
    """kill -9, and nobody fails over: the backup is no backup until its WAL is in the archive."""
    before = kept(trio)
    primary = primary_of(trio)
    running = trio.start("backup", "--full", "--yes")
    copying(trio, running)
    trio.kill_server(primary)
    ended = running.end(300)
    assert ended.exit_code in (11, 13), ended.said
    assert kept(trio) == before
    trio.ok("apply", "--yes")
    trio.topology["replication"] = QUICKLY
    trio.apply()
    trio.ok("backup", "--yes")
    assert len(kept(trio)) == len(before) + 1
    trio.ok("drill", "--yes")
    trio.topology["replication"] = SLOWLY
    trio.apply()


@pytest.mark.chaos
def test_failover_ends_the_copy_of_a_node_and_the_next_apply_makes_it_anew(trio: Cluster) -> None:
    """From a standby: the copy of a primary that was killed ends by itself."""
    source = next(name for name in ("db1", "db2", "db3") if name != primary_of(trio))
    trio.restart_by_a_link(source)  # the copy is made by pg_basebackup, at its rate
    trio.topology["nodes"]["db4"] = {"port": free_ports(1)[0], "upstream": source}
    trio.write()
    running = trio.start("apply", "--yes")
    wait_until(lambda: any("db4.pgtandem-new" in path for path in trio.leftovers()), "db4 is copied", 60)
    failed_over(trio, running, apply=True)
    running.end().refused("PT-5002", 14)
    del trio.topology["nodes"]["db4"]
    trio.topology["replication"] = SLOWLY
    trio.apply()


@pytest.mark.chaos
def test_failover_goes_before_whoever_thinks_about_a_plan(trio: Cluster) -> None:
    """A backup stands at its question, and so does a failover that asks."""
    old = primary_of(trio)
    with Terminal(trio.options(), " ".join([*trio.argv, "backup"])) as backup:
        backup.shows("Go ahead? [y/N]")
        trio.run("apply", "--yes").refused("PT-5001", 14)
        refused = trio.run("failover", "--yes")
        refused.refused("PT-3042", 12)
        assert "PT-5002" not in backup.shown(), "a failover that cannot be ends nobody's work"
        trio.kill_server(old)
        with Terminal(trio.options(), " ".join([*trio.argv, "failover"])) as failover:
            failover.shows('End "backup", and go on? [y/N]')
            failover.press("n", "Enter")
            failover.shows("Nothing was changed.")
        assert "PT-5002" not in backup.shown()
        trio.ok("failover", "--yes")
        backup.shows("PT-5002")
        backup.shows("code 14")
    trio.ok("rejoin", old, "--yes")
    trio.converged()


@pytest.mark.chaos
def test_who_does_not_let_go_is_named(trio: Cluster) -> None:
    """Its pgtandem is frozen: the role change waits for a while, changes nothing, and says whom to kill."""
    running = trio.start("backup", "--full", "--yes")
    copying(trio, running)
    os.kill(running.process.pid, signal.SIGSTOP)
    to = next(name for name in trio.nodes if name != primary_of(trio))
    refused = trio.run("switchover", "--to", to, "--yes").refused("PT-5001", 14)
    assert f"kill {running.process.pid}" in refused
    os.kill(running.process.pid, signal.SIGCONT)
    trio.ok("switchover", "--to", to, "--yes")
    ended = running.end()
    assert ended.exit_code == 0 or "PT-5002" in ended.err, ended.said  # what it had started went on meanwhile
    trio.converged()


@pytest.mark.chaos
def test_switchover_ends_a_drill_and_a_restore_beside(trio: Cluster) -> None:
    trio.topology["replication"] = QUICKLY
    trio.apply()
    trio.ok("backup", "--full", "--yes")
    failed = [path.read_text() for path in trio.archive.glob("*/backups/*/drill.json")]
    primary = primary_of(trio)
    trio.write_row("before the end", primary)
    it = Past(trio)
    it.mark(primary)
    trio.write_row("the end", primary)
    it.settle(primary)
    ((position, _),) = it.places
    place = trio.folder / "data/beside"
    for command in (("drill",), ("restore", "--to", position, "--into", str(place))):
        lines = trio.journal_lines()
        running = trio.start(*command, "--yes")
        wait_until(lambda before=lines: trio.journal_lines() >= before + 2, "it restores", 60)
        to = next(name for name in trio.nodes if name != primary_of(trio))
        trio.ok("switchover", "--to", to, "--yes")
        ended = running.end()
        assert ended.exit_code == 0 or "PT-5002" in ended.err, ended.said
        trio.ok(*command, "--yes")
        trio.converged()
    notes = [path.read_text() for path in trio.archive.glob("*/backups/*/drill.json")]
    assert len(notes) == len(failed) + 1
    assert all('"trouble": ""' in note for note in notes if note not in failed), notes
