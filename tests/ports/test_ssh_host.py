"""A host over SSH: the contract on a real sshd in a network namespace, and everything that can go wrong on the way."""

import asyncio
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgtandem.adapters.hosts.ssh import SshHost
from pgtandem.adapters.hosts.ssh_keys import UnknownHostKey
from pgtandem.model.facts import Known, Unknown
from pgtandem.ports.host import CommandTimeout, Completed, Host, HostFailure, HostUnreachable
from support.hosts import CONTROL, Hosts, why_no_hosts
from support.servers import wait_until

from .host_contract import HostContract, becomes_true, finish, is_gone

_reason = why_no_hosts()
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

#: Who logs in: the account itself, or somebody with sudo to it.
LOGINS = ["postgres", "alice"]


class Seat:
    """The control seat: ssh's configuration, known_hosts and key in a folder of its own, and the hosts that it made."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.hosts, self.folder = hosts, folder
        self.known_hosts = folder / "known hosts"
        self.config = folder / "config"
        self._made: list[SshHost] = []
        self.forget_keys()
        self.configure()

    def configure(self, *lines: str, key: str | None = None) -> None:
        """Writes ssh's configuration; `lines` come first, so they win."""
        self.config.write_text(
            "\n".join(
                [
                    *lines,
                    "Host *",
                    f"IdentityFile {key or self.hosts.key}",
                    "IdentitiesOnly yes",
                    "IdentityAgent none",
                    f'UserKnownHostsFile "{self.known_hosts}"',
                    "GlobalKnownHostsFile /dev/null",
                ]
            )
            + "\n"
        )

    def know_keys(self) -> None:
        lines = []
        for name in self.hosts.names:
            lines.append(f"{self.hosts.address(name)},{self.hosts.address6(name)} {self.hosts.host_key(name)}\n")
        self.known_hosts.write_text("".join(lines))

    def forget_keys(self) -> None:
        self.known_hosts.write_text("")

    def host(
        self,
        user: str = "postgres",
        name: str = "h1",
        *,
        account: str = "postgres",
        accept_new_host_keys: bool = False,
        ask: Callable[[UnknownHostKey], object] | None = None,
        alive_seconds: int = 1,
        connect_seconds: int = 2,
        address: str | None = None,
    ) -> SshHost:
        async def asked(key: UnknownHostKey) -> bool:
            assert ask is not None
            return bool(ask(key))

        made = SshHost(
            f"ssh://{user}@{address or self.hosts.address(name)}",
            account,
            accept_new_host_keys=accept_new_host_keys,
            ask=asked if ask else None,
            config=str(self.config),
            connect_seconds=connect_seconds,
            alive_seconds=alive_seconds,
        )
        self._made.append(made)
        return made

    def close(self) -> None:
        for host in self._made:
            finish(host.close())


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


@pytest.fixture(scope="module")
def path_to_hosts(hosts: Hosts) -> Iterator[str]:
    """A PATH whose ssh runs at the control seat."""
    folder = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
    hosts.control_program(folder, "ssh")
    yield f"{folder}:{os.environ['PATH']}"
    shutil.rmtree(folder)


@pytest.fixture
def seat(hosts: Hosts, path_to_hosts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
    monkeypatch.setenv("PATH", path_to_hosts)
    made = Seat(hosts, tmp_path)
    made.know_keys()
    yield made
    made.close()


@pytest.fixture(scope="module")
def lasting(hosts: Hosts, path_to_hosts: str) -> Iterator[Callable[[str], SshHost]]:
    """Connections that serve many tests, each of which has an event loop of its own."""
    with tempfile.TemporaryDirectory(prefix="pgtandem-test-") as folder:
        shared, made = Seat(hosts, Path(folder)), dict[str, SshHost]()

        def of(login: str) -> SshHost:
            shared.know_keys()
            return made.setdefault(login, shared.host(login))

        yield of
        shared.close()


@pytest.fixture(params=LOGINS)
def host(request: pytest.FixtureRequest, seat: Seat, lasting: Callable[[str], SshHost]) -> Host:
    return lasting(request.param)


@pytest.fixture
def login(request: pytest.FixtureRequest, host: Host) -> str:
    return str(request.node.callspec.params["host"])


@pytest.fixture
def place(hosts: Hosts) -> Iterator[str]:
    folder = hosts.srv("h1") / "place"
    folder.mkdir()
    os.chown(folder, hosts.srv("h1").joinpath("postgres").stat().st_uid, -1)
    yield "/srv/place"
    shutil.rmtree(folder)


class TestSshHost(HostContract):
    pass


class TestFiles:
    """What the contract cannot see: owners, modes, links."""

    def test_modes_and_owners_are_exact(self, hosts: Hosts, host: Host, place: str) -> None:
        for name, size in (("small", 10), ("big", 100_000)):
            finish(host.write_file(f"{place}/{name}", b"x" * size, 0o644))
        finish(host.make_directory(f"{place}/a/b", 0o750))
        account = (hosts.srv("h1") / "postgres").stat()
        for name, mode in (("small", 0o644), ("big", 0o644), ("a", 0o755), ("a/b", 0o750)):
            info = (hosts.srv("h1") / "place" / name).stat()
            assert stat.S_IMODE(info.st_mode) == mode
            assert (info.st_uid, info.st_gid) == (account.st_uid, account.st_gid)

    def test_file_that_does_not_fit_leaves_the_old_one(self, hosts: Hosts, host: Host, place: str) -> None:
        folder = hosts.srv("h1") / "place"
        mounted = hosts.run("h1", ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "none", place])
        assert mounted.returncode == 0, mounted.stderr
        try:
            finish(host.write_file(f"{place}/file", b"old"))
            finish(host.write_file(f"{place}/filler", b"x" * 57_344))  # leaves a page
            for size in (100_000, 8_000):
                with pytest.raises(HostFailure) as caught:
                    finish(host.write_file(f"{place}/file", b"x" * size))
                assert "No space left on device" in caught.value.why
                assert finish(host.list_directory(place)) == ("file", "filler")
            assert finish(host.read_file(f"{place}/file")) == b"old"
        finally:
            hosts.run("h1", ["umount", place])
        assert not list(folder.iterdir())

    def test_what_may_not_be_looked_at_is_a_failure_and_not_absent(self, host: Host) -> None:
        for attempt in (
            host.read_file("/srv/bob/.ssh/none"),
            host.list_directory("/srv/bob/.ssh"),
            host.remove_file("/srv/bob/.ssh/none"),
            host.remove_tree("/srv/bob/.ssh/none"),
            host.make_directory("/srv/bob/.ssh/none"),
            host.write_file("/srv/bob/file", b""),
        ):
            with pytest.raises(HostFailure) as caught:
                finish(attempt)
            assert "Permission denied" in caught.value.why

    def test_folder_of_another_is_refused_with_a_remedy(self, host: Host) -> None:
        with pytest.raises(HostFailure) as caught:
            finish(host.make_directory("/srv/bob"))
        assert caught.value.why == 'It is there, belongs to bob, and account "postgres" may not write in it.'
        with pytest.raises(HostFailure) as caught:
            finish(host.make_directory("/srv/data"))
        assert caught.value.next_step == "on the host, as root:  install -d -o postgres -m 700 '/srv/data'"

    def test_what_is_in_the_way_of_a_folder_is_told_with_the_command_for_the_host(self, host: Host) -> None:
        found = finish(host.obstacle("/srv/data/db1"))
        assert found is not None
        assert (found.path, found.remedy) == ("/srv", "sudo install -d -o postgres -g postgres /srv/data/db1")
        assert found.why == 'Account "postgres" may not write in /srv (it belongs to root).'
        found = finish(host.obstacle("/srv/bob/.ssh/data"))
        assert found is not None
        assert (found.path, found.remedy) == ("/srv/bob/.ssh", "sudo chmod a+x /srv/bob/.ssh")
        found = finish(host.obstacle("/srv/bob"))
        assert found is not None
        assert found.remedy == "sudo chown postgres:postgres /srv/bob"

    def test_links_are_replaced_and_never_followed(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/target", b"kept")
            await host.make_directory(f"{place}/tree/inner")
            await host.run(["ln", "-s", f"{place}/target", f"{place}/link"])
            await host.run(["ln", "-s", f"{place}/tree", f"{place}/treelink"])
            await host.run(["ln", "-s", f"{place}/target", f"{place}/tree/inner/link"])
            await host.write_file(f"{place}/link", b"new")
            assert await host.read_file(f"{place}/target") == b"kept"
            for path in (f"{place}/treelink", f"{place}/treelink/"):
                with pytest.raises(HostFailure) as caught:
                    await host.remove_tree(path)
                assert caught.value.why == "It is a link."
            await host.remove_tree(f"{place}/tree")
            assert await host.read_file(f"{place}/target") == b"kept"

        finish(scenario())

    def test_fifo_does_not_hold_the_reader(self, host: Host, place: str) -> None:
        finish(host.run(["mkfifo", f"{place}/fifo"]))
        with pytest.raises(HostFailure) as caught:
            finish(host.read_file(f"{place}/fifo"))
        assert caught.value.why == "It is not a regular file."

    def test_file_that_goes_and_comes_back_is_read_or_absent(self, hosts: Hosts, host: Host, place: str) -> None:
        """As postmaster.pid does while a server starts after a crash."""
        path = f"{place}/file"
        comes_and_goes = 'while [ -e "$1.go" ]; do echo x >"$1.new"; mv "$1.new" "$1"; rm "$1"; done; : >"$1.over"'

        async def scenario() -> set[bytes | None]:
            await host.write_file(f"{path}.go", b"")
            await host.run(["sh", "-c", '(timeout 60 sh -c "$0" sh "$1") >/dev/null 2>&1 &', comes_and_goes, path])
            try:
                return {await host.read_file(path) for _ in range(300)}
            finally:
                await host.remove_file(f"{path}.go")
                assert await becomes_true(is_over)

        async def is_over() -> bool:
            return await host.read_file(f"{path}.over") is not None

        assert finish(scenario()) == {None, b"x\n"}

    def test_nothing_is_moved_between_file_systems(self, host: Host, place: str) -> None:
        finish(host.write_file(f"{place}/a", b"x"))
        with pytest.raises(HostFailure) as caught:
            finish(host.rename(f"{place}/a", "/tmp/a"))
        assert caught.value.why == "The two places are on different file systems."

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        name=st.text(st.characters(exclude_characters="\0/", exclude_categories=("Cs",)), min_size=1, max_size=40),
        content=st.binary(max_size=300),
    )
    def test_any_name_and_any_content_survive(
        self, lasting: Callable[[str], SshHost], seat: Seat, name: str, content: bytes
    ) -> None:
        if name in (".", "..") or len(name.encode()) > 200:
            return
        host = lasting("alice")

        async def scenario() -> None:
            folder = f"/tmp/{name}"
            await host.make_directory(folder)
            await host.write_file(f"{folder}/{name}", content)
            assert await host.list_directory(folder) == (name,)
            assert await host.read_file(f"{folder}/{name}") == content
            await host.remove_tree(folder)
            assert await host.list_directory(folder) is None

        finish(scenario())

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        arguments=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)),
        value=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
        stdin=st.binary(max_size=300),
    )
    def test_any_arguments_environment_and_input_survive(
        self, lasting: Callable[[str], SshHost], seat: Seat, arguments: list[str], value: str, stdin: bytes
    ) -> None:
        host = lasting("alice")
        script = 'printf "%s|" "$VALUE" "$@"; cat'
        completed = finish(host.run(["sh", "-c", script, "sh", *arguments], stdin=stdin, environment={"VALUE": value}))
        assert completed.stdout == "".join(f"{text}|" for text in [value, *arguments]).encode() + stdin


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


class TestConnection:
    def test_one_login_serves_everything_and_nothing_is_left(self, hosts: Hosts, seat: Seat) -> None:
        host = seat.host("bob", account="bob")

        async def scenario() -> None:
            await asyncio.gather(*[host.run(["true"]) for _ in range(5)], host.read_file("/etc/hostname"))
            assert len(hosts.processes("h1", "sshd: bob [priv]")) == 1
            folder = Path(host._connection.session_argv()[host._connection.session_argv().index("-S") + 1]).parent
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            await host.close()
            assert not folder.exists()

        finish(scenario())
        assert finish(becomes_true(_none(hosts, "sshd: bob")))
        assert finish(host.run(["true"])).exit_code == 0  # it connects again when it is needed

    def test_ipv6_works(self, hosts: Hosts, seat: Seat) -> None:
        host = seat.host(address=f"[{hosts.address6('h1')}]")
        assert finish(host.account()) == Known("postgres")
        assert host.name == f"host {hosts.address6('h1')}"

    def test_proxy_jump_of_the_configuration_is_used(self, hosts: Hosts, seat: Seat) -> None:
        seat.configure(f"Host {hosts.address('h2')}", f"ProxyJump bob@{hosts.address('h1')}")
        finish(seat.host(name="h2").run(["true"]))
        logins = (hosts.folder / "h2/console").read_text().splitlines()
        assert any(f"Accepted publickey for postgres from {hosts.address('h1')}" in line for line in logins)

    def test_key_in_the_users_agent_is_used(
        self, hosts: Hosts, seat: Seat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        socket = tmp_path / "agent"
        with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as agent:
            try:
                wait_until(socket.exists, "the agent listens", 10)
                monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
                seat.configure("Host *", "IdentityAgent SSH_AUTH_SOCK", "IdentitiesOnly no", key="/nonexistent")
                with pytest.raises(HostUnreachable) as refused:
                    finish(seat.host().account())
                assert "refused every key" in refused.value.why
                subprocess.run(["ssh-add", "-q", str(hosts.key)], check=True, capture_output=True)
                assert finish(seat.host().account()) == Known("postgres")
            finally:
                agent.terminate()

    def test_settings_for_people_do_not_disturb(self, seat: Seat) -> None:
        lines = ["RequestTTY force", "ControlPersist yes", "LocalForward 5999 localhost:1", "LogLevel QUIET"]
        seat.configure("Host *", *lines, "RemoteCommand sleep 600", f"ControlPath {seat.folder}/theirs")
        host = seat.host()
        assert finish(host.run(["echo", "fine"])) == Completed(0, b"fine\n")
        assert not (seat.folder / "theirs").exists()

    def test_root_may_act_as_the_account(self, hosts: Hosts, seat: Seat) -> None:
        keys = hosts.srv("h1") / "root-keys"
        shutil.copy(f"{hosts.key}.pub", keys)
        with (hosts.folder / "h1/ssh/sshd_config").open("a") as file:
            file.write("\nMatch User root\n  AuthorizedKeysFile /srv/root-keys\n")
        hosts.new_host_key("h1")
        seat.know_keys()
        host = seat.host("root")
        assert finish(host.account()) == Known("postgres")
        assert finish(host.run(["sh", "-c", "cat /dev/stdin; id -un"], stdin=b"in\n")).text == "in\npostgres\n"
        assert isinstance(finish(seat.host("root", account="root").account()), Unknown)

    @pytest.mark.parametrize(
        "url", ["", "db1", "http://db1", "ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://h:0", "ssh://h:x"]
    )
    def test_impossible_url_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="ssh"):
            SshHost(url)


class TestTrouble:
    """One test for each thing that goes wrong between here and the host."""

    def test_host_that_is_off_is_unreachable(self, hosts: Hosts, seat: Seat) -> None:
        hosts.power_off("h2")
        try:
            failure = _failure(seat.host(name="h2"))
        finally:
            hosts.boot("h2")
        assert failure.what == f"could not reach host {hosts.address('h2')}"
        assert "does not answer on port" in failure.why or "No route to host" in failure.why
        assert finish(seat.host(name="h2").account()) == Known("postgres")

    def test_firewall_that_drops_packets_is_a_timeout(self, hosts: Hosts, seat: Seat) -> None:
        hosts.block(CONTROL, "h2")
        try:
            failure = _failure(seat.host(name="h2"))
        finally:
            hosts.unblock("h2")
        assert "does not answer on port 22" in failure.why

    def test_a_host_that_answers_nothing_is_not_waited_for_as_long_as_a_slow_one(
        self, hosts: Hosts, seat: Seat
    ) -> None:
        hosts.block(CONTROL, "h2")
        try:
            began = time.monotonic()
            failure = _failure(seat.host(name="h2", connect_seconds=60))
            assert time.monotonic() - began < 30
        finally:
            hosts.unblock("h2")
        assert "does not answer on port 22" in failure.why

    def test_refused_connection_says_that_nothing_listens(self, hosts: Hosts, seat: Seat) -> None:
        failure = _failure(seat.host(address=f"{hosts.address('h1')}:2222"))
        assert "Nothing accepts SSH connections" in failure.why
        assert failure.what == f"could not reach host {hosts.address('h1')}:2222"

    def test_name_that_cannot_be_resolved_is_named(self, seat: Seat) -> None:
        assert "cannot be resolved" in _failure(seat.host(address="no-such-host.invalid")).why

    def test_refused_key_names_the_user_and_the_remedy(self, hosts: Hosts, seat: Seat) -> None:
        other = seat.folder / "other"
        shutil.copy(hosts.folder / "h1/ssh/ssh_host_ed25519_key", other)
        seat.configure(key=str(other))
        failure = _failure(seat.host("alice"))
        assert failure.why.startswith('The host refused every key that was offered for user "alice"')
        assert failure.next_step == f"ssh-copy-id alice@{hosts.address('h1')}"

    def test_unknown_host_key_is_shown_and_not_taken(self, hosts: Hosts, seat: Seat) -> None:
        seat.forget_keys()
        failure = _failure(seat.host())
        assert failure.why == f"Its host key is not known here: ED25519 {hosts.fingerprint('h1')}."
        assert "--accept-new-host-keys" in failure.next_step
        assert seat.known_hosts.read_text() == ""

    def test_unknown_host_key_is_pinned_when_the_user_says_so(self, hosts: Hosts, seat: Seat) -> None:
        seat.forget_keys()
        asked: list[UnknownHostKey] = []
        refusing = seat.host(ask=lambda key: asked.append(key))
        assert "not known" in _failure(refusing).why
        assert seat.known_hosts.read_text() == ""
        seat.known_hosts.write_text("# no newline at the end")
        assert finish(seat.host(ask=lambda key: asked.append(key) or True).account()) == Known("postgres")
        expected = UnknownHostKey(hosts.address("h1"), "ED25519", hosts.fingerprint("h1"), str(seat.known_hosts))
        assert asked == [expected, expected]
        assert finish(seat.host().account()) == Known("postgres")
        assert len(seat.known_hosts.read_text().splitlines()) == 2

    def test_unknown_host_key_behind_a_jump_host_is_shown(self, hosts: Hosts, seat: Seat) -> None:
        seat.configure(f"Host {hosts.address('h2')}", f"ProxyJump bob@{hosts.address('h1')}")
        seat.known_hosts.write_text(f"{hosts.address('h1')} {hosts.host_key('h1')}\n")
        assert hosts.fingerprint("h2") in _failure(seat.host(name="h2")).why
        seat.forget_keys()
        assert "The key of a host on the way (ProxyJump) is not known here" in _failure(seat.host(name="h2")).why

    def test_new_keys_are_accepted_for_scripts_and_by_configuration(self, hosts: Hosts, seat: Seat) -> None:
        seat.forget_keys()
        assert finish(seat.host(accept_new_host_keys=True).account()) == Known("postgres")
        assert hosts.host_key("h1") in seat.known_hosts.read_text()
        seat.forget_keys()
        seat.configure("Host *", "StrictHostKeyChecking accept-new")
        assert finish(seat.host().account()) == Known("postgres")

    def test_checking_that_the_configuration_switches_off_stays_on(self, seat: Seat) -> None:
        seat.forget_keys()
        seat.configure("Host *", "StrictHostKeyChecking no")
        assert "is not known here" in _failure(seat.host()).why

    @pytest.mark.parametrize("accept", [False, True])
    def test_changed_host_key_is_never_accepted(self, hosts: Hosts, seat: Seat, accept: bool) -> None:
        hosts.new_host_key("h2")
        failure = _failure(seat.host(name="h2", accept_new_host_keys=accept, ask=lambda key: True))
        assert failure.why.startswith("The host key is not the one that is known")
        assert hosts.fingerprint("h2") in failure.why
        assert failure.next_step.startswith(f"ssh-keygen -R '{hosts.address('h2')}' -f '{seat.known_hosts}'")

    def test_sudo_that_asks_for_a_password_shows_the_line_that_helps(self, seat: Seat) -> None:
        failure = _failure(seat.host("bob"))
        assert 'sudo does not let user "bob" act as account "postgres" without asking' in failure.why
        assert failure.next_step.endswith("bob ALL=(postgres) NOPASSWD: ALL")

    def test_account_that_is_not_there_is_unknown(self, hosts: Hosts, seat: Seat) -> None:
        fact = finish(seat.host("alice", account="pgtandem-none").account())
        assert fact == Unknown(f'host {hosts.address("h1")} has no account "pgtandem-none"')

    def test_missing_ssh_client_is_named(self, seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        failure = _failure(seat.host())
        assert failure.why == "ssh cannot be started here: No such file or directory."

    @pytest.mark.parametrize("login", LOGINS)
    def test_lost_connection_fails_the_command_and_ends_it_there(self, hosts: Hosts, seat: Seat, login: str) -> None:
        host = seat.host(login)

        async def scenario() -> None:
            pid = asyncio.get_running_loop().create_future()
            run = host.run(["sh", "-c", "echo $$ >&2; exec sleep 600"], on_output=pid.set_result)
            running = asyncio.create_task(run)
            number = int(await asyncio.wait_for(pid, 10))
            for process in hosts.processes("h1", f"sshd: {login}@"):
                hosts.run("h1", ["kill", "-9", str(process)])
            with pytest.raises(HostUnreachable) as caught:
                await running
            assert caught.value.what == f"lost the connection to {host.name}"
            assert "while sh ran" in caught.value.why
            assert await is_gone(host, number)  # over a new connection

        finish(scenario())

    @pytest.mark.parametrize("how", ["power", "crash", "cut"])
    def test_host_that_goes_away_in_the_middle_is_noticed(self, hosts: Hosts, seat: Seat, how: str) -> None:
        host = seat.host(name="h2")

        async def scenario() -> HostUnreachable:
            begun = asyncio.get_running_loop().create_future()
            run = host.run(["sh", "-c", "echo >&2; exec sleep 600"], on_output=begun.set_result)
            running = asyncio.create_task(run)
            await asyncio.wait_for(begun, 10)
            {"power": hosts.power_off, "crash": hosts.crash, "cut": hosts.cut}[how]("h2")
            with pytest.raises(HostUnreachable) as caught:
                await asyncio.wait_for(running, 20)
            return caught.value

        begun = time.monotonic()
        try:
            failure = finish(scenario())
        finally:
            hosts.heal("h2") if how == "cut" else hosts.boot("h2")
        assert failure.what == f"lost the connection to {host.name}"
        if how != "crash":
            assert "no longer answers" in failure.why
        assert time.monotonic() - begun < 15
        assert finish(host.account()) == Known("postgres")

    def test_operation_on_a_file_tells_of_the_loss_too(self, hosts: Hosts, seat: Seat) -> None:
        host = seat.host(name="h2")
        finish(host.account())
        hosts.cut("h2")
        try:
            with pytest.raises(HostUnreachable, match="lost the connection") as caught:
                finish(host.read_file("/etc/hostname"))
        finally:
            hosts.heal("h2")
        assert "while reading a file" in caught.value.why

    def test_program_ends_when_we_are_killed(self, hosts: Hosts, seat: Seat) -> None:
        host = seat.host()

        async def scenario() -> None:
            begun = asyncio.get_running_loop().create_future()
            run = host.run(["sh", "-c", "echo >&2; sleep 601"], on_output=begun.set_result)
            running = asyncio.create_task(run)
            await asyncio.wait_for(begun, 10)
            assert hosts.processes("h1", "sleep 601")
            helper = await host._connection.helper()
            helper.kill()  # as when this process ended: its ssh is gone, and nothing was said
            with pytest.raises(HostUnreachable):
                await running
            assert await becomes_true(_none(hosts, "sleep 601"))

        finish(scenario())


def _failure(host: SshHost) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as caught:
        finish(host.read_file("/etc/hostname"))
    assert caught.value.code.text == "PT-2001"
    assert "\n" not in caught.value.why
    return caught.value


def _none(hosts: Hosts, words: str) -> Callable[[], Awaitable[bool]]:
    async def none() -> bool:
        return not hosts.processes("h1", words)

    return none
