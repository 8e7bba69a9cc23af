"""A second primary on the same timeline archived the segment that a standby is in. The standby's own copy of it holds
what the real primary acknowledged: the archive's must not take its place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, packaged
from support.servers import wait_until
from support.writer import Writer

from .test_second_primary_archives import copied_and_started, folder_of

pytestmark = pytest.mark.chaos


def promoted_at_once(cluster: Cluster) -> None:
    """Nothing happens to the standby before."""


def stopped_and_started(cluster: Cluster) -> None:
    cluster.stop_server("db2")
    started(cluster)


def killed_and_started(cluster: Cluster) -> None:
    pid = cluster.pid("db2")
    cluster.kill_server("db2")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "its process id is free", 30)
    started(cluster)


def started(cluster: Cluster) -> None:
    cluster.pg_ctl("db2", "start", "-w", "-l", f"{cluster.data('db2')}.log")
    wait_until(lambda: cluster.streams("db1") == ["db2"], "db2 streams again", 60)


@pytest.mark.parametrize("major", [11, 15, 18])
@pytest.mark.parametrize("before", [promoted_at_once, stopped_and_started, killed_and_started])
def test_a_standby_keeps_what_it_streamed_of_a_segment_that_a_second_primary_has_archived(
    before: Callable[[Cluster], None], major: int
) -> None:
    try:
        on = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))
    with Cluster(on=on) as cluster:
        cluster.up()
        cluster.sql("db1", "CREATE TABLE written (id bigint PRIMARY KEY)")
        cluster.wait_for("db1", "SELECT count(*) = 1 FROM pg_stat_replication")
        with copied_and_started(cluster) as intruder:
            name = intruder.writes()
            path = folder_of(cluster) / name
            wait_until(path.exists, f"{name} is archived by the copy", 60)
            with Writer(cluster) as writer:
                writer.goes_on(100)
            assert cluster.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())") == name, "both are in this one"
            writer.everything_is_on("db2")
            before(cluster)
            cluster.kill_server("db1")
            done = cluster.run("failover", "--to", "db2", "--yes")
            assert done.exit_code == 0, done.said + cluster.log("db2")[-3000:]
            assert writer.missing("db2") == [], cluster.log("db2")[-3000:]
            assert cluster.rows("db2", "SELECT id FROM written WHERE id = -1") == []
            said = cluster.log("db2")
            assert f"the archive's {name} is another one than pg_wal/{name} from byte" in said, said[-3000:]
            assert "ours stays" in said
