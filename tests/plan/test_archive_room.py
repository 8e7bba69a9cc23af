"""When the archive's disk is worth a word: with a moment's WAL of room, and never for a size or a share alone."""

import pytest

from pgtandem.plan.archive_room import ArchiveRoom

MB, GB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("free", "total", "said"),
    [
        (15 * MB, 80 * MB, "scarce"),  # a fifth of the disk, and not one segment fits
        (63 * MB, 200 * MB, "scarce"),
        (64 * MB, 200 * MB, ""),
        (1 * GB, 10 * GB, ""),
        (400 * MB, 10 * GB, "low"),
        (1 * GB, 1000 * GB, "scarce"),  # written in a minute
        (4 * GB, 1000 * GB, "low"),  # where retention may hold it for ever
        (6 * GB, 1000 * GB, ""),
        (0, 0, "scarce"),
    ],
)
def test_room_for_a_few_segments_is_scarce_and_a_small_share_is_low(free: int, total: int, said: str) -> None:
    room = ArchiveRoom("/archive", free, total, 16 * MB)
    assert ("scarce" if room.scarce else "low" if room.low else "") == said


def test_larger_segments_need_more_room() -> None:
    assert not ArchiveRoom("/archive", 200 * MB, GB, 16 * MB).scarce
    assert ArchiveRoom("/archive", 200 * MB, GB, 64 * MB).scarce


@pytest.mark.parametrize(
    ("free", "words"),
    [(15, "15.7 MB free of 83.9 MB at /archive, less than one segment takes"),
     (17, "17.8 MB free of 83.9 MB at /archive, room for 1 more segment"),
     (33, "34.6 MB free of 83.9 MB at /archive, room for 2 more segments")],
)  # fmt: skip
def test_room_is_told_in_segments(free: int, words: str) -> None:
    assert str(ArchiveRoom("/archive", free * MB, 80 * MB, 16 * MB)) == words
