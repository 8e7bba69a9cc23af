"""kill -9 of everything that archives, or fetches, at each program that it starts: nothing half, nothing lost."""

import signal
import subprocess
from pathlib import Path

import pytest

from support.archiving import Archiving, names
from support.servers import wait_until
from support.stumbling import Stumbling

pytestmark = pytest.mark.chaos

_PROGRAMS = ("cat", "cksum", "cmp", "cp", "ln", "mkdir", "mv", "rm", "sync", "zstd")
_COUNT = 6


def archived(folder: Path, stumbling: Stumbling, number: int, form: tuple[str, ...]) -> bool:
    """A backlog is archived, killed at the n-th program and then not any more; whether there was one."""
    one = Archiving(folder, *form)
    try:
        one.finish(*names(range(_COUNT)))
        contents = {name: one.wal(name).read_bytes() for name in names(range(_COUNT))}
        stumbling.at(number)
        told = set(one.archive_all())
        stumbling.stop()
        wait_until(lambda: not one.working(), "nothing works on")
        suffix = ".zst" if form else ""
        stored = {name.removesuffix(suffix): one.content(name) for name in one.stored()}
        assert stored == {name: contents[name] for name in stored}, f"{number}: whole where it has its name"
        assert told <= set(stored), f"{number}: what the server was told is there"
        one.archive_all()
        wait_until(lambda: not one.working(), "the worker ends")
        assert {name: one.content(name + suffix) for name in contents} == contents, number
        assert one.check() == "", number
        return stumbling.fell(number)
    finally:
        one.end()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("form", [(), ("zstd", "1")], ids=["none", "zstd"])
def test_archiving_is_killed_at_each_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...], after: bool
) -> None:
    stumbling = Stumbling(tmp_path, monkeypatch, _PROGRAMS, after=after)
    number = 1
    while archived(tmp_path / str(number), stumbling, number, form):
        number += 1
    assert number > 10, "a backlog takes at least so many programs"


def fetched(folder: Path, stumbling: Stumbling, number: int, sign: str, not_now: int) -> bool:
    """What is archived is fetched in order by who has this file, killed at the n-th program; whether there was one. Who
    is killed, or sees it, says `not_now`."""
    one = Archiving(folder, "zstd", "1")
    try:
        one.finish(*names(range(_COUNT)))
        one.archive_all()
        contents = {name: one.wal(name).read_bytes() for name in names(range(_COUNT))}
        (one.data / "standby.signal").rename(one.data / sign)
        stumbling.at(number)
        for name, content in contents.items():
            for _ in range(20):
                command = ["sh", "pgtandem/restore-wal", name, "pg_wal/RECOVERYXLOG", str(one.archive.parent)]
                process = subprocess.Popen(command, cwd=one.data, start_new_session=True, stderr=subprocess.DEVNULL)
                code = process.wait(60)
                # Killed by a signal the server's startup process would end too, and be started again.
                assert code in (0, not_now, -signal.SIGKILL), (number, name)
                if code == 0:
                    break
                one.wal("RECOVERYXLOG").unlink(missing_ok=True)
            assert one.wal("RECOVERYXLOG").read_bytes() == content, (number, name)
            one.wal("RECOVERYXLOG").unlink()
        stumbling.stop()
        return stumbling.fell(number)
    finally:
        one.end()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("sign", "not_now"), [("standby.signal", 1), ("recovery.signal", 255)])
def test_fetching_is_killed_at_each_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str, not_now: int, after: bool
) -> None:
    """To a recovery to a point in time 1 would be the end of the WAL; a standby asks again."""
    stumbling = Stumbling(tmp_path, monkeypatch, _PROGRAMS, after=after)
    number = 1
    while fetched(tmp_path / str(number), stumbling, number, sign, not_now):
        number += 1
    assert number > 10, "so many programs at least"
