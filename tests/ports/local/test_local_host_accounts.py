"""This machine as a Host, looked at by root: what the account may not, is not done for it."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.model.facts import ABSENT, Unknown
from pgtandem.ports.host import Completed, HostFailure
from ports.host_scenarios import finish, is_gone
from ports.local.accounts import account_of, can_mount, root_only


@root_only
def test_root_reads_nothing_that_the_account_may_not(host: LocalHost, place: str, planted: Path) -> None:
    with pytest.raises(HostFailure) as caught:
        finish(host.read_file(f"{place}/file-link"))
    assert f'(as account "{account_of(host).pw_name}")' in caught.value.why


@root_only
def test_root_writes_nothing_through_planted_links(host: LocalHost, place: str, planted: Path) -> None:
    attempts = [
        host.write_file(f"{place}/folder-link/new", b"x"),
        host.write_file(f"{place}/folder-link/file", b"x"),
        host.remove_file(f"{place}/folder-link/file"),
        host.remove_tree(f"{place}/folder-link"),
        host.remove_tree(f"{place}/folder-link/"),
        host.make_directory(f"{place}/folder-link/new"),
        host.make_directory(f"{place}/folder-link/new/deeper"),
        host.rename(f"{place}/folder-link/file", f"{place}/mine"),
        host.rename(f"{place}/folder-link", f"{planted}/mine"),
    ]
    for attempt in attempts:
        with pytest.raises(HostFailure):
            finish(attempt)
    assert os.listdir(planted) == ["file"]
    assert (planted / "file").read_text() == "root's"
    finish(host.write_file(f"{place}/file-link", b"x"))
    finish(host.remove_file(f"{place}/file-link"))
    assert (planted / "file").read_text() == "root's"


@root_only
def test_root_makes_missing_parents_and_hands_over_the_last(host: LocalHost, open_tmp_path: Path) -> None:
    finish(host.make_directory(f"{open_tmp_path}/a/b/data", 0o700))
    entry = account_of(host)
    assert os.stat(open_tmp_path / "a/b").st_uid == 0
    assert stat.S_IMODE(os.stat(open_tmp_path / "a/b").st_mode) == 0o755
    info = os.stat(open_tmp_path / "a/b/data")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (entry.pw_uid, entry.pw_gid, 0o700)
    assert os.listdir(open_tmp_path / "a/b") == ["data"]


@root_only
def test_folder_of_root_that_was_there_is_not_handed_over(host: LocalHost, open_tmp_path: Path) -> None:
    folder = open_tmp_path / "it's there"
    folder.mkdir(mode=0o755)
    with pytest.raises(HostFailure) as caught:
        finish(host.make_directory(str(folder)))
    name = account_of(host).pw_name
    assert "belongs to root" in caught.value.why
    assert caught.value.next_step.startswith(f"chown {name}:")
    subprocess.run(["sh", "-c", caught.value.next_step], check=True)
    finish(host.make_directory(str(folder)))
    folder.chmod(0o500)
    with pytest.raises(HostFailure) as caught:
        finish(host.make_directory(str(folder)))
    assert caught.value.next_step == f"chmod u+rwx '{folder}'".replace("it's", "it'\"'\"'s")
    subprocess.run(["sh", "-c", caught.value.next_step], check=True)
    finish(host.make_directory(str(folder)))


@root_only
def test_folder_is_not_made_where_the_account_cannot_enter(host: LocalHost, open_tmp_path: Path) -> None:
    private = open_tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(HostFailure, match="could not make folder"):
        finish(host.make_directory(f"{private}/a/data"))
    assert os.listdir(private) == []


@root_only
@pytest.mark.parametrize("case", ["not writable", "not to be entered", "another decides"])
def test_what_is_in_the_way_of_a_folder_is_told_with_the_command_that_mends_it(
    host: LocalHost, open_tmp_path: Path, case: str
) -> None:
    folder = open_tmp_path / "it's there"
    (folder / "below").mkdir(parents=True)
    path, at = folder / "below", folder
    if case == "not writable":
        at = folder / "below"
    elif case == "not to be entered":
        folder.chmod(0o700)
        (folder / "below").chmod(0o700)
        path = folder / "below" / "a" / "data"
    else:
        os.chown(folder, 54321, 54321)
        path = folder / "a" / "data"
    found = finish(host.obstacle(str(path)))
    assert found is not None
    name = account_of(host).pw_name
    assert found.path == str(at)
    assert f'Account "{name}" may not ' in found.why
    assert str(at) in found.why
    assert ("user id 54321" if case == "another decides" else "root") in found.why
    with pytest.raises(HostFailure):
        finish(host.make_directory(str(path)))
    subprocess.run(["sh", "-c", found.remedy], check=True)
    assert finish(host.obstacle(str(path))) is None
    finish(host.make_directory(str(path)))


@root_only
def test_folder_that_root_makes_for_the_account_has_nothing_in_its_way(host: LocalHost, open_tmp_path: Path) -> None:
    (open_tmp_path / "roots").mkdir(mode=0o755)
    for path in (open_tmp_path / "roots" / "a" / "data", open_tmp_path / "data"):
        assert finish(host.obstacle(str(path))) is None
        finish(host.make_directory(str(path)))


@root_only
@pytest.mark.parametrize("mode", [0o755, 0o1755])
def test_root_makes_nothing_where_another_account_decides(host: LocalHost, open_tmp_path: Path, mode: int) -> None:
    foreign = open_tmp_path / "foreign"
    (foreign / "below").mkdir(parents=True)
    os.chown(foreign, 54321, 54321)
    foreign.chmod(mode)
    for path in (foreign / "data", foreign / "below" / "data"):
        with pytest.raises(HostFailure) as caught:
            finish(host.make_directory(str(path)))
        assert "root does nothing in a place that user id 54321 can change" in caught.value.why
    assert os.listdir(foreign) == ["below"]
    assert os.listdir(foreign / "below") == []


@root_only
def test_root_follows_roots_own_links_only(host: LocalHost, open_tmp_path: Path) -> None:
    real = open_tmp_path / "real"
    real.mkdir(mode=0o755)
    link = open_tmp_path / "link"
    link.symlink_to("real/../real")
    finish(host.make_directory(f"{link}/one"))
    assert os.listdir(real) == ["one"]
    os.chown(link, 54321, -1, follow_symlinks=False)
    with pytest.raises(HostFailure):
        finish(host.make_directory(f"{link}/two"))
    assert os.listdir(real) == ["one"]


@root_only
def test_account_folders_are_renamed_and_removed_in_a_folder_of_root(host: LocalHost, open_tmp_path: Path) -> None:
    finish(host.make_directory(f"{open_tmp_path}/.incoming"))
    finish(host.write_file(f"{open_tmp_path}/.incoming/file", b"x"))
    finish(host.make_directory(f"{open_tmp_path}/data"))
    finish(host.rename(f"{open_tmp_path}/.incoming", f"{open_tmp_path}/data"))
    assert os.listdir(open_tmp_path) == ["data"]
    assert (open_tmp_path / "data/file").read_bytes() == b"x"
    finish(host.remove_tree(f"{open_tmp_path}/data"))
    assert os.listdir(open_tmp_path) == []


@root_only
def test_folders_of_root_are_neither_renamed_nor_removed(host: LocalHost, open_tmp_path: Path) -> None:
    finish(host.make_directory(f"{open_tmp_path}/mine"))
    (open_tmp_path / "roots").mkdir()
    for attempt in (
        host.rename(f"{open_tmp_path}/roots", f"{open_tmp_path}/other"),
        host.rename(f"{open_tmp_path}/mine", f"{open_tmp_path}/roots"),
        host.remove_tree(f"{open_tmp_path}/roots"),
    ):
        with pytest.raises(HostFailure):
            finish(attempt)
    assert sorted(os.listdir(open_tmp_path)) == ["mine", "roots"]


@root_only
def test_process_of_root_is_not_ended(host: LocalHost) -> None:
    with subprocess.Popen(["sleep", "600"]) as victim:
        try:
            with pytest.raises(HostFailure):
                finish(host.end_process(victim.pid))
            assert victim.poll() is None
        finally:
            victim.kill()


def test_end_process_is_an_immediate_shutdown(host: LocalHost, place: str) -> None:
    async def scenario() -> Completed:
        said = bytearray()
        started = asyncio.Event()

        def on_output(data: bytes) -> None:
            said.extend(data)
            started.set()

        # sleep is waited for in the background, so that the trap runs at once.
        script = "trap 'echo quit; kill $!; exit 5' QUIT; sleep 600 & echo $$ >&2; wait"
        running = asyncio.create_task(host.run(["sh", "-c", script], on_output=on_output))
        await asyncio.wait_for(started.wait(), 10)
        await host.end_process(int(said))
        assert await is_gone(host, int(said))
        return await running

    completed = finish(scenario())
    assert (completed.exit_code, completed.stdout) == (5, b"quit\n")


def test_process_of_another_account_lives(host: LocalHost) -> None:
    assert finish(host.process_alive(1))


@root_only
def test_account_that_is_not_there_is_unknown_and_changes_nothing(open_tmp_path: Path) -> None:
    for name in ("pgtandem-no-such-account", "root"):
        host = LocalHost(name)
        assert isinstance(finish(host.account()), Unknown)
        with pytest.raises(HostFailure):
            finish(host.write_file(f"{open_tmp_path}/file", b""))
        with pytest.raises(HostFailure):
            finish(host.create_account())
    assert os.listdir(open_tmp_path) == []


_CREATION = """
import asyncio, os, sys
from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.ports.host import HostFailure
host, place = LocalHost(), sys.argv[1]
print(asyncio.run(host.account()))
print(asyncio.run(host.run(["id", "-un"])).text.strip(), asyncio.run(host.list_directory("/usr")) is not None)
try:
    asyncio.run(host.make_directory(f"{place}/data"))
except HostFailure as failure:
    print(failure.why)
asyncio.run(host.create_account())
asyncio.run(host.create_account())
print(asyncio.run(host.account()))
asyncio.run(host.make_directory(f"{place}/data"))
print(asyncio.run(host.run(["sh", "-c", 'id -un; id -gn; echo $HOME; stat -c %U "$1/data"', "sh", place])).text)
"""


@root_only
def test_account_is_created_where_there_is_none(open_tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("no mount namespace can be made here")
    # A copy of /etc without the accounts, in a mount namespace of its own: this machine's stays as it is.
    (open_tmp_path / "place").mkdir()
    script = (
        'cp -a /etc "$2/etc" && sed -i -E "/^(postgres|pgtandem):/d" "$2"/etc/passwd "$2"/etc/shadow'
        ' "$2"/etc/group "$2"/etc/gshadow && mount --bind "$2/etc" /etc && exec "$0" -c "$1" "$2/place"'
    )
    argv = ["unshare", "--mount", "sh", "-c", script, sys.executable, _CREATION, str(open_tmp_path)]
    completed = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.split("\n") == [
        str(ABSENT),
        "nobody True",
        "There is no account yet that PostgreSQL could run as.",
        "Known(value='pgtandem')",
        "pgtandem",
        "pgtandem",
        "/var/lib/pgtandem",
        "pgtandem",
        "",
        "",
    ]
