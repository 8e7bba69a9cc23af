"""What the files of an archive's folder add up to, and how far recovery gets with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.model.archived import ArchiveContent, ArchivedWal, Reach
from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.model.topology import Compression
from pgtandem.postgres.archive_content import (
    archive_content,
    checksum_file,
    parse_checksums,
    parse_listing,
    reach,
    together,
    wal_name,
    without,
)
from pgtandem.postgres.segments import segment_name

SIZE = 16 * 1024 * 1024
T1, T2, T3 = Timeline(1), Timeline(2), Timeline(3)


def segments(timeline: Timeline, *numbers: int, suffix: str = "") -> list[tuple[str, int]]:
    return [(segment_name(timeline, number, SIZE) + suffix, 1000 if suffix else SIZE) for number in numbers]


def content(*files: tuple[str, int]) -> ArchiveContent:
    return archive_content(files, SIZE)


def at(segment: float) -> Lsn:
    return Lsn(int(segment * SIZE))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("000000010000000000000003", ("000000010000000000000003", Compression.NONE)),
        ("000000010000000000000003.zst", ("000000010000000000000003", Compression.ZSTD)),
        ("000000020000000000000009.partial.lz4", ("000000020000000000000009.partial", Compression.LZ4)),
        ("00000002.history", ("00000002.history", Compression.NONE)),
        (
            "000000010000000000000003.00000028.backup",
            ("000000010000000000000003.00000028.backup", Compression.NONE),
        ),
        ("000000010000000000000003.gz", None),
        ("checksums", None),
        ("backups", None),
        (".000000010000000000000003.12.part", None),
    ],
)
def test_a_stored_name_says_which_wal_file_it_holds(stored: str, expected: object) -> None:
    assert wal_name(stored) == expected


def test_runs_holes_partial_and_history_files_of_each_timeline() -> None:
    found = content(
        *segments(T1, 1, 2, 3),
        *segments(T1, 6, 7, suffix=".zst"),
        (segment_name(T2, 8, SIZE) + ".partial", SIZE),
        *segments(T2, 7, 8),
        ("00000002.history", 41),
        *segments(T3, 9),
        ("000000010000000000000003.00000028.backup", 300),
    )
    assert [one.timeline for one in found.timelines] == [1, 2, 3]
    first, second, third = found.timelines
    assert (first.runs, first.holes, first.history_missing) == (((1, 3), (6, 7)), ((4, 5),), False)
    assert (second.runs, second.partial, second.history_missing) == (((7, 8),), (8,), False)
    assert third.history_missing
    assert found.backup_files == ("000000010000000000000003.00000028.backup",)
    assert found.file_count == 11


def test_a_file_that_cannot_be_whole_is_no_part_of_a_run() -> None:
    truncated = (segment_name(T1, 2, SIZE), SIZE - 1)
    empty = (segment_name(T1, 3, SIZE) + ".zst", 0)
    found = content(*segments(T1, 1), truncated, empty)
    assert found.timeline(T1).runs == ((1, 1),)
    assert found.wrong_size == (truncated[0], empty[0])


def test_a_file_in_two_forms_and_what_is_no_wal_is_told() -> None:
    half = (".000000010000000000000001.4711.part", 17)
    found = content(*segments(T1, 1), *segments(T1, 1, suffix=".lz4"), half, ("notes.txt", 5))
    assert found.twice == ("000000010000000000000001",)
    assert (found.unfinished, found.strange) == ((half[0],), ("notes.txt",))


def test_a_listing_is_read_without_folders_and_links() -> None:
    text = """\
total 32772
-rw------- 1 64321 64321 16777216 Nov 25 13:32 000000010000000000000001
lrwxrwxrwx 1 0     0           24 Nov 25 13:32 000000010000000000000002 -> elsewhere
drwx------ 2 64321 64321     4096 Nov 25  2025 checksums
-rw-r--r-- 1 0     0           12 Nov 25 13:32 a file of somebody's
"""
    assert parse_listing(text) == (("000000010000000000000001", SIZE), ("a file of somebody's", 12))


def test_a_torn_line_of_a_checksum_file_is_nobodys() -> None:
    text = "12 16777216 000000010000000000000001\n99 16777216 0000000100000000\n7 1000 000000010000000000000001\n5 10"
    assert parse_checksums(text) == {"000000010000000000000001": {(12, SIZE), (7, 1000)}}
    assert checksum_file("000000010000000A000000FF.zst") == "000000010000000A"
    assert checksum_file("00000002.history") == "00000002"


def test_several_hosts_have_together_what_one_of_them_has() -> None:
    both = together(
        [content(*segments(T1, 1, 2)), content(*segments(T1, 3), *segments(T2, 3), ("00000002.history", 9))]
    )
    assert both.timeline(T1).runs == ((1, 3),)
    assert both.timeline(T2).history


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_together_is_the_same_as_one_folder_with_all_files(left: set[int], right: set[int]) -> None:
    both = together([content(*segments(T1, *left)), content(*segments(T1, *right))])
    assert both.timelines == content(*segments(T1, *(left | right))).timelines


HISTORY_2 = {T2: (TimelineSwitch(T1, at(5.5)),)}


def archived(*files: tuple[str, int]) -> ArchivedWal:
    histories = {**HISTORY_2, T3: (TimelineSwitch(T1, at(5.5)), TimelineSwitch(T2, at(7.5)))}
    return ArchivedWal(content(*files), histories)


def test_recovery_reaches_the_end_of_the_run_that_it_begins_in() -> None:
    wal = archived(*segments(T1, 2, 3, 4, 6))
    assert reach(wal, T1, at(2.1), T1) == Reach(T1, at(5), "000000010000000000000005", hole=True)
    assert reach(wal, T1, at(6.1), T1) == Reach(T1, at(7), "000000010000000000000007")
    assert reach(wal, T1, at(1.1), T1) == Reach(T1, at(1), "000000010000000000000001", hole=True)


def test_recovery_reaches_no_further_than_a_file_that_is_of_no_use() -> None:
    wal = ArchivedWal(content(*segments(T1, *range(2, 7)), *segments(T2, 6, 7)), {T2: (TimelineSwitch(T1, at(6.5)),)})
    assert without(wal, ()) == wal
    damaged = without(wal, {"000000010000000000000004"})
    assert reach(damaged, T1, at(2.1), T2) == Reach(T2, at(4), "000000010000000000000004", hole=True)
    assert reach(without(wal, {"00000002.history"}), T1, at(2.1), T2) is None


def test_recovery_goes_over_to_the_timelines_that_follow() -> None:
    wal = archived(*segments(T1, 2, 3, 4, 5, 6, 7), *segments(T2, 5, 6, 7), *segments(T3, 7, 8))
    assert reach(wal, T1, at(2.1), T3) == Reach(T3, at(9), "000000030000000000000009")
    assert reach(wal, T2, at(6.1), T3) == Reach(T3, at(9), "000000030000000000000009")
    assert reach(wal, T1, at(2.1), T1) == Reach(T1, at(8), "000000010000000000000008")


def test_a_segment_in_which_two_timelines_were_left_is_read_from_the_newest_that_has_it() -> None:
    """A switchover, and a failover right after it: nobody ever finishes the segment of the timeline in between."""
    histories = {**HISTORY_2, T3: (TimelineSwitch(T1, at(5.5)), TimelineSwitch(T2, at(5.7)))}

    def both(*files: tuple[str, int]) -> ArchivedWal:
        return ArchivedWal(content(*files), histories)

    wal = both(*segments(T1, 2, 3, 4), *segments(T3, 5, 6))
    assert reach(wal, T1, at(2.1), T3) == Reach(T3, at(7), "000000030000000000000007")
    assert reach(wal, T1, at(2.1), T2) == Reach(T2, at(5), "000000020000000000000005")
    older = both(*segments(T1, 2, 3, 4, 5), *segments(T3, 6))
    assert reach(older, T1, at(2.1), T3) == Reach(T3, at(5.5), "000000030000000000000005", hole=True)
    between = both(*segments(T1, 2, 3, 4, 5), *segments(T2, 5))
    assert reach(between, T1, at(2.1), T3) == Reach(T3, at(5.7), "000000030000000000000005")


def test_what_a_timeline_wrote_after_it_was_left_is_not_of_those_that_follow() -> None:
    wal = archived(*segments(T1, 2, 3, 4, 5, 6, 7), *segments(T2, 5, 7))
    assert reach(wal, T1, at(2.1), T2) == Reach(T2, at(6), "000000020000000000000006", hole=True)


def test_where_the_new_timeline_has_nothing_recovery_ends_where_the_old_one_was_left() -> None:
    assert reach(archived(*segments(T1, 2, 3, 4, 5)), T1, at(2.1), T2) == Reach(T2, at(5.5), "000000020000000000000005")
    # The last segment of the old timeline was never finished, and nobody archived that of the new one.
    assert reach(archived(*segments(T1, 2, 3, 4)), T1, at(2.1), T2) == Reach(T2, at(5), "000000020000000000000005")


def test_a_position_that_the_timeline_does_not_come_from_is_not_reached() -> None:
    wal = archived(*segments(T1, 2, 3, 4, 5, 6), *segments(T2, 5, 6))
    assert reach(wal, T1, at(6), T2) is None, "behind the switch"
    assert reach(wal, T3, at(2), T2) is None, "not an ancestor"
    assert reach(wal, T1, at(2), Timeline(9)) is None, "no history"
