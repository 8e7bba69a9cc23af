"""WAL fetched from an archive on this machine: ahead, expanded, and never used where it is damaged."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archiving import MEGABYTE, Archiving, names, segment
from support.servers import wait_until

FORMS = [("none", ()), ("zstd", ("zstd", "1")), ("lz4", ("lz4", "1"))]


@pytest.fixture(params=FORMS, ids=[form[0] for form in FORMS])
def every(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archiving]:
    """Five segments are archived, over the end of a part of the name."""
    made = Archiving(tmp_path, *request.param[1])
    made.finish(*names(range(4094, 4099)))
    assert len(made.archive_all()) == 5
    yield made
    made.end()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Archiving]:
    made = Archiving(tmp_path)
    yield made
    made.end()


def stored_as(every: Archiving, name: str) -> Path:
    (path,) = every.archive.glob(f"{name}*")
    return path


def test_segments_come_in_order_and_ahead(every: Archiving) -> None:
    assert every.fetched(segment(4094)) == every.wal(segment(4094)).read_bytes()
    wait_until(lambda: every.spooled() == names(range(4095, 4099)), "the others wait", 60)
    shutil.rmtree(every.archive)
    every.archive.mkdir()
    for name in names(range(4095, 4099)):
        assert every.fetched(name) == every.wal(name).read_bytes()
    assert every.fetch(segment(4099)).returncode == 1


@pytest.mark.parametrize(
    ("damage", "signal_file"),
    [
        ("flipped", "standby.signal"),
        ("truncated", "recovery.signal"),
        *(
            pytest.param(damage, name, marks=pytest.mark.chaos)
            for damage, name in (("empty", "standby.signal"), ("flipped", "recovery.signal"))
        ),
    ],
)
def test_a_damaged_segment_is_never_replayed_but_told(every: Archiving, damage: str, signal_file: str) -> None:
    """1 lets a standby ask again; any other recovery would take that for the end of the WAL."""
    (every.data / "standby.signal").rename(every.data / signal_file)
    path = stored_as(every, segment(4096))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 8
    path.write_bytes({"flipped": bytes(content), "truncated": bytes(content[:-1]), "empty": b""}[damage])
    for name in names(range(4094, 4096)):
        assert every.fetched(name) == every.wal(name).read_bytes()
    done = every.fetch(segment(4096))
    assert done.returncode == (1 if signal_file == "standby.signal" else 255)
    assert f"{segment(4096)} is damaged in the archive: {path}" in done.stderr
    assert not every.wal("RECOVERYXLOG").exists()
    assert every.spooled() == []


def test_a_segment_without_a_checksum_is_used(one: Archiving) -> None:
    """Put there by hand, or by an older pgtandem."""
    content = os.urandom(MEGABYTE)
    (one.archive / segment(0)).write_bytes(content)
    assert one.fetched(segment(0)) == content


def test_the_end_of_the_archive_is_1_and_an_archive_that_is_gone_is_told(one: Archiving) -> None:
    done = one.fetch(segment(0))
    assert (done.returncode, done.stderr) == (1, "")
    one.archive.rename(one.archive.with_name("unmounted"))
    done = one.fetch(segment(0))
    assert done.returncode == 1
    assert "the archive's folder is not there" in done.stderr
    (one.data / "standby.signal").rename(one.data / "recovery.signal")
    assert one.fetch(segment(0)).returncode == 255, "not the end of the WAL"


def test_a_person_brings_a_segment_back_by_hand(every: Archiving) -> None:
    path = stored_as(every, segment(4096))
    command = {".zst": 'zstd -dq "$1" -o "$2"', ".lz4": 'lz4 -dq "$1" "$2"'}.get(path.suffix, 'cp "$1" "$2"')
    subprocess.run(["sh", "-c", command, "sh", str(path), str(every.data / "by hand")], check=True)
    assert (every.data / "by hand").read_bytes() == every.wal(segment(4096)).read_bytes()
