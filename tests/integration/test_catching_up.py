"""A standby that was away: from its slot, from the WAL archive, and down a cascade."""

import time
from collections.abc import Iterator

import pytest

from pgtandem.postgres.archive_content import wal_name
from support.clusters import Cluster
from support.servers import wait_until
from support.slots import drop_slot

#: WAL is recycled at every checkpoint.
SMALL = {"min_wal_size": "32MB", "max_wal_size": "32MB"}


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with Cluster(standbys=2, parameters=SMALL) as cluster:
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.write()
        cluster.up()
        yield cluster


@pytest.fixture(scope="module")
def without_archive() -> Iterator[Cluster]:
    with Cluster(standbys=1, archive=False, parameters=SMALL) as cluster:
        cluster.up()
        yield cluster


def take_the_slot_away(cluster: Cluster) -> str:
    """The first standby is stopped, and its slot dropped; the name of the segment in which its WAL ends."""
    cluster.stop_server("db2")
    return drop_slot(cluster, "db2")


def remove_wal(cluster: Cluster, name: str, *, at_once: int) -> None:
    """Finishes segments on the primary until it has removed this one."""

    def gone() -> bool:
        finish_segments(cluster, at_once)
        return not (cluster.data("db1") / "pg_wal" / name).exists()

    wait_until(gone, f"{name} is gone from the primary", 60)


def inode(cluster: Cluster, node: str) -> int:
    return (cluster.data(node) / "PG_VERSION").stat().st_ino


def replaced(cluster: Cluster) -> list[str]:
    return [path.name for path in cluster.data("db2").parent.iterdir() if ".pgtandem-old." in path.name]


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
    needed = take_the_slot_away(three)
    three.write_row("only in the archive")
    remove_wal(three, needed, at_once=4)
    wait_until(lambda: needed in three.archived(), f"{needed} is in the archive", 60)
    three.apply()
    three.shows_row("db3", "only in the archive")
    assert f'restored log file "{needed}" from archive' in three.log("db2")
    assert three.slots("db1") == ["pgtandem_db2"]


def test_the_form_of_the_archive_changes_on_a_running_cluster_and_every_form_is_read(three: Cluster) -> None:
    three.stop_server("db3")
    needed = take_the_slot_away(three)
    finish_segments(three, 2)
    for form in ({"compression": "zstd", "level": 3}, {"compression": "lz4"}):
        three.topology["archive"] |= {"level": 1} | form
        three.write()
        kinds = [kind for kind, _ in three.step_kinds()]
        assert "restart" not in kinds
        three.apply()
        three.stop_server("db3")
        take_the_slot_away(three)
        finish_segments(three, 2)
    three.write_row("in three forms")
    remove_wal(three, needed, at_once=4)
    wait_until(lambda: {"", ".zst", ".lz4"} <= {path.suffix for path in three.archive.glob("*/0*")}, "each form", 60)
    three.apply()
    three.shows_row("db3", "in three forms")
    three.topology["archive"] = {"directory": "archive"}
    three.write()
    three.apply()


def test_a_standby_and_those_below_it_are_copied_anew_after_a_hole_in_the_archive(three: Cluster) -> None:
    three.stop_server("db3")
    needed = take_the_slot_away(three)
    three.write_row("before the hole")
    before = {name: inode(three, name) for name in ("db2", "db3")}
    remove_wal(three, needed, at_once=4)
    hole = f"{needed[:16]}{int(needed[16:], 16) + 2:08X}"
    remove_wal(three, hole, at_once=4)
    wait_until(lambda: hole in three.archived(), f"{hole} is in the archive", 60)
    archived = next(three.archive.glob(f"*/{hole}"))
    archived.rename(three.folder / hole)
    steps = {step["id"]: step for step in three.plan()["steps"]}
    assert steps["db2.data"]["kind"] == "replace_data"
    assert steps["db2.data"]["risk"] == "replace data"
    assert hole in steps["db2.data"]["why"]
    three.apply()
    three.shows_row("db3", "before the hole")
    assert inode(three, "db2") != before["db2"]
    assert inode(three, "db3") != before["db3"]
    assert replaced(three) == []
    assert (three.slots("db1"), three.slots("db2")) == (["pgtandem_db2"], ["pgtandem_db3"])
    (three.folder / hole).rename(archived)


def test_a_standby_whose_wal_is_nowhere_is_copied_anew(without_archive: Cluster) -> None:
    cluster = without_archive
    needed = take_the_slot_away(cluster)
    cluster.write_row("while db2 was away")
    before = inode(cluster, "db2")
    remove_wal(cluster, needed, at_once=6)
    kinds = cluster.step_kinds()
    assert kinds == [
        ("create_slot", "db1"),
        ("replace_data", "db2"),
        ("start", "db2"),
        ("prove_replication", "db2"),
        ("remove_replaced", "db2"),
    ]
    cluster.apply()
    cluster.shows_row("db2", "while db2 was away")
    assert inode(cluster, "db2") != before
    assert replaced(cluster) == []


def test_a_standby_that_turns_out_to_wait_in_vain_is_told_at_once_and_copied_anew_then(
    without_archive: Cluster,
) -> None:
    """Only the segment in which its own WAL ends is gone: nobody sees whether it needs that one while it is stopped."""
    cluster = without_archive
    needed = take_the_slot_away(cluster)
    before = inode(cluster, "db2")
    remove_wal(cluster, needed, at_once=1)
    began = time.monotonic()
    said = cluster.run("apply", "--yes").refused("PT-4012", 13)
    assert time.monotonic() - began < 30, "it waits to the end"
    assert needed in said
    assert "there is no WAL archive" in said
    assert inode(cluster, "db2") == before, "nothing was replaced yet"
    assert ("replace_data", "db2") in cluster.step_kinds()
    cluster.apply()
    cluster.write_row("after the second run")
    cluster.shows_row("db2", "after the second run")
    assert inode(cluster, "db2") != before
    assert replaced(cluster) == []


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
    three.nothing_waits_for_the_archive()
    stored = [found[0] for name in three.archived() if (found := wal_name(name))]
    names = sorted(name for name in stored if len(name) == 24)
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
