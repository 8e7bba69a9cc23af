"""A moment of the past in the place of a node, and what was restored beside a cluster that went on."""

import pytest

from support.clusters import Cluster
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
