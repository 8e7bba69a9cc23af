"""The timeline of a second primary that gave way lies in the archive; nobody may follow it from there."""

from support.clusters import Cluster
from support.provoking import Looks, ids, provokes
from support.servers import wait_until

from .test_doctor import doctor


@provokes("ARC20")
def test_a_node_that_was_promoted_by_mistake_comes_back_though_its_timeline_was_archived(looks: Looks) -> None:
    with Cluster(standbys=2) as cluster:
        cluster.up()
        cluster.write_row("before")
        for node in ("db2", "db3"):
            cluster.shows_row(node, "before")
        cluster.pg_ctl("db2", "promote", "-w")
        cluster.write_row("only on the second one", "db2")
        (folder,) = cluster.archive.iterdir()
        wait_until(lambda: (folder / "00000002.history").exists(), "its history in the archive")
        cluster.sql("db2", "SELECT pg_switch_wal()")
        wait_until(lambda: any(path.name[:16] == "0000000200000000" for path in folder.iterdir()), "its segment too")
        cluster.write_row("on the first one", "db1")
        done = cluster.ok("rejoin", "db2", "--yes")
        assert "set timeline 2 aside" in done.out
        assert "1 transaction was committed after" in done.out
        cluster.converged()
        for node in ("db2", "db3"):
            cluster.shows_row(node, "on the first one")
        assert not [path.name for path in folder.iterdir() if path.name.startswith("00000002")]
        (aside,) = folder.rglob("00000002.history")
        assert aside.parent.parent.name == "set-aside"
        assert [path for path in aside.parent.iterdir() if path.name.startswith("0000000200000000")]
        # A restart asks the archive for the latest timeline.
        cluster.pg_ctl("db3", "restart", "-w", "-m", "fast", "-l", f"{cluster.data('db3')}.log")
        cluster.write_row("after the restart", "db1")
        cluster.shows_row("db3", "after the restart")
        # What is left of the rejoin where it was cut off before: everything runs, and the timeline is there.
        (folder / aside.name).write_bytes(aside.read_bytes())
        assert "ARC20" in looks.take(ids(doctor(cluster, 2)))
        assert "1 file of timeline 2" in cluster.ok("apply", "--yes").out
        assert "ARC20" not in looks.take(ids(doctor(cluster, 0)))
        assert cluster.run("archive", "verify").exit_code == 0
        # The number is free: the next promotion may take it, and its WAL is archived under it.
        cluster.ok("switchover", "--yes")
        cluster.converged()
        assert (folder / "00000002.history").exists()
