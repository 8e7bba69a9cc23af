"""Names and numbers of WAL segments, runs of them, and whether a file holds what its name says."""

import pytest

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.postgres.segments import (
    first_missing,
    holds_its_segment,
    runs_of,
    segment_name,
    segment_number,
    segment_of,
)

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("name", "megabytes", "number"),
    [
        ("000000010000000000000003", 16, 3),
        ("0000000A00000001000000FF", 16, 511),
        ("000000010000000100000000", 1, 4096),
        ("000000010000000100000003", 1024, 7),
    ],
)
def test_name_and_number_belong_together(name: str, megabytes: int, number: int) -> None:
    assert segment_number(name, megabytes * MEGABYTE) == number
    assert segment_name(Timeline(int(name[:8], 16)), number, megabytes * MEGABYTE) == name


@pytest.mark.parametrize(
    "name", ["00000002.history", "000000010000000000000003.partial", "archive_status", "00000001000000000000000g"]
)
def test_other_files_have_no_number(name: str) -> None:
    assert segment_number(name, 16 * MEGABYTE) is None


def test_position_on_a_boundary_is_in_the_segment_that_begins_there() -> None:
    assert [segment_of(Lsn(at), MEGABYTE) for at in (MEGABYTE - 1, MEGABYTE)] == [0, 1]


@pytest.mark.parametrize("order", ["little", "big"])
def test_segment_that_was_prepared_ahead_does_not_hold_what_its_name_says(order: str) -> None:
    header = b"\x10\xd1\x07\x00\x01\x00\x00\x00" + (3 * MEGABYTE).to_bytes(8, order)  # type: ignore[arg-type]
    assert holds_its_segment(header, 3, MEGABYTE)
    assert not holds_its_segment(header, 9, MEGABYTE)
    assert not holds_its_segment(b"", 0, MEGABYTE)


def test_runs_have_no_holes() -> None:
    assert runs_of([]) == ()
    assert runs_of([5, 3, 4, 9, 8, 3, 1]) == ((1, 1), (3, 5), (8, 9))


@pytest.mark.parametrize(
    ("first", "end", "missing"),
    [(3, 6, None), (3, 7, 6), (2, 9, 2), (4, 10, 6), (8, 10, None), (10, 10, None), (8, 12, 10)],
)
def test_first_missing_segment_is_found(first: int, end: int, missing: int | None) -> None:
    assert first_missing(first, end, ((3, 5), (8, 9))) == missing
