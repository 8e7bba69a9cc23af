"""A standby whose upstream lacks what it needs catches up from the archive, on the majors that issue 5 names."""

import pytest

from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, packaged
from support.servers import wait_until
from support.slots import drop_slot

#: 11 has recovery.conf; the others differ less from what every other test runs on.
_LONG = [pytest.param(major, marks=pytest.mark.chaos) for major in (15, 16, 18)]


@pytest.mark.parametrize("major", [11, *_LONG])
def test_a_standby_catches_up_from_a_compressed_backlog(major: int) -> None:
    try:
        on = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))
    settings = {"min_wal_size": "32MB", "max_wal_size": "32MB"}
    with Cluster(standbys=1, on=on, parameters=settings) as cluster:
        cluster.topology["archive"] |= {"compression": "lz4"}
        cluster.write()
        cluster.up()
        cluster.stop_server("db2")
        needed = drop_slot(cluster, "db2")
        cluster.write_row("long ago")
        kept = cluster.archive.rename(cluster.archive.with_name("gone"))
        finished = []
        for number in range(6):
            query = "SELECT pg_walfile_name(pg_current_wal_lsn()) FROM pg_logical_emit_message(false, 'test', 'x')"
            finished.append(str(cluster.sql("db1", query)))
            cluster.write_row(f"backlog {number}")
            cluster.sql("db1", "SELECT pg_switch_wal()")
        cluster.wait_for("db1", "SELECT failed_count > 0 FROM pg_stat_archiver", 60)
        kept.rename(cluster.archive)
        cluster.wait_for("db1", f"SELECT last_archived_wal >= '{finished[-1]}' FROM pg_stat_archiver", 120)

        def gone() -> bool:
            cluster.sql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
            cluster.sql("db1", "CHECKPOINT")
            return not (cluster.data("db1") / "pg_wal" / needed).exists()

        wait_until(gone, f"{needed} is gone from the primary", 90)
        cluster.apply()
        for row in ("long ago", *(f"backlog {number}" for number in range(6))):
            cluster.shows_row("db2", row)
        assert f'restored log file "{finished[-1]}" from archive' in cluster.log("db2")
        cluster.converged()
        assert cluster.run("archive", "verify").exit_code == 0
