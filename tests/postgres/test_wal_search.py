"""Whether the bytes of a restore point's name are in WAL, without pg_waldump."""

import subprocess
from pathlib import Path

import pytest

from pgtandem.model.lsn import Timeline
from pgtandem.postgres.wal_search import can_be_told, may_be_there, name_argv, parse_search, search_input

SIZE = 1024 * 1024
PAGE = 8192
NAME = b"before-upgrade"


def looked_for(tmp_path: Path, content: bytes) -> bool:
    (tmp_path / "archived").write_bytes(content.ljust(SIZE, b"\0"))
    argv = name_argv(str(tmp_path), f"cp {tmp_path}/archived %p", SIZE, NAME.decode())
    given = search_input(["000000010000000000000001"], Timeline(1), 1, SIZE)
    done = subprocess.run(argv, input=given, capture_output=True, text=True, check=True)
    assert parse_search(done.stdout) == ((), 1, "")
    return may_be_there(done.stdout)


@pytest.mark.parametrize("header", [24, 40])
@pytest.mark.parametrize("before", range(len(NAME) + 1))
def test_a_name_is_found_wherever_a_page_begins_within_it(tmp_path: Path, before: int, header: int) -> None:
    page = b"\0" * (PAGE - before) + NAME[:before]
    assert looked_for(tmp_path, page + b"\0" * header + NAME[before:])


def test_a_name_that_is_not_there_is_not_found_though_its_parts_are(tmp_path: Path) -> None:
    assert not looked_for(tmp_path, b"\0" * 1000 + NAME[:7] + b"\0" * 3000 + NAME[7:])


def test_where_not_every_place_would_be_seen_nothing_is_told() -> None:
    assert can_be_told(NAME.decode())
    assert can_be_told("before fife"), "not in the middle, where the second part would begin as it ends"
    assert not any(map(can_be_told, ("abc", "ababab", "h\u00e4lfte-eins")))
