"""The script that archives WAL, called as a server calls it."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT, ARCHIVE_TEXT, SYSTEM_FILE
from pgtandem.postgres.wal_fetch import RESTORE_SCRIPT, RESTORE_TEXT
from support.servers import wait_until

SEGMENT = "000000010000000000000001"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory as far as the scripts see one, and an archive beside it with a space in its name."""
    folder = tmp_path / "data"
    (folder / "pgtandem").mkdir(parents=True)
    (folder / "pg_wal").mkdir()
    (folder / ARCHIVE_SCRIPT).write_text(ARCHIVE_TEXT)
    (folder / RESTORE_SCRIPT).write_text(RESTORE_TEXT)
    (folder / SYSTEM_FILE).write_text("7000\n")
    (tmp_path / "the archive" / "7000").mkdir(parents=True)
    (folder / "pg_wal" / SEGMENT).write_bytes(os.urandom(1 << 20))
    return folder


def archive(data: Path, path: str = f"pg_wal/{SEGMENT}", name: str = SEGMENT) -> "subprocess.CompletedProcess[str]":
    command = ["sh", ARCHIVE_SCRIPT, path, name, str(data.parent / "the archive")]
    return subprocess.run(command, cwd=data, capture_output=True, text=True, timeout=60)


def stored(data: Path) -> Path:
    return data.parent / "the archive" / "7000" / SEGMENT


def test_a_segment_is_stored_whole_and_fetched_back(data: Path) -> None:
    assert archive(data).returncode == 0
    assert stored(data).read_bytes() == (data / "pg_wal" / SEGMENT).read_bytes()
    assert [path.name for path in stored(data).parent.glob("[0-9]*")] == [SEGMENT]
    assert list(stored(data).parent.glob(".incoming/*")) == [], "no temporary file is left"
    command = ["sh", RESTORE_SCRIPT, SEGMENT, "pg_wal/RECOVERYXLOG", str(data.parent / "the archive")]
    assert subprocess.run(command, cwd=data, timeout=60).returncode == 0
    assert (data / "pg_wal" / "RECOVERYXLOG").read_bytes() == stored(data).read_bytes()


def test_the_same_content_again_is_fine(data: Path) -> None:
    assert archive(data).returncode == 0
    inode = stored(data).stat().st_ino
    assert archive(data).returncode == 0
    assert stored(data).stat().st_ino == inode


def test_other_content_under_the_name_is_an_error_and_stays(data: Path) -> None:
    stored(data).write_bytes(b"somebody else's")
    done = archive(data)
    assert done.returncode == 1
    assert "nothing was overwritten" in done.stderr
    assert stored(data).read_bytes() == b"somebody else's"


def test_a_truncated_file_under_the_name_is_an_error(data: Path) -> None:
    stored(data).write_bytes((data / "pg_wal" / SEGMENT).read_bytes()[:1000])
    assert archive(data).returncode == 1


def test_a_missing_archive_is_an_error_and_is_not_made(data: Path) -> None:
    shutil.rmtree(data.parent / "the archive")
    done = archive(data)
    assert done.returncode == 1
    assert "is not there" in done.stderr
    assert not (data.parent / "the archive").exists()


def test_a_missing_file_answers_1(data: Path) -> None:
    command = ["sh", RESTORE_SCRIPT, "00000002.history", "pg_wal/RECOVERYHISTORY", str(data.parent / "the archive")]
    assert subprocess.run(command, cwd=data, timeout=60).returncode == 1


def test_killed_in_the_middle_nothing_stands_under_the_final_name(data: Path) -> None:
    """The copy reads from a pipe that never ends, so the kill hits its middle for certain."""
    os.mkfifo(data / "pg_wal" / "endless")
    command = ["sh", ARCHIVE_SCRIPT, "pg_wal/endless", SEGMENT, str(data.parent / "the archive")]
    process = subprocess.Popen(command, cwd=data, start_new_session=True)
    with open(data / "pg_wal" / "endless", "wb", buffering=0) as writer:
        writer.write(b"x" * 5000)
        wait_until(lambda: list(stored(data).parent.glob(".incoming/*/*")), "the copy began", 20)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not stored(data).exists()
    assert archive(data).returncode == 0, "the next attempt is not in its way"
    assert stored(data).read_bytes() == (data / "pg_wal" / SEGMENT).read_bytes()
