"""Programs on a host over SSH, and hosts with another shell."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.ssh import SshHost
from pgtandem.model.facts import Known
from pgtandem.ports.host import CommandTimeout, Completed, Host, HostFailure
from support.hosts import Hosts

from .host_scenarios import becomes_true, finish, is_gone
from .ssh_seat import Seat


class TestPrograms:
    def test_signal_and_exit_codes_are_told_apart(self, host: Host) -> None:
        for code in (0, 1, 127, 128, 255):
            assert finish(host.run(["sh", "-c", f"exit {code}"])).exit_code == code
        assert finish(host.run(["sh", "-c", "kill -TERM $$"])) == Completed(-15)

    def test_secrets_in_the_environment_stand_in_no_command_line(self, hosts: Hosts, host: Host, place: str) -> None:
        async def scenario() -> None:
            run = host.run(
                ["sh", "-c", 'until [ -e "$0/go" ]; do sleep 0.01; done', place], environment={"PGX": "hush"}
            )
            running = asyncio.create_task(run)

            async def runs() -> bool:
                return bool(hosts.processes("h1", "until [ -e"))

            assert await becomes_true(runs)
            assert not hosts.processes("h1", "hush")
            await host.write_file(f"{place}/go", b"")
            await running

        finish(scenario())

    def test_megabytes_come_back_whole(self, host: Host) -> None:
        completed = finish(host.run(["sh", "-c", "head -c 30000000 /dev/zero; head -c 3000000 /dev/zero >&2"]))
        assert (len(completed.stdout), len(completed.stderr)) == (30_000_000, 3_000_000)

    def test_more_programs_than_sshd_allows_sessions_run_in_turn(self, host: Host) -> None:
        async def scenario() -> list[Completed]:
            return await asyncio.gather(*[host.run(["sh", "-c", "sleep 0.1; echo $0", str(n)]) for n in range(30)])

        assert [completed.text for completed in finish(scenario())] == [f"{n}\n" for n in range(30)]

    def test_port_holder_is_named_where_it_is_the_accounts(self, hosts: Hosts, host: Host) -> None:
        async def scenario() -> None:
            assert await host.port_holder("127.0.0.1", 5432) is None
            assert await host.port_holder("*", 22) == "another program"
            for address in (hosts.address("h1"), hosts.address6("h1"), "h1", "localhost", "::"):
                assert await host.port_holder(address, 22) == "another program"
            listener = "import socket, time; s = socket.create_server(('127.0.0.1', 5999)); time.sleep(600)"
            running = asyncio.create_task(host.run(["/usr/bin/env", "python3", "-c", listener]))

            async def listens() -> bool:
                return await host.port_holder("localhost", 5999) is not None

            assert await becomes_true(listens)
            assert str(await host.port_holder("localhost", 5999)).startswith('program "python3" (process ')
            assert await host.port_holder(hosts.address("h1"), 5999) is None
            running.cancel()
            with pytest.raises(HostFailure, match="could not look at port 5432"):
                await host.port_holder("no-such-name.invalid", 5432)

        if not shutil.which("python3", path="/usr/local/bin:/usr/bin"):
            pytest.skip("a program that listens is needed on the host: python3")
        finish(scenario())

    def test_program_folders_are_those_of_the_host(self, host: Host) -> None:
        found = finish(host.program_directories(15))
        if not Path("/usr/lib/postgresql/15/bin/postgres").exists():
            assert found == []
        else:
            assert found[0] == ("/usr/lib/postgresql/15/bin", "system")

    def test_programs_are_not_copied(self, host: Host) -> None:
        with pytest.raises(HostFailure, match="could not copy the programs"):
            finish(host.copy_programs("/usr/lib/postgresql/15/bin", "embedded-15"))
        with pytest.raises(HostFailure):
            host.shared_programs("../x")

    def test_account_is_not_created(self, host: Host) -> None:
        assert finish(host.account()) == Known("postgres")
        with pytest.raises(HostFailure, match='could not create account "postgres"'):
            finish(host.create_account())


@pytest.fixture(params=["bash", "busybox"])
def other_shell(request: pytest.FixtureRequest, hosts: Hosts, seat: Seat) -> Iterator[SshHost]:
    """h2 with another /bin/sh; that of busybox together with busybox's own file tools."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed: sh scripts/test-packages.sh")
    tools = "cat ls mv rm mkdir rmdir chmod stat df sync wc readlink id printf"
    script = f"for tool in {tools}; do ln -s {program} /usr/local/sbin/$tool; done; "
    script = f"mount -t tmpfs -o mode=755 tmpfs /usr/local/sbin; {script if request.param == 'busybox' else ''}"
    done = hosts.run("h2", ["bash", "-c", f"{script} mount --bind {program} /bin/sh"])
    assert done.returncode == 0, done.stderr
    yield seat.host("alice", "h2")
    hosts.run("h2", ["umount", "/bin/sh", "/usr/local/sbin"])


def test_every_operation_works_with_another_shell(other_shell: SshHost) -> None:
    host = other_shell

    async def scenario() -> None:
        folder = "/srv/postgres/it's $odd\n\\"
        await host.make_directory(f"{folder}/a/b")
        await host.make_directory(f"{folder}/empty")
        for size in (0, 300, 100_000):
            content = (bytes(range(256)) * 400)[:size]
            await host.write_file(f"{folder}/a/file", content, 0o640)
            assert await host.read_file(f"{folder}/a/file") == content
        assert await host.list_directory(f"{folder}/a") == ("b", "file")
        await host.rename(f"{folder}/a", f"{folder}/empty")
        assert await host.list_directory(folder) == ("empty",)
        with pytest.raises(HostFailure):
            await host.rename(f"{folder}/empty/b", folder)
        with pytest.raises(HostFailure):
            await host.write_file(f"{folder}/empty", b"")
        assert await host.read_file(f"{folder}/none") is None
        await host.sync_tree(folder)
        assert (await host.disk_space(folder)).total_bytes > 0
        assert await host.port_holder("*", 22) == "another program"
        assert not await host.can_execute(f"{folder}/empty/file")
        assert await host.process_alive(1)
        assert not await host.process_alive(2**22 + 1)
        assert (await host.run(["sh", "-c", "kill -9 $$"])).exit_code == -9
        said = bytearray()
        with pytest.raises(CommandTimeout):
            await host.run(["sh", "-c", "sleep 600 & echo $! >&2; wait"], deadline_seconds=0.5, on_output=said.extend)
        assert await is_gone(host, int(said.split()[0]))
        await host.remove_file(f"{folder}/empty/file")
        await host.remove_tree(folder)
        assert await host.list_directory(folder) is None

    finish(scenario())
