"""A backlog of WAL is archived ahead of the server's calls; what is not durable is not answered for, come what may."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgtandem.postgres.wal_ahead import AHEAD
from support.archiving import MEGABYTE, Archiving, names, segment
from support.servers import wait_until

FORMS = [("none", ()), ("zstd", ("zstd", "1")), ("lz4", ("lz4", "1"))]


@pytest.fixture(params=FORMS, ids=[form[0] for form in FORMS])
def every(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archiving]:
    made = Archiving(tmp_path, *request.param[1])
    yield made
    made.end()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Archiving]:
    made = Archiving(tmp_path)
    yield made
    made.end()


def pause_syncs(one: Archiving, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`sync` waits until the file that is returned is there: whoever syncs stands still in the middle."""
    programs, gate = one.data.parent / "programs", one.data.parent / "go on"
    programs.mkdir()
    (programs / "sync").write_text(f'#!/bin/sh\nwhile [ ! -e "{gate}" ]; do sleep 0.02; done\nexec /bin/sync "$@"\n')
    (programs / "sync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return gate


def test_a_backlog_is_archived_in_order_whole_and_with_checksums(every: Archiving) -> None:
    segments = names(range(4085, 4105))
    every.finish(*segments)
    every.finish("00000002.history", content=b"1\t0/5000000\tbecause\n")
    every.finish(f"{segment(4105)}.partial", f"{segment(4085)}.00000028.backup")
    assert len(every.archive_all()) == 23
    suffix = {"none": "", "zstd": ".zst", "lz4": ".lz4"}[every.form[0] if every.form else "none"]
    for name in [*segments, f"{segment(4105)}.partial"]:
        assert every.content(name + suffix) == every.wal(name).read_bytes(), name
    for name in ["00000002.history", f"{segment(4085)}.00000028.backup"]:
        assert every.content(name) == every.wal(name).read_bytes(), "small files are stored as they are"
    assert every.check() == ""
    wait_until(lambda: not every.working(), "the worker ends with the backlog")
    assert not list((every.archive / ".incoming").iterdir())


def test_what_is_archived_ahead_is_only_seen_by_the_call(one: Archiving) -> None:
    one.finish(*names(range(6)))
    assert one.call(segment(0)).returncode == 0
    wait_until(lambda: len(one.stored()) == 6 and not one.working(), "the others are there")
    shutil.rmtree(one.archive)
    assert one.call(segment(5)).returncode == 0, "it was durable when that was noted"


def test_what_is_in_the_archive_s_former_place_is_not_taken_for_archived_in_the_new_one(one: Archiving) -> None:
    one.finish(*names(range(4)))
    assert one.call(segment(0)).returncode == 0
    wait_until(lambda: len(one.stored()) == 4 and not one.working(), "all are there")
    before, one.archive = one.archive, one.archive.parent.with_name("moved") / one.archive.name
    one.archive.mkdir(parents=True)
    assert one.call(segment(1)).returncode == 0
    assert one.content(segment(1)) == one.wal(segment(1)).read_bytes()
    assert sorted(path.name for path in before.glob("0*")) == names(range(4))


def test_what_was_archived_ahead_is_answered_for_once(one: Archiving) -> None:
    """A server that asks again may mean another content: then the file itself counts."""
    one.finish(*names(range(3)))
    assert one.call(segment(0)).returncode == 0
    wait_until(lambda: len(one.stored()) == 3 and not one.working(), "all are there")
    assert one.call(segment(1)).returncode == 0
    assert one.call(segment(1)).returncode == 0, "the same content again is fine"
    one.wal(segment(1)).write_bytes(bytes(1 << 20))
    again = one.call(segment(1))
    assert again.returncode == 1
    assert "exists with other content" in again.stderr


def test_nothing_is_answered_before_it_is_durable(one: Archiving, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = pause_syncs(one, monkeypatch)
    one.finish(*names(range(4)))
    with one.calling(segment(0)) as call:
        wait_until(lambda: len(list(one.archive.glob(".incoming/*/0*"))) == 4, "copied, and not durable", 60)
        assert call.poll() is None
        assert one.stored() == [], "nothing has its name yet"
        gate.touch()
        assert call.wait(60) == 0
    assert one.stored()[0] == segment(0)


def test_what_an_earlier_run_of_the_server_knew_is_not_believed(one: Archiving) -> None:
    """After a crash of the machine, or in a copy of the data directory, it may not be true."""
    one.finish(*names(range(4)))
    assert one.call(segment(0)).returncode == 0
    wait_until(lambda: len(one.stored()) == 4 and not one.working(), "all are there")
    for path in one.archive.glob("0*"):
        path.unlink()
    one.start(pid=4712)
    assert one.call(segment(1)).returncode == 0
    assert segment(1) in one.stored()
    assert [path.name for path in (one.data / AHEAD).iterdir()] == ["4712.1700000000"]


@pytest.mark.parametrize("moment", ["copying", "syncing"])
def test_a_killed_worker_is_no_failure_and_nothing_half_has_a_name(
    one: Archiving, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    gate = pause_syncs(one, monkeypatch)
    one.finish(*names(range(5)))
    if moment == "copying":
        one.wal(segment(3)).unlink()
        os.mkfifo(one.wal(segment(3)))  # never ends; no file, so that the worker leaves it out
        one.wal(segment(3)).unlink()
        one.finish(segment(3))
    with one.calling(segment(0)) as call:
        wait_until(one.working, "the worker works", 60)
        if moment == "syncing":
            wait_until(lambda: list(one.archive.glob(".incoming/*/0*")), "it syncs", 60)
        for pid in one.working():
            with contextlib.suppress(ProcessLookupError):  # it ends by itself when a part of it was killed
                os.kill(pid, signal.SIGKILL)
        gate.touch()
        assert call.wait(60) == 0, "the call does it itself"
    assert one.content(segment(0)) == one.wal(segment(0)).read_bytes()
    assert set(one.archive_all()) == set(names(range(5)))
    assert one.check() == ""
    wait_until(lambda: not one.working(), "nothing runs on")
    assert not list((one.archive / ".incoming").iterdir()), "what the killed one left is gone"


def test_the_whole_archiver_killed_at_once_leaves_nothing_wrong(
    one: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an immediate shutdown does it: the process group of the archiver."""
    gate = pause_syncs(one, monkeypatch)
    one.finish(*names(range(5)))
    with one.calling(segment(0)) as call:
        wait_until(lambda: list(one.archive.glob(".incoming/*/0*")), "they are copied", 60)
        os.killpg(call.pid, signal.SIGKILL)
        call.wait(60)
    assert one.stored() == []
    gate.touch()
    one.start(pid=4712)
    assert len(one.archive_all()) == 5
    assert one.check() == ""


def test_other_content_stops_archiving_there_and_says_so(one: Archiving) -> None:
    one.finish(*names(range(6)))
    (one.archive / segment(3)).write_bytes(b"garbage")
    assert one.archive_all() == names(range(3))
    done = one.call(segment(3))
    assert done.returncode == 1
    assert f"{one.archive}/{segment(3)} exists with other content than pg_wal/{segment(3)}" in done.stderr
    assert (one.archive / segment(3)).read_bytes() == b"garbage"
    assert segment(4) not in one.stored(), "nothing is archived behind it"


@pytest.mark.parametrize(
    "program", ["sync", *(pytest.param(name, marks=pytest.mark.chaos) for name in ("cp", "cksum", "zstd"))]
)
def test_where_a_program_fails_for_one_segment_nothing_behind_it_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """Several batches are under way then, each at another step."""
    one, bad = Archiving(tmp_path, *(("zstd", "1") if program == "zstd" else ())), 10
    (tmp_path / "programs").mkdir()
    failing = tmp_path / "programs" / program
    really = shutil.which(program)
    failing.write_text(f'#!/bin/sh\ncase "$*" in *{segment(bad)}*) sleep 0.1; exit 1 ;; esac\nexec {really} "$@"\n')
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    one.finish(*names(range(22)))
    suffix = ".zst" if one.form else ""
    try:
        assert one.archive_all() == names(range(bad))
        wait_until(lambda: not one.working(), "the worker ends")
        assert one.stored() == [name + suffix for name in names(range(bad))]
        assert one.call(segment(bad)).returncode == 1
        assert one.stored() == [name + suffix for name in names(range(bad))]
        failing.unlink()
        assert one.archive_all() == names(range(bad, 22))
        assert {name: one.content(name + suffix) for name in names(range(22))} == {
            name: one.wal(name).read_bytes() for name in names(range(22))
        }
        assert one.check() == ""
        assert not list((one.archive / ".incoming").iterdir())
    finally:
        one.end()


def test_two_primaries_never_overwrite_each_others_segments(tmp_path: Path) -> None:
    first, second = Archiving(tmp_path / "a"), Archiving(tmp_path / "b", "zstd", "1")
    shutil.rmtree(second.archive.parent)
    second.archive.parent.symlink_to(first.archive.parent)
    first.finish(*names(range(8)))
    second.finish(*names(range(8)))
    shutil.copy(first.wal(segment(0)), second.wal(segment(0)))  # before they parted
    with first.calling(segment(0)) as one, second.calling(segment(0)) as other:
        assert (one.wait(60), other.wait(60)) == (0, 0), "the same content is fine, in whichever form"
    wait_until(lambda: not first.working() and not second.working(), "both workers are done")
    contents = {first.wal(segment(1)).read_bytes(): first, second.wal(segment(1)).read_bytes(): second}
    answers = sorted((first.call(segment(1)).returncode, second.call(segment(1)).returncode))
    assert answers in ([0, 1], [1, 1])
    stored = [name for name in first.stored() if name.startswith(segment(1))]
    assert {first.content(name) for name in stored} <= set(contents)
    if answers == [0, 1]:
        assert len(stored) == 1


def test_the_form_changes_while_the_archive_stays(one: Archiving) -> None:
    one.finish(*names(range(3)))
    one.archive_all()
    one.form = ("zstd", "3")
    one.finish(*names(range(3, 6)))
    one.archive_all()
    one.form = ("lz4", "1")
    one.finish(segment(6))
    one.archive_all()
    assert one.stored() == [*names(range(3)), *(f"{n}.zst" for n in names(range(3, 6))), f"{segment(6)}.lz4"]
    assert [one.fetched(name) for name in names(range(7))] == [one.wal(name).read_bytes() for name in names(range(7))]


def test_the_same_again_is_fine_in_whichever_form(one: Archiving) -> None:
    one.finish(segment(0))
    for form in ((), ("zstd", "1"), ("lz4", "9")):
        one.form = form
        assert one.call(segment(0)).returncode == 0
    assert one.stored() == [segment(0)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.parametrize("trouble", ["full", "read-only", "gone", "somebody else's"])
def test_archive_that_takes_nothing_fails_and_goes_on_when_it_does(one: Archiving, trouble: str) -> None:
    mounted = one.archive.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)], check=True)
    try:
        one.archive.mkdir()
        one.finish(*names(range(8)), content=os.urandom(MEGABYTE))
        if trouble == "full":
            # The folder with the checksums and a few segments fit; the rest does not.
            done = len(one.archive_all())
            assert done < 8
            failed = one.call(segment(done))
            assert failed.returncode == 1
            assert "No space left on device" in failed.stderr
            subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
        elif trouble == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
            failed = one.call(segment(0))
            assert failed.returncode == 1
            assert "Read-only file system" in failed.stderr
            subprocess.run(["mount", "-o", "remount,rw,size=64m", str(mounted)], check=True)
        elif trouble == "gone":
            one.archive.rename(one.archive.with_name("elsewhere"))
            failed = one.call(segment(0))
            assert failed.returncode == 1
            assert "is not there" in failed.stderr
            one.archive.with_name("elsewhere").rename(one.archive)
            subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
        else:
            subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
            one.archive.chmod(0o500)
            os.chown(one.archive, 65534, 65534)
            for folder in (one.data.parent, *one.data.parent.parents[:3]):
                folder.chmod(folder.stat().st_mode | 0o055)
            command = ["sh", "pgtandem/archive-wal", f"pg_wal/{segment(0)}", segment(0), str(mounted)]
            for path in (one.wal(segment(0)), one.data / "postmaster.pid"):
                path.chmod(0o644)
            refused = subprocess.run(
                command, cwd=one.data, user=2, group=2, extra_groups=[], capture_output=True, text=True
            )
            assert refused.returncode == 1
            assert "ermission denied" in refused.stderr
            os.chown(one.archive, 0, 0)
            one.archive.chmod(0o700)
        one.archive_all()
        assert one.stored() == names(range(8))
        assert one.check() == ""
    finally:
        one.end()
        subprocess.run(["umount", "-l", str(mounted)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_with_the_wal_does_not_keep_wal_from_being_archived(one: Archiving) -> None:
    """Only archiving makes room there."""
    wal = one.data / "pg_wal"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(wal)], check=True)
    try:
        (wal / "archive_status").mkdir()
        one.finish(*names(range(3)))
        filled = subprocess.run(
            ["dd", "if=/dev/zero", f"of={wal / 'filler'}", "bs=4096"], capture_output=True, text=True
        )
        assert "No space left" in filled.stderr
        contents = [one.wal(name).read_bytes() for name in names(range(3))]
        assert one.archive_all() == names(range(3))
        assert [one.content(name) for name in names(range(3))] == contents
    finally:
        one.end()
        subprocess.run(["umount", "-l", str(wal)], check=True)
