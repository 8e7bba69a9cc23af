"""A standby that was away: from its slot, from the WAL archive, and down a cascade."""

from collections.abc import Iterator

import pytest

from support.clusters import Cluster
from support.servers import wait_until

#: WAL is recycled at every checkpoint.
SMALL = {"min_wal_size": "32MB", "max_wal_size": "32MB"}


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with Cluster(standbys=2, parameters=SMALL) as cluster:
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.write()
        cluster.up()
        yield cluster


def finish_segments(cluster: Cluster, count: int) -> None:
    with cluster.connect("db1") as connection:
        for _ in range(count):
            connection.execute("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
        connection.execute("CHECKPOINT")


def test_a_standby_that_was_away_gets_what_its_slot_kept(three: Cluster) -> None:
    three.stop_server("db2")
    three.write_row("kept by the slot")
    finish_segments(three, 6)
    three.apply()
    three.shows_row("db3", "kept by the slot")


def test_a_standby_whose_wal_is_gone_from_the_primary_catches_up_from_the_archive(three: Cluster) -> None:
    three.stop_server("db3")
    three.stop_server("db2")
    needed = three.sql("db1", "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots")
    three.sql("db1", "SELECT pg_drop_replication_slot('pgtandem_db2')")
    three.write_row("only in the archive")

    def gone() -> bool:
        finish_segments(three, 4)
        return not (three.data("db1") / "pg_wal" / needed).exists()

    wait_until(gone, f"{needed} is gone from the primary", 60)
    wait_until(lambda: needed in three.archived(), f"{needed} is in the archive", 60)
    three.apply()
    three.shows_row("db3", "only in the archive")
    assert f'restored log file "{needed}" from archive' in three.log("db2")
    assert three.slots("db1") == ["pgtandem_db2"]


def test_an_archive_that_refuses_is_told_and_nothing_is_lost_once_it_is_mended(three: Cluster) -> None:
    away = three.folder / "away"
    three.archive.rename(away)
    finish_segments(three, 2)
    three.wait_for("db1", "SELECT failed_count > 0 FROM pg_stat_archiver")
    status = three.run("status")
    assert status.exit_code == 2
    assert "cannot archive" in status.out
    before = sorted(path.name for folder in away.iterdir() for path in folder.iterdir())
    away.rename(three.archive)
    three.apply()
    three.wait_for("db1", "SELECT last_archived_time > last_failed_time FROM pg_stat_archiver", 90)
    names = [name for name in three.archived() if len(name) == 24]
    assert set(before) <= set(three.archived())
    numbers = [int(name[16:], 16) for name in names]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no segment is missing"


def test_an_archived_segment_is_never_overwritten(three: Cluster) -> None:
    """Somebody put another file where the next segment would go: archiving stops, and says so."""
    with three.connect("db1") as connection:
        name = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
    assert name is not None
    folder = next(path for path in three.archive.iterdir() if path.name.isdigit())
    squatter = folder / name[0]
    squatter.write_bytes(b"other content")
    three.own(squatter)
    finish_segments(three, 1)
    three.wait_for("db1", "SELECT failed_count > 0 AND last_failed_wal IS NOT NULL FROM pg_stat_archiver")
    wait_until(lambda: "other content" in three.log("db1"), "the log names the file")
    assert squatter.read_bytes() == b"other content"
    assert (three.data("db1") / "pg_wal" / name[0]).exists(), "the primary keeps the segment"
    failed = three.run("apply", "--yes")
    assert failed.exit_code in (0, 13), failed.said
    squatter.unlink()
    three.apply()
    wait_until(lambda: name[0] in three.archived(), "archived once the other file is gone", 90)
