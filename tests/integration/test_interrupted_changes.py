"""Cut off while a finished cluster is changed, stopped or removed: the next run goes on where it was."""

from collections.abc import Callable
from itertools import count

import pytest

from support.clusters import Cluster, free_ports
from support.servers import wait_until

from .conftest import TellLines

Edit = Callable[[Cluster], None]


def killed(cluster: Cluster, lines: int, *command: str) -> bool:
    """Runs a command and kills it (kill -9) once it has written so many lines. False when it was done before."""
    before = cluster.journal_lines()
    running = cluster.start(*command)
    wait_until(lambda: cluster.journal_lines() - before >= lines or not running.alive, f"line {lines}", 120)
    was_alive = running.alive
    running.kill()
    return was_alive


def raise_and_lower(cluster: Cluster) -> None:
    """Raises one setting that standbys must have, and lowers another."""
    parameters = cluster.topology["parameters"]
    parameters["max_connections"] = 130 if parameters.get("max_connections") == 60 else 60
    parameters["max_worker_processes"] = 6 if parameters["max_connections"] == 130 else 12


def move_the_ports(cluster: Cluster) -> None:
    nodes = cluster.nodes
    nodes["db1"]["port"], nodes["db2"]["port"] = nodes["db2"]["port"], nodes["db1"]["port"]


def add_and_remove(cluster: Cluster) -> None:
    if cluster.nodes.pop("db3", None) is None:
        cluster.nodes["db3"] = {"port": free_ports(1)[0], "upstream": "db2"}


def change_who_confirms(cluster: Cluster) -> None:
    off = cluster.topology["replication"].get("synchronous", "none") == "none"
    cluster.topology["replication"] = {"synchronous": "any 1"} if off else {}


EDITS: list[Edit] = [raise_and_lower, move_the_ports, add_and_remove, change_who_confirms]


def holds(edit: Edit, every: int) -> int:
    """The edit is applied, killed at lines of the journal that are `every` apart, and applied again, until it is
    through unkilled. How often it was killed."""
    with Cluster() as cluster:
        cluster.up()
        for times in count():
            line = (every + 1) // 2 + times * every
            row = f"before line {line}"
            cluster.write_row(row)
            edit(cluster)
            cluster.write()
            cut_off = killed(cluster, line, "apply", "--yes")
            cluster.ok("apply", "--yes")
            cluster.converged()
            for name in cluster.nodes:
                cluster.shows_row(name, row)
            if not cut_off:
                return times
    raise AssertionError("it never ends")


@pytest.mark.parametrize("edit", EDITS)
def test_a_change_killed_at_some_lines_is_completed(edit: Edit) -> None:
    assert holds(edit, every=11) > 0


@pytest.mark.chaos
@pytest.mark.parametrize("edit", EDITS)
def test_a_change_killed_at_every_line_is_completed(edit: Edit, tell_lines: TellLines) -> None:
    tell_lines(holds(edit, every=1))


def test_down_killed_at_any_line_leaves_what_up_starts_again() -> None:
    with Cluster(replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        for line in (1, 2, 3):
            row = f"before down at line {line}"
            cluster.write_row(row)
            killed(cluster, line, "down", "--yes")
            cluster.up()
            cluster.converged()
            cluster.shows_row("db2", row)


@pytest.mark.parametrize("line", [1, 5, 8])
def test_destroy_killed_at_any_line_is_completed_by_the_next(line: int) -> None:
    with Cluster() as cluster:
        cluster.up()
        killed(cluster, line, "down", "--destroy", "--yes")
        cluster.ok("down", "--destroy", "--yes")
        assert [path.name for path in cluster.folder.rglob("*")] == ["pgtandem.toml"]
        assert cluster.processes() == {}


@pytest.mark.parametrize("line", [7, *(pytest.param(line, marks=pytest.mark.chaos) for line in (6, 8, 9))])
def test_up_after_a_destroy_that_was_cut_off_builds_or_refuses_and_never_mixes(line: int) -> None:
    """The standby's data is removed first: whatever `up` finds, it has the rows or nothing at all."""
    with Cluster() as cluster:
        cluster.up()
        cluster.write_row("before the destroy")
        killed(cluster, line, "down", "--destroy", "--yes")
        done = cluster.run("up", "--yes")
        assert done.exit_code in (0, 12), done.said
        if done.exit_code == 0:
            cluster.converged()
            assert cluster.streams("db1") == ["db2"]
        cluster.ok("down", "--destroy", "--yes")


@pytest.mark.parametrize("node", ["db1", "db2"])
def test_a_server_killed_while_the_cluster_is_built(node: str) -> None:
    with Cluster() as cluster:
        running = cluster.start("up", "--yes")
        wait_until(lambda: cluster.pid(node) or not running.alive, f"{node} is started", 60)
        if running.alive:
            cluster.kill_server(node)
        done = running.end()
        assert done.exit_code in (0, 11, 13), done.said
        cluster.up()
        cluster.converged()
        cluster.write_row("after all")
        cluster.shows_row("db2", "after all")


def test_both_servers_killed_at_once_are_started_again() -> None:
    with Cluster(replication={"synchronous": "any 1", "durability": "remote_apply"}) as cluster:
        cluster.up()
        cluster.write_row("acknowledged")
        cluster.signal("db1", 9)
        cluster.signal("db2", 9)
        cluster.up()
        cluster.converged()
        assert cluster.sql("db1", "SELECT count(*) FROM note WHERE text = 'acknowledged'") == 1
