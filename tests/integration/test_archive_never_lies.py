"""An archive_command of ours never answers 0 for what is not in the archive, whole and under its own cluster: each of
these was seen to be so, or could have been, in a review of the scripts with an enemy's eye."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT, ARCHIVE_TEXT, archive_command
from pgtandem.postgres.stream_scripts import HAND_OVER
from pgtandem.postgres.wal_over_ssh import push_command
from pgtandem.postgres.wal_push import PUSH_SCRIPT, PUSH_TEXT
from support.archiving import SHELLS, Archiving, names, segment
from support.servers import wait_until

SEGMENT = segment(1)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Archiving]:
    made = Archiving(tmp_path)
    yield made
    made.end()


def put_before(one: Archiving, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Path:
    """Programs that are found before the real ones. Returns their folder, in which they can leave signs."""
    programs = one.data.parent / "programs"
    programs.mkdir()
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\nsigns={shlex.quote(str(programs))}\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return programs


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("script", "text", "command"),
    [
        pytest.param(ARCHIVE_SCRIPT, ARCHIVE_TEXT, archive_command("/archive"), id="archive-wal"),
        pytest.param(PUSH_SCRIPT, PUSH_TEXT, push_command(), id="push-wal"),
    ],
)
def test_a_script_that_is_empty_or_cut_off_archives_nothing(
    tmp_path: Path, shell: str, script: str, text: str, command: str
) -> None:
    """The server's shell reads the script, and at its end goes on with 0."""
    (tmp_path / "pgtandem").mkdir()
    (tmp_path / "pg_wal").mkdir()
    (tmp_path / "pgtandem/wal-hosts").write_text("shop/db1\narchive\n")
    (tmp_path / "pgtandem/system_identifier").write_text("7000\n")
    argv = [shell, *(["sh"] if shell == "busybox" else ["--posix"] if shell == "bash" else []), "-c"]
    command = command.replace("%p", f"pg_wal/{SEGMENT}").replace("%f", SEGMENT)
    lines = text.splitlines(keepends=True)
    for count in (0, 1, 4, *range(8, len(lines), 60), len(lines) - 1):
        (tmp_path / script).write_text("".join(lines[:count]))
        done = subprocess.run([*argv, command], cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode != 0, f"the first {count} lines"


def test_what_was_copied_and_is_gone_is_not_taken_for_what_is_there_already(
    one: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive's disk goes away, or somebody tidies up, between the sync and the names."""
    put_before(
        one,
        monkeypatch,
        sync='/bin/sync "$@"; code=$?; : >"$signs/synced"; exit $code',
        cksum='sums=$(/usr/bin/cksum "$@"); until [ -e "$signs/synced" ]; do sleep 0.01; done; '
        'rm -rf "$PWD"; echo "$sums"',
    )
    one.finish(SEGMENT)
    done = one.call(SEGMENT)
    assert done.returncode == 1
    assert "is gone before it got its name" in done.stderr
    one.finish(*names(range(2, 6)))
    assert one.archive_all() == [], "nor where several are archived ahead"
    assert one.stored() == []


def test_an_archive_that_went_away_in_the_middle_of_a_backlog_is_not_made_anew(
    one: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is not mounted any more: what is written into the folder below it is hidden when it comes back."""
    programs = put_before(
        one, monkeypatch, sync='until [ -e "$signs/go on" ]; do sleep 0.02; done; exec /bin/sync "$@"'
    )
    segments = names(range(1, 41))
    one.finish(*segments)
    with one.calling(segments[0]) as process:
        wait_until(lambda: list(one.archive.glob(".incoming/*/*")), "the first are copied")
        away = one.archive.parent.rename(one.data.parent / "away")
        (programs / "go on").touch()
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert "No such file or directory" in process.stderr.read()
    wait_until(lambda: not one.working(), "the worker has ended")
    assert not one.archive.parent.exists()
    away.rename(one.archive.parent)
    assert one.archive_all() == segments
    assert [one.content(name) for name in segments] == [one.wal(name).read_bytes() for name in segments]


@pytest.mark.parametrize("backlog", [1, 4])
def test_data_of_another_cluster_never_comes_into_the_folder(one: Archiving, backlog: int) -> None:
    """pgtandem's files were copied into the data directory of a cluster that was made anew, or upgraded."""
    (one.data / "global").mkdir()
    control = one.data / "global/pg_control"
    control.write_bytes((7001).to_bytes(8, "little") + b"\x14\x05\0\0")
    one.finish(*names(range(1, backlog + 1)))
    done = one.call(SEGMENT)
    assert done.returncode == 1
    assert "7001" in done.stderr
    assert "7000" in done.stderr
    assert one.stored() == []
    control.write_bytes((7000).to_bytes(8, "little") + b"\x14\x05\0\0")
    assert len(one.archive_all()) == backlog


@pytest.mark.parametrize("form", ["zstd", "lz4"])
def test_what_cannot_be_expanded_to_its_end_is_not_the_same_content(tmp_path: Path, form: str) -> None:
    """A few bytes of the end are missing: all of the content comes, and then the error."""
    one = Archiving(tmp_path, form, "1")
    one.finish(SEGMENT)
    assert one.call(SEGMENT).returncode == 0
    (stored,) = one.archive.glob(f"{SEGMENT}.*")
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-2])
    one.start(began=1700000001)
    assert one.call(SEGMENT).returncode == 1, "it could not be restored"
    stored.write_bytes(whole)
    assert one.call(SEGMENT).returncode == 0
    one.end()


def test_where_there_are_no_links_a_name_that_another_one_took_meanwhile_is_not_overwritten(
    one: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shlex.quote(str(one.archive / SEGMENT))
    put_before(one, monkeypatch, ln="exit 1", mv=f'echo other >{target}; exec /bin/mv "$@"')
    one.finish(SEGMENT)
    assert one.call(SEGMENT).returncode == 1
    assert (one.archive / SEGMENT).read_text() == "other\n"


def test_where_there_are_no_links_files_are_archived_all_the_same(
    one: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_before(one, monkeypatch, ln="exit 1")
    one.finish(*names(range(1, 6)))
    assert len(one.archive_all()) == 5
    assert one.content(SEGMENT) == one.wal(SEGMENT).read_bytes()
    assert one.check() == ""


@pytest.mark.parametrize("backlog", [1, 4])
def test_a_variable_of_the_account_that_leads_cd_elsewhere_changes_nothing(
    one: Archiving, monkeypatch: pytest.MonkeyPatch, backlog: int
) -> None:
    other = one.data.parent / "another"
    (other / "pg_wal").mkdir(parents=True)
    for name in names(range(1, backlog + 1)):
        (other / "pg_wal" / name).write_bytes(b"another server's")
    monkeypatch.setenv("CDPATH", str(other))
    one.finish(*names(range(1, backlog + 1)))
    assert len(one.archive_all()) == backlog
    for name in names(range(1, backlog + 1)):
        assert one.content(name) == one.wal(name).read_bytes()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs process namespaces")
def test_servers_with_the_same_process_numbers_and_starts_do_not_answer_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers with one archive: all that a name could be made of is the same in both."""
    servers = [Archiving(tmp_path / each) for each in ("one", "two")]
    for each in servers:
        each.archive = servers[0].archive
        each.finish(SEGMENT)
    programs = put_before(
        servers[0],
        monkeypatch,
        sync='until [ -e "$signs/go on" ]; do sleep 0.01; done; exec /bin/sync "$@"',
    )
    command = archive_command(str(servers[0].archive.parent)).replace("%p", f"pg_wal/{SEGMENT}").replace("%f", SEGMENT)
    argv = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", command]
    processes = []
    for count, each in enumerate(servers, 1):
        processes.append(subprocess.Popen(argv, cwd=each.data, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        wait_until(lambda n=count: len(list(servers[0].archive.glob(f".incoming/*/{SEGMENT}"))) == n, "it is copied")
    (programs / "go on").touch()
    answers = [process.communicate(timeout=60) and process.returncode for process in processes]
    assert sorted(answers) == [0, 1], "only one can have the name"
    stored = (servers[0].archive / SEGMENT).read_bytes()
    assert stored == servers[answers.index(0)].wal(SEGMENT).read_bytes(), "and it is who was told so"


def test_an_empty_history_file_is_not_handed_to_a_server(one: Archiving) -> None:
    """It would say that the timeline comes from nowhere, and a standby would end for good."""
    (one.archive / "00000002.history").touch()
    done = one.fetch("00000002.history")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    (one.archive / "00000002.history").write_text("1\t0/5000000\tbecause\n")
    assert one.fetched("00000002.history") == b"1\t0/5000000\tbecause\n"


def test_what_only_the_stream_has_outlives_the_receiver(tmp_path: Path) -> None:
    """Where the archive has another content under the name, and where a primary that was lost went on."""
    streamed, beyond = tmp_path / "streamed", tmp_path / "receiver/beyond"
    for folder in (streamed, beyond):
        folder.mkdir(parents=True)
    for number, (there, came) in enumerate([("same", "same"), ("another primary's", "ours"), (None, "only here")], 1):
        (streamed / segment(number)).write_text(came)
        if there is not None:
            (tmp_path / segment(number)).write_text(there)
    (beyond / segment(9)).write_text("beyond the switch")
    for _ in range(2):
        done = subprocess.run(["sh", "-c", HAND_OVER, "sh", str(tmp_path)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / segment(2)).read_text() == "another primary's"
    assert (tmp_path / segment(3)).read_text() == "only here"
    aside = {path.name: path.read_text() for path in (tmp_path / "set-aside/streamed").iterdir()}
    assert aside == {segment(2): "ours", segment(9): "beyond the switch"}
