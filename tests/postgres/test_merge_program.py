"""The program that puts a new copy together in the old data directory, cut off at every one of its lines."""

import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pgtandem.postgres.block_programs import PYTHON, Block
from pgtandem.postgres.merge_program import (
    MANIFEST_FILE,
    MERGE,
    MERGING,
    NOT_BEGUN,
    RECEIVED,
    STAMP,
    Merge,
    render_merge,
)

OLD: Mapping[str, bytes] = {
    "PG_VERSION": b"15\n",
    "postmaster.pid": b"1999999999\n/old\n",  # of a server that was killed
    "standby.signal": b"",
    "pg_hba.conf": b"old",
    "global/pg_control": b"old control",
    "base/1/1": b"0123456789" * 10,
    "base/1/2": b"same",
    "base/1/3": b"longer than it will be",
    "base/1/4": b"will be gone",
    "base/9/1": b"of a database that will be gone",
    "pg_wal/000000010000000000000001": b"old WAL",
    "pg_replslot/slot/state": b"old slot",
}
NEW: Mapping[str, bytes] = {
    "PG_VERSION": b"15\n",
    "standby.signal": b"",
    "pg_hba.conf": b"new",
    "backup_label": b"from here",
    "global/pg_control": b"new control",
    "base/1/1": b"0123abcdef" + b"0123456789" * 9 + b"and more",
    "base/1/2": b"same",
    "base/1/3": b"longer",
    "base/1/5": b"new table",
    "base/1/6": b"",
    "pg_wal/000000010000000000000005": b"new WAL",
    "pgtandem/node.json": b"{}",
}
FOLDERS = ("base", "base/1", "global", "pg_wal", "pg_wal/archive_status", "pg_replslot", "pg_notify", "pgtandem")
BLOCKS = (Block("base/1/1", 4, 6), Block("base/1/1", 100, 8))


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stamp_of(folder: Path) -> str:
    """By the program's own function, called here."""
    names: dict[str, Any] = {}
    exec(STAMP.rpartition("print")[0], names)
    stamp: str = names["stamp_of"](str(folder))
    return stamp


class Place:
    """A data directory, and beside it what was received of its new copy."""

    def __init__(self, base: Path) -> None:
        self.base, self.final, self.folder = base, base / "db2", base / "db2.pgtandem-merge.1"
        self.make()

    def make(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        write(self.final, OLD)
        new = self.folder / RECEIVED
        whole = [path for path in NEW if path not in OLD or path == "pg_hba.conf"]
        write(new, {path: NEW[path] for path in (*whole, "global/pg_control")})
        with (new / "base/1/1").open("wb") as file:
            for block in BLOCKS:
                file.seek(block.offset)
                file.write(NEW["base/1/1"][block.offset : block.offset + block.size])
        sizes = {path: len(content) for path, content in NEW.items() if path != "global/pg_control"}
        merge = Merge(stamp_of(self.final), FOLDERS, sizes, tuple(whole), BLOCKS)
        (self.folder / MANIFEST_FILE).write_text(render_merge(merge))

    def run(self, how: str) -> subprocess.CompletedProcess[str]:
        argv = [*PYTHON, MERGE, str(self.folder), str(self.final), how]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    def cut_after(self, lines: int, how: str = "begin") -> bool:
        """Whether it came to its end before as many lines of it were done; killed there otherwise. In a child that
        waits for no disk, which is quicker than a program of its own."""
        pid = os.fork()
        if pid == 0:
            self._child(lines, how)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def finished(self, how: str) -> bool:
        return self.cut_after(1_000_000, how)

    def _child(self, left: int, how: str) -> None:
        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != "<merge>":
                return None
            left -= event == "line"
            if left < 0:
                os._exit(9)
            return trace

        try:
            sys.argv = ["-c", str(self.folder), str(self.final), how]
            os.fsync = lambda _: None
            sys.settrace(trace)
            exec(compile(MERGE, "<merge>", "exec"), {"__name__": "__main__"})
            sys.settrace(None)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def lose_what_was_not_synced(self, seed: int) -> None:
        """A power cut: of what was written since the last sync something is there, and something is not."""
        chosen, data = random.Random(seed), self.folder / MERGING
        if not data.exists() or (data / "global/pg_control.new").exists() or (data / "global/pg_control").exists():
            return
        for path, content in OLD.items():
            if path not in NEW and chosen.random() < 0.5:
                write(data, {path: content})
        for path in NEW:
            if (data / path).exists() and path not in OLD and chosen.random() < 0.5:
                (data / path).unlink()
        with (data / "base/1/1").open("r+b") as file:
            for block in BLOCKS:
                file.seek(block.offset)
                file.write(chosen.randbytes(block.size))
            file.truncate(chosen.choice([100, 104, 108]))

    @property
    def unstartable(self) -> bool:
        return not self.final.exists() and not (self.folder / MERGING / "global/pg_control").exists()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Nothing waits for the disk here."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sync").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return Place(tmp_path / "base")


def is_new(place: Place) -> None:
    assert read(place.final) == NEW
    assert {str(path.relative_to(place.final)) for path in place.final.rglob("*") if path.is_dir()} == set(FOLDERS)
    assert not (place.folder / MERGING).exists()


def test_old_data_becomes_the_new_copy(place: Place) -> None:
    kept = (place.final / "base/1/2").stat().st_ino
    done = place.run("begin")
    assert done.returncode == 0, done.stderr
    is_new(place)
    assert (place.final / "base/1/2").stat().st_ino == kept
    assert place.run("go on").returncode == 1  # it is merged already
    assert place.run("begin").returncode == NOT_BEGUN  # that is another directory now
    is_new(place)


def cut_and_finished(place: Place, lines: int, *, power: bool = False) -> bool:
    """Whether it was cut off at all. What was there then is the old data, or nothing that could be started; and what
    there is in the end is the new copy."""
    place.make()
    whole = place.cut_after(lines)
    if place.final.exists():
        found = read(place.final)
        there = {path: content for path, content in found.items() if path != "postmaster.pid"}
        old = {path: content for path, content in OLD.items() if path != "postmaster.pid"}
        assert there in (old, dict(NEW)), lines
        if there == old:
            assert place.finished("begin")
    else:
        begun = not (place.folder / MERGING / "global/pg_control").exists()
        if power:
            place.lose_what_was_not_synced(lines)
        assert not begun or place.unstartable or (place.folder / MERGING / "backup_label").exists()
        assert place.finished("go on"), lines
    is_new(place)
    return not whole


def test_cut_off_anywhere_it_is_the_old_data_or_can_be_finished(place: Place) -> None:
    lines = 0
    while cut_and_finished(place, lines, power=lines % 2 == 0):
        lines += 17
    assert lines > 300


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_cut_off_at_every_line_it_is_the_old_data_or_can_be_finished(place: Place) -> None:
    for power in (False, True):
        lines = 0
        while cut_and_finished(place, lines, power=power):
            lines += 1
        assert lines > 300


def test_stamp_is_told_by_a_program_of_its_own(place: Place) -> None:
    done = subprocess.run([*PYTHON, STAMP, place.final], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == stamp_of(place.final)


def test_nothing_happens_to_data_whose_server_runs_or_has_run_meanwhile(place: Place) -> None:
    (place.final / "postmaster.pid").write_text(f"{os.getpid()}\n{place.final}\n")
    done = place.run("begin")
    assert (done.returncode, done.stderr) == (NOT_BEGUN, f"process {os.getpid()} runs on it\n")
    (place.final / "postmaster.pid").unlink()
    (place.final / "global/pg_control").write_bytes(b"other control")
    done = place.run("begin")
    assert (done.returncode, done.stderr) == (NOT_BEGUN, "its server has run meanwhile\n")
    left = {path: content for path, content in OLD.items() if path != "postmaster.pid"}
    assert read(place.final) == {**left, "global/pg_control": b"other control"}
    assert not (place.folder / MERGING).exists()


def test_another_directory_that_has_taken_its_place_is_left_alone(place: Place) -> None:
    place.final.rename(place.folder / MERGING)
    write(place.final, {"PG_VERSION": b"another"})
    done = place.run("go on")
    assert (done.returncode, done.stderr) == (1, "another data directory is in its place\n")
    assert read(place.final) == {"PG_VERSION": b"another"}
    assert (place.folder / MERGING / "base/1/4").exists()


def test_failure_in_the_middle_leaves_nothing_that_starts_and_can_be_gone_on_from(place: Place) -> None:
    (place.folder / RECEIVED / "base/1/1").rename(place.base / "taken away")
    done = place.run("begin")
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    assert place.unstartable
    (place.base / "taken away").rename(place.folder / RECEIVED / "base/1/1")
    assert place.run("go on").returncode == 0
    is_new(place)


def test_two_at_once_wait_for_each_other(place: Place) -> None:
    argv = [*PYTHON, MERGE, str(place.folder), str(place.final)]
    both = [subprocess.Popen([*argv, how], stderr=subprocess.PIPE) for how in ("begin", "begin")]
    codes = sorted(process.wait(60) for process in both)
    assert codes in ([0, 1], [0, NOT_BEGUN])
    is_new(place)
