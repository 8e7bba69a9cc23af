"""A moment of the past in the place of a node, and what was restored beside a cluster that went on."""

import json
import shutil
import signal

import pytest

from support.clusters import Cluster, free_ports
from support.provoking import Looks, ids, provokes
from support.servers import wait_until

from .test_restore import ROWS, Past, ask, primary_of, restored


def _went_wrong(cluster: Cluster) -> str:
    """A row too many; the moment before it."""
    cluster.write_row("one")
    cluster.ok("backup", "--yes")
    it = Past(cluster)
    it.write("two", "db1")
    it.mark("db1")
    it.write("a mistake", "db1")
    it.settle("db1")
    return it.marks[0][0]


def _is_back(cluster: Cluster, node: str) -> None:
    assert primary_of(cluster) == node
    for name in cluster.nodes:
        assert cluster.rows(name, ROWS) == [("one",), ("two",)]
    cluster.write_row("afterwards", node)
    for name in cluster.nodes:
        cluster.shows_row(name, "afterwards")
    cluster.converged()
    (aside,) = (cluster.folder / "data").glob(f"{node}-before-restore-*")
    assert (aside / "PG_VERSION").exists()
    assert restored(cluster) == [], "nothing of the server that stood beside the cluster is left"
    wait_until(lambda: "00000002.history" in cluster.archived(), "the history file is archived", 60)


@pytest.mark.parametrize("node", [pytest.param("db1", marks=pytest.mark.chaos), "db2"])
def test_a_node_is_replaced_and_the_others_follow(node: str) -> None:
    with Cluster(standbys=2) as cluster:
        cluster.up()
        moment = _went_wrong(cluster)
        cluster.ok("restore", "--to", moment, "--node", node, "--yes", seconds=300)
        _is_back(cluster, node)
        # What the restored server archived is whole, and what was written before and since comes back from it.
        cluster.sql(node, "CREATE TABLE since AS SELECT generate_series(1, 100)")
        ((finished,),) = cluster.rows(node, "SELECT pg_walfile_name(pg_switch_wal())")
        wait_until(lambda: finished in cluster.archived(), f"{finished} is archived", 60)
        cluster.ok("drill", "--query", "SELECT count(*) FROM since", "--yes", seconds=300)
        cluster.ok("archive", "verify")
        cluster.ok("backup", "--full", "--yes")


@pytest.mark.chaos
@pytest.mark.parametrize("line", range(1, 49, 4))
def test_killed_anywhere_while_a_node_is_replaced(line: int) -> None:
    """kill -9 of pgtandem: the same command goes on, and never are there two primaries."""
    with Cluster(standbys=2) as cluster:
        cluster.up()
        moment = _went_wrong(cluster)
        before = cluster.journal_lines()
        arguments = ("restore", "--to", moment, "--node", "db1", "--yes")
        running = cluster.start(*arguments)
        wait_until(lambda: cluster.journal_lines() >= before + line or not running.alive, f"line {line}", 200)
        running.kill()
        cluster.ok(*arguments, seconds=300)
        _is_back(cluster, "db1")


def _cut_off_at(cluster: Cluster, step: str, *arguments: str) -> None:
    """kill -9 of pgtandem once it has begun a step."""
    before = cluster.journal_lines()
    running = cluster.start(*arguments)
    begun = {"event": "step", "step": step}
    wait_until(
        lambda: any(begun.items() <= entry.items() for entry in cluster.journal()[before:]) or not running.alive,
        step,
        200,
    )
    running.kill()


@provokes("RST14")
def test_one_that_was_cut_off_is_named_by_everybody_and_can_be_given_up_or_gone_on_with(looks: Looks) -> None:
    with Cluster() as cluster:
        cluster.up()
        moment = _went_wrong(cluster)
        arguments = ("restore", "--to", moment, "--node", "db1", "--yes")

        def found(code: int) -> set[str]:
            done = cluster.run("doctor", "--json")
            assert done.exit_code == code, done.said
            return looks.take(ids(json.loads(done.out)))

        def again(text: str) -> str:
            words = " ".join(text.split())
            assert "--node db1 goes on with it" in words
            return words

        assert "RST14" not in found(0)
        # The cluster is stopped, and all of it is there.
        _cut_off_at(cluster, "db2.stop", *arguments)
        assert "RST14" in found(2)
        (beside,) = [path for path in restored(cluster) if path.is_dir()]
        left = f"ended before it did, and left {beside}, with a server that runs"
        assert left in again(cluster.run("status").out)
        assert left in again(cluster.run("plan").out)
        cluster.ok("apply", "--yes")
        cluster.program("pg_ctl", "stop", "-w", "-D", str(beside))
        shutil.rmtree(beside)
        assert "RST14" not in found(0)
        assert ("a mistake",) in cluster.rows("db1", ROWS)
        # The node has the restored data; the other one what it goes back from.
        _cut_off_at(cluster, "db2.data", *arguments)
        assert "RST14" in found(2)
        assert "before db2 followed" in again(cluster.run("status").out)
        for command in (("plan",), ("apply", "--yes")):
            again(cluster.run(*command).refused("PT-3059", 12))
        (aside,) = cluster.data("db1").parent.glob("db1-before-restore-*")
        cluster.signal("db1", signal.SIGINT)
        again(cluster.run("apply", "--yes").refused("PT-3059", 12))
        cluster.data("db1").rename(cluster.data("given up"))
        aside.rename(cluster.data("db1"))
        cluster.ok("apply", "--yes")
        cluster.converged()
        assert "RST14" not in found(0)
        for name in cluster.nodes:
            cluster.shows_row(name, "a mistake")
        _cut_off_at(cluster, "db2.data", *arguments)
        cluster.ok(*arguments, seconds=300)
        _is_back(cluster, "db1")
        assert "RST14" not in found(0)


def test_where_another_node_cannot_follow_it_says_that_the_restore_is_done_and_what_is_not() -> None:
    with Cluster(standbys=0) as cluster:
        cluster.up()
        moment = _went_wrong(cluster)
        (cluster.folder / "a file").write_text("in the way")
        (port,) = free_ports(1)
        cluster.nodes["db2"] = {"port": port, "wal_directory": str(cluster.folder / "a file" / "wal")}
        cluster.write()
        arguments = ("restore", "--to", moment, "--node", "db1", "--yes")
        refused = " ".join(cluster.run(*arguments, seconds=300).refused("PT-3023", 12).split())
        (aside,) = cluster.data("db1").parent.glob("db1-before-restore-*")
        assert "The restore itself is done: db1 is the primary, brought to" in refused
        assert f"what it had before is in {aside}. db2 does not follow it yet." in refused
        assert "then the same restore again, which goes on" in refused
        (cluster.folder / "a file").unlink()
        (cluster.folder / "a file").mkdir()
        cluster.own(cluster.folder / "a file")
        cluster.ok(*arguments, seconds=300)
        _is_back(cluster, "db1")


def test_a_copy_of_a_node_that_was_restored_is_not_taken_for_a_restored_node() -> None:
    """The note in the restored data is copied to the others with everything else."""
    with Cluster() as cluster:
        cluster.up()
        moment = _went_wrong(cluster)
        cluster.ok("restore", "--to", moment, "--node", "db1", "--yes", seconds=300)
        later = Past(cluster)
        later.write("afterwards", "db1")
        later.settle("db1")
        cluster.shows_row("db2", "afterwards")
        cluster.ok("restore", "--to", moment, "--node", "db2", "--yes", seconds=300)
        assert primary_of(cluster) == "db2"
        for name in cluster.nodes:
            assert cluster.rows(name, ROWS) == [("one",), ("two",)]
        cluster.converged()


@pytest.mark.chaos
def test_what_was_begun_goes_on_though_the_cluster_did_so_too() -> None:
    """Somebody looks for an hour at what came back. Meanwhile there is another backup, on another timeline."""
    with Cluster() as cluster:
        cluster.up()
        it = Past(cluster)
        it.write("before the backup", "db1")
        cluster.ok("backup", "--yes")
        it.write("one", "db1")
        it.mark("db1")
        it.write("two", "db1")
        it.settle("db1")
        place, rows = it.places[0]
        cluster.ok("restore", "--to", place, "--yes")
        done = cluster.ok("restore", "--to", "latest", "--yes")
        cluster.ok("backup", "--full", "--yes")
        cluster.ok("switchover", "--yes")
        it.write("meanwhile", "db2")
        it.settle("db2")
        refused = cluster.run("restore", "--to", "latest", "--yes").refused("PT-3055", 12)
        assert "holds an earlier restore to the end of the archive" in refused
        (latest,) = [path for path in restored(cluster) if path.name.endswith("-latest")]
        cluster.program("pg_ctl", "stop", "-w", "-D", str(latest))
        cluster.run("restore", "--to", "latest", "--yes").refused("PT-3055", 12)
        done = cluster.ok("restore", "--to", place, "--promote", "--yes")
        assert ask(cluster, done, ROWS) == rows
        done = cluster.ok("restore", "--to", "latest", "--into", str(cluster.data("now")), "--yes")
        assert ask(cluster, done, ROWS) == it.rows
