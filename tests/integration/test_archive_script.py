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


# --- what was streamed to the archive

SIZE, PAGE = 1 << 20, 8192


def wal(upto: int, *, behind: bytes = b"\0") -> bytes:
    """Segment 1 as a server writes it: pages with their addresses, content up to a byte, and whatever was behind it."""
    headers = (b"\x16\xd1\x05\0\1\0\0\0" + (SIZE + at).to_bytes(8, "little") for at in range(0, SIZE, PAGE))
    content = b"".join(header + (bytes(range(1, 251)) * 33)[: PAGE - 16] for header in headers)
    return content[:upto] + (behind * (SIZE // len(behind) + 1))[: SIZE - upto]


@pytest.fixture
def streamed(data: Path) -> Path:
    folder = stored(data).parent / "streamed"
    folder.mkdir()
    return folder


def fetch(data: Path, name: str = SEGMENT) -> "bytes | None":
    command = ["sh", RESTORE_SCRIPT, name, "pg_wal/RECOVERYXLOG", str(data.parent / "the archive")]
    done = subprocess.run(command, cwd=data, capture_output=True, timeout=60)
    assert done.returncode in (0, 1), done
    path = data / "pg_wal" / "RECOVERYXLOG"
    assert path.exists() is (done.returncode == 0)
    content = path.read_bytes() if done.returncode == 0 else None
    path.unlink(missing_ok=True)
    return content


def test_a_segment_that_was_only_streamed_is_fetched(data: Path, streamed: Path) -> None:
    (streamed / SEGMENT).write_bytes(wal(SIZE))
    assert fetch(data) == wal(SIZE)


def test_what_is_streamed_of_a_segment_is_fetched_last(data: Path, streamed: Path) -> None:
    (data / "pg_wal" / SEGMENT).unlink()
    assert fetch(data) is None
    (streamed / f"{SEGMENT}.partial").write_bytes(wal(100_000))
    assert fetch(data) == wal(100_000)
    stored(data).write_bytes(wal(SIZE))
    assert fetch(data) == wal(SIZE)


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [
        pytest.param(wal(100_000), wal(100_001), True, id="a byte more"),
        pytest.param(wal(100_000), wal(300_000), True, id="pages more"),
        pytest.param(wal(100_000), wal(100_000), False, id="the same"),
        pytest.param(wal(100_001), wal(100_000), False, id="a byte less"),
        pytest.param(wal(300_000), wal(100_000), False, id="pages less"),
        pytest.param(wal(100_000, behind=b"left over"), wal(100_050), True, id="ours is a segment used again"),
        pytest.param(wal(100_000, behind=b"left over"), wal(99_000), False, id="ours is used again, and further"),
        pytest.param(wal(0, behind=b"left over"), wal(0), False, id="nothing yet"),
        pytest.param(
            wal(300_000), wal(SIZE)[:90_000] + bytes(8192) + wal(SIZE)[98_192:], False, id="theirs has a hole"
        ),
    ],
)
def test_what_was_streamed_is_taken_only_where_it_goes_further(
    data: Path, streamed: Path, ours: bytes, theirs: bytes, taken: bool
) -> None:
    """A standby's own copy may be what a commit waited for: it must never give way to less."""
    (data / "pg_wal" / SEGMENT).write_bytes(ours)
    (streamed / f"{SEGMENT}.partial").write_bytes(theirs)
    assert fetch(data) == (theirs if taken else None)


def test_the_end_of_a_timeline_that_was_left_is_not_taken(data: Path, streamed: Path) -> None:
    """It may go beyond the place where the next timeline began."""
    (data / "pg_wal" / SEGMENT).unlink()
    (streamed / f"{SEGMENT}.partial").write_bytes(wal(100_000))
    (streamed / "00000001.history").write_bytes(b"")
    assert fetch(data) == wal(100_000)
    for place in (stored(data).parent, streamed):
        (place / "00000002.history").write_bytes(b"1\t0/180000\tno recovery target specified\n")
        assert fetch(data) is None
        (place / "00000002.history").unlink()


def test_what_was_streamed_goes_once_the_same_is_archived(data: Path, streamed: Path) -> None:
    before, after = "000000010000000000000000", "000000010000000000000002.partial"
    (streamed / before).write_bytes(b"nobody archived this yet")
    (streamed / SEGMENT).write_bytes((data / "pg_wal" / SEGMENT).read_bytes())
    (streamed / after).write_bytes(b"comes in")
    assert archive(data).returncode == 0
    assert sorted(path.name for path in streamed.iterdir()) == [before, after]


def test_the_newest_segment_that_was_streamed_stays(data: Path, streamed: Path) -> None:
    """pg_receivewal goes on behind it."""
    (streamed / SEGMENT).write_bytes((data / "pg_wal" / SEGMENT).read_bytes())
    assert archive(data).returncode == 0
    assert (streamed / SEGMENT).exists()


def test_what_was_streamed_and_differs_is_told_and_stays(data: Path, streamed: Path) -> None:
    (streamed / SEGMENT).write_bytes(b"something else")
    (streamed / "000000010000000000000002.partial").write_bytes(b"comes in")
    done = archive(data)
    assert done.returncode == 0, "the server's own file is archived, and its disk does not fill up"
    assert "has other content than" in done.stderr
    assert stored(data).read_bytes() == (data / "pg_wal" / SEGMENT).read_bytes()
    assert (streamed / SEGMENT).read_bytes() == b"something else"
