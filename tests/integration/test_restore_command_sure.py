"""restore_command answers 1, which ends a recovery, only where it is sure: not where the fetch in the background was
killed, was slow, or was in the way of the next one."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pgtandem.postgres.archive_scripts import SYSTEM_FILE, restore_command
from pgtandem.postgres.wal_fetch import RESTORE_SCRIPT, RESTORE_TEXT, SPOOL, surely

SEGMENT = "000000010000000000000001"
HISTORY = "00000002.history"
CONTENT = {SEGMENT: os.urandom(1 << 20), HISTORY: b"1\t0/2000000\tbecause\n"}

Fetch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a server that is to recover to a point in time, as far as the script sees one."""
    folder = tmp_path / "data"
    for made in (folder / "pgtandem", folder / "pg_wal", tmp_path / "archive/7000", tmp_path / "programs"):
        made.mkdir(parents=True)
    (folder / RESTORE_SCRIPT).write_text(RESTORE_TEXT)
    (folder / SYSTEM_FILE).write_text("7000\n")
    (folder / "postmaster.pid").write_text("4711\n/data\n1700000000\n")
    (folder / "recovery.signal").write_text("")
    for name, content in CONTENT.items():
        (tmp_path / "archive/7000" / name).write_bytes(content)
    return folder


def instead_of(data: Path, program: str, text: str) -> None:
    """A script stands in for a program; $real is that one."""
    path = data.parent / "programs" / program
    path.write_text(f"#!/bin/sh\nreal={shutil.which(program)}\n{text}\n")
    path.chmod(0o755)


def fetch(data: Path, name: str) -> "subprocess.CompletedProcess[str]":
    command = ["sh", RESTORE_SCRIPT, name, "pg_wal/RECOVERYXLOG", str(data.parent / "archive")]
    environment = {**os.environ, "PATH": f"{data.parent / 'programs'}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=data, capture_output=True, text=True, timeout=60, env=environment)


def came(data: Path) -> bytes:
    path = data / "pg_wal/RECOVERYXLOG"
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("name", [HISTORY, SEGMENT])
def test_the_same_file_asked_for_twice_comes_twice_though_the_first_fetch_is_still_tidying_up(
    data: Path, name: str
) -> None:
    """A server that starts to recover asks for its timeline's history twice. Where the second answer was 1 it took the
    timeline for one without a past: "could not locate required checkpoint record"."""
    instead_of(data, "rm", 'case $* in *.wanted) sleep 0.4 ;; esac\nexec "$real" "$@"')
    instead_of(data, "cat", '[ ! -e ../slow ] || sleep 1\nexec "$real" "$@"')
    assert fetch(data, name).returncode == 0
    assert came(data) == CONTENT[name]
    (data.parent / "slow").write_text("")
    assert fetch(data, name).returncode == 0
    assert came(data) == CONTENT[name]


def test_a_fetch_that_is_killed_in_the_background_is_tried_again(data: Path) -> None:
    instead_of(data, "cat", 'rm -- ../live 2>/dev/null && exec "$real" "$@"\n: >../live\nkill -9 "$PPID"')
    assert fetch(data, SEGMENT).returncode == 0
    assert came(data) == CONTENT[SEGMENT]


@pytest.mark.parametrize("standby", [False, True], ids=["recovery", "standby"])
def test_a_spool_that_cannot_be_made_is_no_end_of_the_wal(data: Path, standby: bool) -> None:
    """Any recovery but a standby's would end there; a standby asks again."""
    if standby:
        (data / "recovery.signal").rename(data / "standby.signal")
    instead_of(data, "mkdir", "exit 1")
    assert fetch(data, SEGMENT).returncode == (1 if standby else 255)


def test_a_script_that_stumbles_is_no_end_of_the_wal(data: Path) -> None:
    (data / SYSTEM_FILE).unlink()
    assert fetch(data, SEGMENT).returncode == 255


def test_what_is_not_there_answers_1_at_once_and_leaves_no_spool(data: Path) -> None:
    assert fetch(data, "000000010000000000000002").returncode == 1
    assert fetch(data, "00000003.history").returncode == 1
    assert not (data / SPOOL).exists()


def asked(data: Path, command: str, name: str) -> int:
    """The command as a server calls it."""
    line = command.replace("%f", name).replace("%p", "pg_wal/RECOVERYXLOG").replace("%%", "%")
    return subprocess.run(["sh", "-c", line], cwd=data, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize("signal_file", ["recovery.signal", "standby.signal"])
def test_a_script_that_is_gone_empty_or_cut_off_is_no_end_of_the_wal(data: Path, signal_file: str) -> None:
    """As a full disk or a crash may leave it. What is made for a recovery to a target ends with an error; a standby is
    told that the file is not there, and asks again."""
    (data / "recovery.signal").rename(data / signal_file)
    plain = restore_command(str(data.parent / "archive"))
    script, size, block = data / RESTORE_SCRIPT, len(RESTORE_TEXT), RESTORE_TEXT.index("\n{\n") + 3
    cuts = [None, 0, 5, 40, *(range(200, size - 2, size // 40)), size - 3]
    for cut in cuts:
        if cut is None:
            script.unlink()
        else:
            script.write_text(RESTORE_TEXT[:cut])
        for name in (SEGMENT, "000000010000000000000002"):
            assert asked(data, surely(plain), name) == 255, cut
            if cut is not None:
                assert asked(data, plain, name) in ((2,) if cut > block else (0, 1, 2)), cut
        assert not (data / "pg_wal/RECOVERYXLOG").exists(), cut
    script.write_text(RESTORE_TEXT)
    assert asked(data, surely(plain), SEGMENT) == 0
    assert came(data) == CONTENT[SEGMENT]
    assert asked(data, surely(plain), "000000010000000000000002") == 1
