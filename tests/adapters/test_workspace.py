"""The folder beside the topology file: durable, private, and locked between real processes."""

import fcntl
import json
import os
import pwd
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pgtandem.adapters.lockfile import held_words, holder_advice
from pgtandem.adapters.workspace import FolderWorkspace
from pgtandem.errors import PgtandemError
from pgtandem.model.names import Secret
from pgtandem.ports.workspace import LockHolder
from ports.workspace_contract import NODE, PASSWORD, Reopen, WorkspaceContract


@pytest.fixture
def workspace(tmp_path: Path) -> FolderWorkspace:
    return FolderWorkspace(str(tmp_path))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


class TestFolderWorkspace(WorkspaceContract):
    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        return lambda: FolderWorkspace(str(tmp_path))


_HOLD = """
import os, subprocess, sys
from pgtandem.adapters.workspace import FolderWorkspace
with FolderWorkspace(sys.argv[1]).lock("apply"):
    child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
    child.kill()
"""


@contextmanager
def holder_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another pgtandem that holds the lock, and the id of a child of it that outlives a kill -9."""
    argv = [sys.executable, "-c", _HOLD, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            if process.poll() is None:
                process.communicate("", timeout=20)
            # A holder that was killed leaves its child behind.
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def test_nothing_is_made_by_reading(workspace: FolderWorkspace, tmp_path: Path) -> None:
    assert workspace.secret("replication") is None
    assert workspace.journal() == []
    assert workspace.built_nodes() == ()
    workspace.forget_node("db1")
    workspace.clear()
    assert os.listdir(tmp_path) == []


def test_everything_is_private_whatever_the_umask(workspace: FolderWorkspace, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        workspace.store_secret("replication", Secret(PASSWORD))
        path = workspace.write_passfile("*:*:*:*:x\n")
        workspace.record({"step": 1})
        workspace.remember_node(NODE)
        with workspace.lock("apply"):
            pass
    finally:
        os.umask(before)
    folder = tmp_path / ".pgtandem"
    assert mode_of(folder) == 0o700
    assert sorted(os.listdir(folder)) == ["journal.jsonl", "lock", "nodes.json", "passfile", "secrets.json"]
    assert {mode_of(file) for file in folder.iterdir()} == {0o600}
    assert path == str(folder / "passfile")


def test_folder_that_was_opened_to_others_is_closed_again(workspace: FolderWorkspace, tmp_path: Path) -> None:
    workspace.record({"step": 1})
    (tmp_path / ".pgtandem").chmod(0o755)
    assert workspace.journal() == [{"step": 1}]
    assert mode_of(tmp_path / ".pgtandem") == 0o700


@pytest.mark.parametrize(
    "content",
    ["not JSON " + PASSWORD, f'["{PASSWORD}"]', f'{{"replication": ["{PASSWORD}"]}}', f'{{"a": "{PASSWORD}'],
)
def test_damaged_secrets_are_an_error_that_does_not_show_them(
    workspace: FolderWorkspace, tmp_path: Path, content: str
) -> None:
    workspace.store_secret("replication", Secret(PASSWORD))
    (tmp_path / ".pgtandem/secrets.json").write_text(content)
    with pytest.raises(PgtandemError, match=r"could not read .*secrets.json") as caught:
        workspace.secret("replication")
    error = caught.value
    assert error.code.text == "PT-1008"
    assert error.__context__ is None, "an inner exception could hold the content"
    assert PASSWORD not in f"{error!r}{error}{error.why}{error.next_step}{vars(error)}"
    with pytest.raises(PgtandemError):  # and they are not overwritten either
        workspace.store_secret("superuser", Secret("x"))
    assert (tmp_path / ".pgtandem/secrets.json").read_text() == content


@pytest.mark.parametrize("content", ["garbage", "{}x", '["db1"]', '[{"name": "db1"}]', "17"])
def test_damaged_list_of_nodes_is_an_error(workspace: FolderWorkspace, tmp_path: Path, content: str) -> None:
    workspace.remember_node(NODE)
    (tmp_path / ".pgtandem/nodes.json").write_text(content)
    with pytest.raises(PgtandemError, match=r"could not read .*nodes.json"):
        workspace.built_nodes()


@pytest.mark.parametrize("torn", [b'{"step": 2, "te', b'{"step": 2}', b"\x00" * 9000, b"\xff", b'"' + b"x" * 20_000])
def test_torn_last_line_of_the_journal_is_dropped_and_not_glued_to(
    workspace: FolderWorkspace, tmp_path: Path, torn: bytes
) -> None:
    # As kill -9 or a power failure leaves it: the end of the line was not written.
    workspace.record({"step": 1})
    with (tmp_path / ".pgtandem/journal.jsonl").open("ab") as file:
        file.write(torn)
    assert workspace.journal() == [{"step": 1}]
    workspace.record({"step": 3})
    assert workspace.journal() == [{"step": 1}, {"step": 3}]


def test_journal_of_one_torn_line_begins_anew(workspace: FolderWorkspace, tmp_path: Path) -> None:
    workspace.record({"step": 1})
    (tmp_path / ".pgtandem/journal.jsonl").write_bytes(b'{"st')
    assert workspace.journal() == []
    workspace.record({"step": 2})
    assert workspace.journal() == [{"step": 2}]


def test_second_process_is_told_who_holds_the_lock(workspace: FolderWorkspace, tmp_path: Path) -> None:
    with holder_process(tmp_path) as (process, _):
        with pytest.raises(PgtandemError) as caught, workspace.lock("status"):
            pytest.fail("the lock was given twice")
        error = caught.value
        assert (error.code.text, error.what) == ("PT-5001", "another pgtandem is at work on this cluster")
        assert re.fullmatch(
            rf'"apply" by \S+ on host \S+ \(process {process.pid}\) has held the lock since '
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ s ago\)",
            error.why,
        )
        assert error.next_step == f"wait for it, or end it: kill {process.pid}"
        process.communicate("", timeout=20)
        with workspace.lock("status"):
            pass


def test_kill_of_the_holder_frees_the_lock_though_its_child_lives(workspace: FolderWorkspace, tmp_path: Path) -> None:
    with holder_process(tmp_path) as (process, child):
        process.kill()
        process.wait(20)
        os.kill(child, 0)
        with workspace.lock("status"):
            assert json.loads((tmp_path / ".pgtandem/lock").read_text())["pid"] == os.getpid()


def test_record_of_who_wanted_the_lock_and_was_killed_asks_for_nothing(
    workspace: FolderWorkspace, tmp_path: Path
) -> None:
    """kill -9: the record stays in the file, and its process id may be another's by now."""
    with workspace.want_lock("failover"):
        record = (tmp_path / ".pgtandem/wanted").read_bytes()
        assert json.loads(record)["pid"] == os.getpid()
    (tmp_path / ".pgtandem/wanted").write_bytes(record)
    assert workspace.lock_wanted_by() is None
    with workspace.want_lock("failover"):
        assert workspace.lock_wanted_by() is not None


def test_lock_is_not_given_twice_within_a_process(workspace: FolderWorkspace, tmp_path: Path) -> None:
    with workspace.lock("apply"):
        with pytest.raises(PgtandemError) as caught, FolderWorkspace(str(tmp_path)).lock("status"):
            pytest.fail("the lock was given twice")
        assert f"process {os.getpid()}" in caught.value.why


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"garbage \xff",
        b"[]",
        b"{}",
        b"[" * 50_000,
        b'{"pid": 1, "machine": "m", "account": "a", "command": "c", "since": 1}',
        b'{"pid": 4711, "machine": "m", "account": "a", "command": "c", "since": 1e300}',
        b'{"pid": 4711, "machine": "m", "account": "a\\nb", "command": "c", "since": 1}',
    ],
)
def test_holder_without_a_sensible_record_is_still_a_holder(
    workspace: FolderWorkspace, tmp_path: Path, record: bytes
) -> None:
    with workspace.lock("apply"):
        (tmp_path / ".pgtandem/lock").write_bytes(record)
        with pytest.raises(PgtandemError) as caught, workspace.lock("status"):
            pytest.fail("the lock was given twice")
    assert caught.value.why == "A process that did not say who it is holds the lock."
    assert caught.value.next_step == f"wait for it, or find it: fuser -v {tmp_path}/.pgtandem/lock"


def test_record_of_a_dead_process_is_nobody_to_kill(workspace: FolderWorkspace, tmp_path: Path) -> None:
    machine = os.uname().nodename
    dead = {"pid": 2**22 + 1, "machine": machine, "account": "a", "command": "c", "since": 1}
    with workspace.lock("apply"):
        (tmp_path / ".pgtandem/lock").write_text(json.dumps(dead))
        with pytest.raises(PgtandemError) as caught, workspace.lock("status"):
            pytest.fail("the lock was given twice")
    assert "kill" not in caught.value.next_step


def test_record_that_was_left_behind_is_no_obstacle(workspace: FolderWorkspace, tmp_path: Path) -> None:
    workspace.record({})
    (tmp_path / ".pgtandem/lock").write_bytes(b"garbage " * 1000)
    with workspace.lock("apply"):
        assert json.loads((tmp_path / ".pgtandem/lock").read_text())["command"] == "apply"


@pytest.mark.parametrize(
    ("age", "words"),
    [(-5, ""), (5, " (5 s ago)"), (130, " (2 min ago)"), (7300, " (2 h ago)"), (200_000, " (2 days ago)")],
)
def test_age_of_the_lock_is_in_words(age: float, words: str) -> None:
    held = LockHolder(4711, "db-admin", "alice", "apply", time.mktime((2026, 11, 23, 14, 3, 5, 0, 0, -1)))
    assert held_words(held, held.since + age) == (
        '"apply" by alice on host db-admin (process 4711) has held the lock since 2026-11-23 14:03:05' + words
    )


def test_holder_on_another_machine_is_ended_there() -> None:
    held = LockHolder(4711, "elsewhere", "alice", "apply", 0)
    assert holder_advice(held, "lock") == "wait for it, or end it on host elsewhere: kill 4711"


def test_clearing_removes_everything_and_frees_the_lock(workspace: FolderWorkspace, tmp_path: Path) -> None:
    (tmp_path / "pgtandem.toml").write_text("")
    with workspace.lock("down"):
        workspace.store_secret("replication", Secret(PASSWORD))
        workspace.record({"step": 1})
        workspace.clear()
        assert os.listdir(tmp_path) == ["pgtandem.toml"]
    assert os.listdir(tmp_path) == ["pgtandem.toml"]
    with workspace.lock("up"):
        pass


def test_lock_on_a_file_that_was_just_removed_is_taken_anew(
    workspace: FolderWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another clears the workspace between our opening the file and our locking it.
    workspace.record({})
    real = fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            (tmp_path / ".pgtandem/lock").unlink()
        calls.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with workspace.lock("apply"), pytest.raises(PgtandemError), FolderWorkspace(str(tmp_path)).lock("status"):
        pytest.fail("the lock was given twice")
    assert len(calls) == 3


def test_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    workspace = FolderWorkspace(str(tmp_path / "missing"))
    with pytest.raises(PgtandemError, match="could not write") as caught:
        workspace.store_secret("replication", Secret(PASSWORD))
    assert (caught.value.code.text, caught.value.why) == ("PT-1008", "No such file or directory.")
    assert PASSWORD not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_is_an_error(workspace: FolderWorkspace, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PgtandemError) as caught, workspace.lock("apply"):
            pytest.fail("a lock without a file")
    finally:
        tmp_path.chmod(0o700)
    assert (caught.value.code.text, caught.value.why) == ("PT-1008", "Permission denied.")


def test_file_or_link_in_the_folders_place_is_refused(workspace: FolderWorkspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".pgtandem").symlink_to("elsewhere")
    attempts: list[Callable[[], object]] = [lambda: workspace.record({}), workspace.journal, workspace.clear]
    for attempt in attempts:
        with pytest.raises(PgtandemError) as caught:
            attempt()
        assert (caught.value.code.text, caught.value.why) == ("PT-1008", "It is not a folder.")
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another account")
def test_folder_of_another_account_is_refused(workspace: FolderWorkspace, tmp_path: Path) -> None:
    workspace.record({"step": 1})
    os.chown(tmp_path / ".pgtandem", 54321, -1)
    with pytest.raises(PgtandemError) as caught:
        workspace.journal()
    assert caught.value.why == "It belongs to user id 54321, who works on this cluster; you are root."


def test_planted_links_are_not_written_through(workspace: FolderWorkspace, tmp_path: Path) -> None:
    workspace.record({"step": 1})
    (tmp_path / "target").write_text("kept")
    for name in ("journal.jsonl", "lock", "secrets.json"):
        (tmp_path / ".pgtandem" / name).unlink(missing_ok=True)
        (tmp_path / ".pgtandem" / name).symlink_to(tmp_path / "target")
    with pytest.raises(PgtandemError):
        workspace.record({"step": 2})
    with pytest.raises(PgtandemError), workspace.lock("apply"):
        pytest.fail("a lock on a planted link")
    (tmp_path / ".pgtandem/secrets.json").unlink()
    (tmp_path / ".pgtandem/passfile").symlink_to(tmp_path / "target")
    workspace.write_passfile("new")
    assert (tmp_path / "target").read_text() == "kept"


def test_write_that_fails_leaves_the_old_content(workspace: FolderWorkspace, tmp_path: Path) -> None:
    workspace.store_secret("replication", Secret(PASSWORD))
    workspace.record({"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(PgtandemError) as caught:
            workspace.store_secret("superuser", Secret("x" * 5000))
        with pytest.raises(PgtandemError):
            workspace.record({"step": 2, "text": "x" * 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.why == "File too large."
    assert sorted(os.listdir(tmp_path / ".pgtandem")) == ["journal.jsonl", "secrets.json"]
    assert workspace.secret("superuser") is None
    assert workspace.secret("replication") == Secret(PASSWORD)
    assert (tmp_path / ".pgtandem/journal.jsonl").read_bytes() == b'{"step": 1}\n'


def test_who_became_root_by_sudo_is_named_and_an_ordinary_user_cannot_pretend(
    workspace: FolderWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.delenv("DOAS_USER", raising=False)
    assert workspace.login() == own
    monkeypatch.setenv("SUDO_USER", "ana")
    assert workspace.login() == ("ana (as root)" if os.getuid() == 0 else own)
