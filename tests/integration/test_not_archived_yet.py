"""The archive was out of order for hours, then the primary was lost: what it alone had of archived WAL gets there."""

from pathlib import Path

import pytest

from integration.test_wal_g import STAND_IN
from support.clusters import Cluster, newest
from support.servers import wait_until

pytestmark = pytest.mark.chaos

_SMALL = {"min_wal_size": "32MB", "max_wal_size": "32MB"}


def _kept_by(cluster: Cluster, keeper: str) -> Path:
    """Who keeps the archive, and where, once it is built."""
    if keeper == "pgtandem":
        return next(iter(cluster.archive.glob("[0-9]*")), cluster.archive)
    kept = cluster.folder / "kept"
    return kept / "wal_005" if keeper == "WAL-G" else kept


def _begin(cluster: Cluster, keeper: str) -> None:
    if keeper != "pgtandem":
        kept = cluster.folder / "kept"
        kept.mkdir()
        cluster.own(kept)
    if keeper == "WAL-G":
        tool = cluster.folder / "wal-g"
        tool.write_text(STAND_IN)
        tool.chmod(0o755)
        words = f"env WALG_FILE_PREFIX={kept} {tool}"
        cluster.topology["archive"] = {"command": f"{words} wal-push %p", "restore": f"{words} wal-fetch %f %p"}
    elif keeper == "cp":
        # The same file again is an error to it.
        cluster.topology["archive"] = {
            "command": f"test ! -f {kept}/%f && cp %p {kept}/%f",
            "restore": f"cp {kept}/%f %p",
        }
    cluster.write()
    cluster.up()


def _there(folder: Path) -> set[str]:
    return {path.name[:24] for path in folder.iterdir() if len(path.name.partition(".")[0]) == 24}


def _not_archived(cluster: Cluster, folder: Path) -> set[str]:
    """Segments that the archive does not take; the standby has recycled the first of them."""
    folder.chmod(0o500)
    waiting = set()
    for number in range(6):
        cluster.write_row(f"row {number}")
        waiting.add(cluster.sql("db1", "SELECT pg_walfile_name(pg_switch_wal())"))
        cluster.sql("db1", "CHECKPOINT")
        cluster.shows_row("db2", f"row {number}")
        cluster.sql("db2", "CHECKPOINT")
    assert not waiting <= {path.name for path in (cluster.data("db2") / "pg_wal").iterdir()}
    return waiting


def _lose_the_primary(cluster: Cluster, folder: Path) -> set[str]:
    waiting = _not_archived(cluster, folder)
    cluster.kill_server("db1")
    cluster.ok("failover", "--yes")
    return waiting


@pytest.mark.parametrize("keeper", ["pgtandem", "WAL-G", "cp"])
def test_what_only_the_lost_primary_had_is_archived_when_it_rejoins(keeper: str) -> None:
    with Cluster(standbys=1, archive=keeper == "pgtandem", on=newest(), parameters=_SMALL) as cluster:
        _begin(cluster, keeper)
        folder = _kept_by(cluster, keeper)
        waiting = _lose_the_primary(cluster, folder)
        folder.chmod(0o700)
        cluster.ok("rejoin", "db1", "--yes")
        wait_until(lambda: waiting <= _there(folder), f"{sorted(waiting)} are archived", 60)
        cluster.sql("db2", "SELECT pg_switch_wal()")
        cluster.nothing_waits_for_the_archive("db2")
        # Back again: what has been archived is no trouble then.
        cluster.ok("switchover", "--yes")
        cluster.sql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
        cluster.nothing_waits_for_the_archive("db1")
        cluster.converged()


def test_what_cannot_be_archived_when_it_rejoins_is_kept() -> None:
    with Cluster(standbys=1, on=newest(), parameters=_SMALL) as cluster:
        _begin(cluster, "pgtandem")
        folder = _kept_by(cluster, "pgtandem")
        waiting = _lose_the_primary(cluster, folder)
        done = cluster.run("rejoin", "db1", "--yes")
        assert "segments that could not be archived" in done.out
        (kept,) = cluster.data("db1").parent.glob("db1-diverged-*")
        assert waiting - _there(folder) <= {path.name for path in kept.iterdir()}
        folder.chmod(0o700)
        cluster.nothing_waits_for_the_archive("db2")


@pytest.mark.parametrize("keeper", ["pgtandem", "cp"])
def test_a_primary_that_was_stopped_archives_the_rest_before_it_follows(keeper: str) -> None:
    """It parted from nobody, so that the failover itself starts it as a standby, which would give that WAL up."""
    with Cluster(standbys=1, archive=keeper == "pgtandem", on=newest(), parameters=_SMALL) as cluster:
        _begin(cluster, keeper)
        folder = _kept_by(cluster, keeper)
        waiting = _not_archived(cluster, folder)
        cluster.stop_server("db1")
        folder.chmod(0o700)
        done = cluster.ok("failover", "--yes")
        assert "archive what db1 had not archived as the primary" in done.out
        wait_until(lambda: waiting <= _there(folder), f"{sorted(waiting)} are archived", 60)
        cluster.sql("db2", "SELECT pg_switch_wal()")
        cluster.nothing_waits_for_the_archive("db2")
        cluster.converged()
        cluster.ok("switchover", "--yes")
        cluster.sql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
        cluster.nothing_waits_for_the_archive("db1")


def test_what_a_primary_that_was_stopped_cannot_archive_is_kept_before_it_follows() -> None:
    with Cluster(standbys=1, on=newest(), parameters=_SMALL) as cluster:
        _begin(cluster, "pgtandem")
        folder = _kept_by(cluster, "pgtandem")
        waiting = _not_archived(cluster, folder)
        cluster.stop_server("db1")
        done = cluster.run("failover", "--yes")
        assert "segments that could not be archived" in done.out
        (kept,) = cluster.data("db1").parent.glob("db1-diverged-*")
        assert waiting - _there(folder) <= {path.name for path in kept.iterdir()}
        folder.chmod(0o700)
        cluster.apply()
        cluster.converged()
