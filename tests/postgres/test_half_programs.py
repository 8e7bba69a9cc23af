"""The programs that go on with half-made copies, run on real folders."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgtandem.postgres.block_programs import PYTHON, Block
from pgtandem.postgres.half_programs import KEEP_ONLY, LAY, MAKE_SAME, NOT_TAKEN, TAKE, render_kept, render_laid

#: Opens a file of the folder that it is given, says so, and writes for ever.
_WRITER = """\
import sys, time
file = open(sys.argv[1] + "/base/1", "r+b", buffering=0)
print("there", flush=True)
while True:
    file.write(b"x")
    time.sleep(0.01)
"""


def run(program: str, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, *PYTHON[1:], program, *map(str, arguments)]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)


@pytest.fixture
def half(tmp_path: Path) -> Path:
    folder = tmp_path / "db2.pgtandem-new.earlier"
    (folder / "base").mkdir(parents=True)
    (folder / "global").mkdir()
    (folder / "base/1").write_bytes(b"content")
    (folder / "global/pg_control").write_bytes(b"control")
    return folder


@pytest.fixture
def writer(half: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    begun: list[subprocess.Popen[bytes]] = []
    yield begun
    for process in begun:
        process.kill()
        process.communicate()


def begin(writer: list[subprocess.Popen[bytes]], argument: str, cwd: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", _WRITER, argument], cwd=cwd, stdout=subprocess.PIPE)
    writer.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    return process


def test_a_half_made_copy_gets_the_name_of_this_run(half: Path) -> None:
    new = half.with_name("db2.pgtandem-new.now")
    assert run(TAKE, half, new).returncode == 0
    assert not half.exists()
    assert (new / "base/1").read_bytes() == b"content"


def test_a_program_that_outlived_its_run_is_ended_first(half: Path, writer: list[subprocess.Popen[bytes]]) -> None:
    new = half.with_name("db2.pgtandem-new.now")
    process = begin(writer, str(half), half)
    assert run(TAKE, half, new).returncode == 0
    assert process.wait(10) < 0
    assert (new / "base/1").exists()


def test_a_program_that_has_only_the_folder_open_is_ended_too(half: Path) -> None:
    """As cp has it between two files: the next one is made there by whatever name the folder has then."""
    holding = "import os, sys, time; os.open(sys.argv[1], os.O_RDONLY); print('there', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", holding, half], cwd="/", stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert run(TAKE, half, half.with_name("db2.pgtandem-new.now")).returncode == 0
        assert process.wait(10) < 0
    finally:
        process.kill()
        process.communicate()


def test_a_copy_that_somebody_else_writes_to_is_left_alone(half: Path, writer: list[subprocess.Popen[bytes]]) -> None:
    """Its command line does not say that it is pgtandem's."""
    process = begin(writer, ".", half)
    assert run(TAKE, half, half.with_name("db2.pgtandem-new.now")).returncode == NOT_TAKEN
    assert process.poll() is None
    assert (half / "base/1").exists()


def test_a_person_who_reads_there_is_not_disturbed(half: Path) -> None:
    process = subprocess.Popen(["sleep", "60"], cwd=half)
    try:
        assert run(TAKE, half, half.with_name("db2.pgtandem-new.now")).returncode == 0
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_link_is_not_taken(half: Path) -> None:
    link = half.with_name("db2.pgtandem-new.link")
    link.symlink_to(half)
    assert run(TAKE, link, half.with_name("db2.pgtandem-new.now")).returncode == NOT_TAKEN
    assert link.is_symlink()


def test_only_what_is_wanted_is_kept_and_nothing_that_is_in_use_elsewhere(half: Path, tmp_path: Path) -> None:
    """Links would lead what is written afterwards into the live data."""
    live = tmp_path / "db2"
    (live / "base").mkdir(parents=True)
    for name in ("2", "3"):
        (live / f"base/{name}").write_bytes(b"live")
    os.link(live / "base/2", half / "base/2")
    (half / "base/3").symlink_to(live / "base/3")
    (half / "pg_wal").mkdir()
    (half / "pg_wal/000000010000000000000001").write_bytes(b"stale")
    (half / "backup_label").write_bytes(b"stale")
    (half / "5").symlink_to(live)
    (half / "gone/below").mkdir(parents=True)
    (half / "gone/below/file").write_bytes(b"x")
    (half / "base/4").mkdir()
    (half / "base/4/file").write_bytes(b"x")
    wanted = render_kept(
        ["base", "global", "pg_wal", "5"], ["base/1", "base/2", "base/3", "base/4", "global/pg_control", "not/there"]
    )
    done = run(KEEP_ONLY, half, "077", stdin=wanted)
    assert done.returncode == 0, done.stderr
    found = sorted(str(path.relative_to(half)) for path in half.rglob("*"))
    assert found == ["base", "base/1", "global", "pg_wal"]
    assert (half / "base/1").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (live / "base").iterdir()) == ["2", "3"]
    assert (live / "base/2").read_bytes() == b"live"


def test_blocks_of_another_folder_are_put_where_they_belong(half: Path, tmp_path: Path) -> None:
    old = tmp_path / "db2"
    (old / "base").mkdir(parents=True)
    (old / "base/1").write_bytes(b"0123456789")
    (old / "base/2").write_bytes(b"abcdefghij")
    blocks = [Block("base/1", 2, 3), Block("base/2", 8, 8192)]
    done = run(LAY, old, half, 0, "077", stdin=render_laid(blocks))
    assert done.returncode == 0, done.stderr
    assert (half / "base/1").read_bytes() == b"co234nt"
    assert (half / "base/2").read_bytes() == b"\0" * 8 + b"ij"
    assert (half / "base/2").stat().st_mode & 0o777 == 0o600


def pair(half: Path, right: bytes | None, found: bytes) -> Path:
    """Another folder in which a file has this content, and the half-made copy with that one."""
    source = half.with_name("db1")
    (source / "base").mkdir(parents=True)
    if right is not None:
        (source / "base/1").write_bytes(right)
        (source / "base/1").chmod(0o640)
    (half / "base/1").write_bytes(found)
    return source


_MEGABYTE = 1024 * 1024
_RIGHT = os.urandom(2 * _MEGABYTE + 300_000)


@pytest.mark.parametrize(
    ("found", "written"),
    [
        (_RIGHT, 0),
        (b"", len(_RIGHT)),
        (_RIGHT[:_MEGABYTE], _MEGABYTE + 300_000),
        (_RIGHT[: _MEGABYTE + 5], _MEGABYTE + 300_000),
        (_RIGHT + b"what the source has cut off", 0),
        (_RIGHT[:-1] + b"x", 300_000 - 256 * 1024),
        (_RIGHT[:9] + bytes([_RIGHT[9] ^ 1]) + _RIGHT[10:], 256 * 1024),
        (bytes(len(_RIGHT)), len(_RIGHT)),
    ],
    ids=["same", "empty", "cut off", "cut off in a block", "longer", "last byte", "one bit", "a hole"],
)
def test_a_file_gets_the_content_of_the_source_and_only_what_differs_is_written(
    half: Path, found: bytes, written: int
) -> None:
    source = pair(half, _RIGHT, found)
    done = run(MAKE_SAME, source, half, 0, 0, "base/1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert int(done.stdout) == written
    assert (half / "base/1").read_bytes() == _RIGHT
    assert (half / "base/1").stat().st_mode & 0o777 == 0o640


def test_a_piece_is_made_the_same_and_the_last_one_gives_the_file_its_size(half: Path) -> None:
    wrong = bytes(len(_RIGHT) + 77)
    source = pair(half, _RIGHT, wrong)
    assert int(run(MAKE_SAME, source, half, 1, 1, "base/1").stdout) == _MEGABYTE
    assert (half / "base/1").read_bytes() == wrong[:_MEGABYTE] + _RIGHT[_MEGABYTE : 2 * _MEGABYTE] + wrong[
        2 * _MEGABYTE :
    ]
    assert int(run(MAKE_SAME, source, half, 2, 0, "base/1").stdout) == 300_000
    assert (half / "base/1").read_bytes() == wrong[:_MEGABYTE] + _RIGHT[_MEGABYTE:]


def test_a_file_that_the_source_has_no_longer_is_removed(half: Path) -> None:
    source = pair(half, None, b"of an older start")
    (source / "base/2").write_bytes(b"")
    (half / "base/2").write_bytes(b"of an older start too")
    for _ in range(2):  # another piece of it comes later
        assert run(MAKE_SAME, source, half, 0, 0, "base/1", "base/2").returncode == 0
    assert not (half / "base/1").exists()
    assert (half / "base/2").read_bytes() == b""


def test_a_link_is_never_written_through(half: Path, tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.write_bytes(b"live")
    source = pair(half, b"content", b"")
    (half / "base/1").unlink()
    (half / "base/1").symlink_to(live)
    done = run(MAKE_SAME, source, half, 0, 0, "base/1")
    assert done.returncode == 1
    assert b"base/1: Too many levels of symbolic links" in done.stderr
    assert live.read_bytes() == b"live"
