"""Texts that a server shows in its own spelling."""

import pytest

from pgtandem.postgres.spelling import is_respelled, same_text


@pytest.mark.parametrize(
    ("name", "shown", "written", "same"),
    [
        ("datestyle", "ISO, MDY", "iso, mdy", True),
        ("datestyle", "ISO, MDY", "iso", True),
        ("datestyle", "ISO, MDY", "us", True),
        ("datestyle", "SQL, DMY", "European,sql", True),
        ("datestyle", "Postgres, MDY", "NonEuropean PostgreSQL", True),
        ("datestyle", "German, DMY", "german", True),
        ("datestyle", "German, MDY", "german", False),
        ("datestyle", "ISO, MDY", "sql, mdy", False),
        ("datestyle", "ISO, MDY", "iso, ymd", False),
        ("timezone", "Asia/Tokyo", "asia/tokyo", True),
        ("timezone", "Asia/Tokyo", "Europe/Berlin", False),
        ("search_path", '"$user", public', '"$user",public', True),
    ],
)
def test_what_is_shown_is_known_as_what_was_written(name: str, shown: str, written: str, same: bool) -> None:
    assert same_text(name, shown, written) is same


@pytest.mark.parametrize(
    ("name", "written", "respelled"),
    [
        ("timezone", "-9", True),
        ("log_timezone", " 5.5", True),
        ("timezone", "INTERVAL '+09:00' HOUR TO MINUTE", True),
        ("timezone", "Intervalia/City", False),
        ("timezone", "UTC", False),
        ("datestyle", "default", True),
        ("datestyle", "iso", False),
        ("search_path", "-9", False),
    ],
)
def test_only_what_cannot_be_compared_counts_as_respelled(name: str, written: str, respelled: bool) -> None:
    assert is_respelled(name, written) is respelled
