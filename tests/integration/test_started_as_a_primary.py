"""A standby that lagged was started as a primary by hand, and the real primary's data is gone: the others have more."""

import re
import shutil

import pytest

from support.clusters import Cluster
from support.servers import wait_until

pytestmark = pytest.mark.chaos


def test_nobody_is_made_to_follow_it_and_the_rows_that_it_lacks_are_kept() -> None:
    with Cluster(standbys=2) as cluster:
        cluster.up()
        cluster.write_row("everybody has it")
        for node in ("db2", "db3"):
            cluster.shows_row(node, "everybody has it")
        cluster.stop_server("db3")
        wait_until(lambda: cluster.pid("db3") is None, "db3 has ended")
        for number in range(200):
            cluster.write_row(f"db3 lacks it {number}")
        cluster.shows_row("db2", "db3 lacks it 199")
        cluster.kill_server("db1")
        wait_until(lambda: cluster.pid("db1") is None, "db1 has ended")
        shutil.rmtree(cluster.data("db1"))
        (cluster.data("db3") / "standby.signal").unlink()
        cluster.pg_ctl("db3", "start", "-w", "-l", f"{cluster.data('db3')}.log")
        refused = cluster.run("apply", "--yes")
        assert refused.exit_code == 12, refused.said
        assert "db2 has WAL that db3 never had" in refused.err
        found = re.search(r"stop db3, move (\w{24}) and what follows it out of the archive, \S+ failover", refused.err)
        assert found, refused.err
        cluster.shows_row("db2", "db3 lacks it 199")
        # As it says.
        cluster.stop_server("db3")
        wait_until(lambda: cluster.pid("db3") is None, "db3 has ended")
        (folder,) = cluster.archive.iterdir()
        for path in [one for one in folder.rglob("*") if one.name[:24] >= found[1] and one.name[:8] == found[1][:8]]:
            shutil.move(path, cluster.base / f"{path.parent.name}-{path.name}")
        done = cluster.run("failover", "--to", "db2", "--yes")
        assert done.exit_code == 0, done.said + cluster.log("db2")[-3000:]
        cluster.ok("rejoin", "db3", "--copy", "--yes")
        cluster.ok("apply", "--yes")
        cluster.converged()
        cluster.write_row("afterwards", "db2")
        for node in ("db1", "db3"):
            cluster.shows_row(node, "db3 lacks it 199")
            cluster.shows_row(node, "afterwards")
