"""Logins that stay for the next command: they are used, they are noticed to be gone, and nobody else gets at them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pgtandem.adapters.hosts import ssh_kept
from pgtandem.adapters.hosts.ssh import SshHost
from pgtandem.adapters.hosts.ssh_kept import KeptLogins
from pgtandem.adapters.hosts.ssh_master import Master
from pgtandem.model.facts import Known
from pgtandem.ports.host import HostFailure
from support.hosts import CONTROL, Hosts
from support.servers import wait_until

from .host_scenarios import becomes_true, finish
from .ssh_seat import Seat, failure_of, logins_of, none_of


def masters(runtime: Path) -> list[int]:
    """The processes of all masters that live."""
    found = [Master(str(folder), lasts=True).process() for folder in runtime.glob("m*")]
    return [process for process in found if process is not None]


def use(seat: Seat, name: str = "h2", *, leaves: bool = True, user: str = "postgres", seconds: int = 30) -> SshHost:
    """One command that connects and ends; what it leaves stands for the next one."""
    kept = KeptLogins(seconds) if leaves else KeptLogins(seconds).without_leaving()
    host = seat.host(user, name, kept=kept, connect_seconds=10)

    async def scenario() -> None:
        try:
            assert await host.account() == Known("postgres")
        finally:
            await host.close()

    finish(scenario())
    return host


class TestNextCommand:
    def test_it_uses_the_login_that_was_left(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        before = logins_of(hosts, "h2")
        for _ in range(3):
            use(seat, user="alice")
        assert logins_of(hosts, "h2") == before + 1
        assert len(masters(runtime)) == 1
        use(seat, user="alice", leaves=False)
        assert logins_of(hosts, "h2") == before + 1
        assert not list(runtime.iterdir())
        assert finish(becomes_true(none_of(hosts, "sshd: alice", "h2")))

    def test_another_user_another_configuration_and_another_agent_do_not(
        self, hosts: Hosts, seat: Seat, runtime: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(seat)
        for change in (
            lambda: use(seat, user="alice"),
            lambda: seat.configure("Host *", "Compression yes") or use(seat),
            lambda: seat.know_keys() or use(seat),
            lambda: monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent") or use(seat),
        ):
            before = logins_of(hosts, "h2")
            change()
            assert logins_of(hosts, "h2") == before + 1

    def test_two_at_once_have_a_login_each_and_leave_one(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        use(seat)
        before = logins_of(hosts, "h2")
        both = [seat.host(name="h2", kept=KeptLogins(30)) for _ in range(2)]

        async def scenario() -> None:
            await asyncio.gather(*(host.run(["true"]) for host in both))
            assert len(masters(runtime)) == 2
            await asyncio.gather(*(host.close() for host in both))

        finish(scenario())
        assert logins_of(hosts, "h2") == before + 1
        wait_until(lambda: len(masters(runtime)) == 1, "one login is left", 10)

    def test_ways_to_a_server_are_used_again_and_never_become_more(
        self, hosts: Hosts, seat: Seat, runtime: Path
    ) -> None:
        async def scenario() -> tuple[str, bytes]:
            host = seat.host(kept=KeptLogins(30))
            folder, port = await host.forward("127.0.0.1", 22)
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(10)
                line.connect(f"{folder}/.s.PGSQL.{port}")
                said = line.recv(7)
            await host.close()
            return folder, said

        ways = {finish(scenario()) for _ in range(4)}
        assert [said for _, said in ways] == [b"SSH-2.0"]
        listed = hosts.run(CONTROL, ["cat", "/proc/net/unix"]).stdout.splitlines()
        assert len([line for line in listed if f"{runtime}/" in line and ".s.PGSQL." in line]) == 1

    def test_denied_ways_are_denied_in_the_next_command_as_well(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        async def knock(host: SshHost) -> None:
            folder, port = await host.forward("127.0.0.1", 5432)
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(10)
                line.connect(f"{folder}/.s.PGSQL.{port}")
                assert line.recv(1) == b""

        async def denied() -> None:
            host = seat.host(name="h2", kept=KeptLogins(30))
            with pytest.raises(HostFailure, match="could not reach port 5432 through ssh"):
                await host.forward("127.0.0.1", 5432)
            await host.close()

        async def first() -> None:
            host = seat.host(name="h2", kept=KeptLogins(30))
            await knock(host)
            with pytest.raises(HostFailure, match="could not reach port 5432 through ssh"):
                await host.forward("127.0.0.1", 5432)
            await host.close()

        hosts.configure_sshd("h2", "AllowTcpForwarding no")
        try:
            finish(first())
            finish(denied())
        finally:
            hosts.configure_sshd("h2")

    def test_jump_host_of_the_configuration_is_gone_through_once(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        seat.configure(f"Host {hosts.address('h2')}", f"ProxyJump bob@{hosts.address('h1')}")
        before = logins_of(hosts, "h1"), logins_of(hosts, "h2")
        for _ in range(2):
            use(seat, "h2")
        assert (logins_of(hosts, "h1"), logins_of(hosts, "h2")) == (before[0] + 1, before[1] + 1)
        use(seat, "h2", leaves=False)
        assert finish(becomes_true(none_of(hosts, "sshd: bob")))

    def test_what_a_jump_host_says_is_told(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        seat.configure(f"Host {hosts.address('h2')}", f"ProxyJump bob@{hosts.address('h1')}")
        seat.forget_keys()
        failure = failure_of(seat.host(name="h2", kept=KeptLogins(30)))
        assert "The key of a host on the way (ProxyJump) is not known here" in failure.why

    def test_settings_for_people_do_not_disturb(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        lines = ["RequestTTY force", "ControlPersist yes", "LocalForward 5999 localhost:1", "LogLevel QUIET"]
        seat.configure("Host *", *lines, "ControlMaster auto", f"ControlPath {seat.folder}/theirs")
        before = logins_of(hosts, "h2")
        for _ in range(2):
            use(seat)
        assert logins_of(hosts, "h2") == before + 1
        assert not (seat.folder / "theirs").exists()


class TestEnd:
    def test_login_that_nobody_uses_ends_by_itself(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        use(seat, seconds=1)
        assert list(runtime.iterdir())  # it was left, though its second may be over before the next line looks
        wait_until(lambda: not masters(runtime), "the master has ended", 20)
        assert finish(becomes_true(none_of(hosts, "sshd: postgres", "h2")))

    def test_login_that_was_made_long_ago_is_not_used(
        self, hosts: Hosts, seat: Seat, runtime: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(seat)
        monkeypatch.setattr(ssh_kept, "LONGEST_SECONDS", 0)
        before = logins_of(hosts, "h2")
        use(seat)
        assert logins_of(hosts, "h2") == before + 1

    def test_what_a_killed_command_ran_ends_though_the_login_stays(
        self, hosts: Hosts, seat: Seat, runtime: Path
    ) -> None:
        script = (
            "import asyncio, sys\n"
            "from pgtandem.adapters.hosts.ssh import SshHost\n"
            "from pgtandem.adapters.hosts.ssh_kept import KeptLogins\n"
            "host = SshHost(sys.argv[1], config=sys.argv[2], kept=KeptLogins(30))\n"
            "asyncio.run(host.run(['sh', '-c', 'sleep 603; true']))\n"
        )
        argv = [sys.executable, "-c", script, f"ssh://postgres@{hosts.address('h2')}", str(seat.config)]
        with subprocess.Popen(argv) as command:
            wait_until(lambda: bool(hosts.processes("h2", "sleep 603")), "the program runs", 30)
            command.send_signal(signal.SIGKILL)
        assert len(masters(runtime)) == 1
        assert finish(becomes_true(none_of(hosts, "sleep 603", "h2")))
        before = logins_of(hosts, "h2")
        use(seat)  # nobody left that login: it is not found
        assert logins_of(hosts, "h2") == before + 1

    def test_command_that_is_stopped_while_it_connects_leaves_nothing(
        self, hosts: Hosts, seat: Seat, runtime: Path
    ) -> None:
        seat.configure("Host *", 'ProxyCommand bash -c "sleep 604"')
        host = seat.host(kept=KeptLogins(30), connect_seconds=60)

        async def scenario() -> None:
            connecting = asyncio.create_task(host.account())

            async def connects() -> bool:
                return await asyncio.to_thread(lambda: bool(list(runtime.glob("m*"))))

            assert await becomes_true(connects)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await host.close()

        finish(scenario())
        assert not list(runtime.iterdir())

    def test_what_ended_logins_left_is_tidied_up(self, seat: Seat, runtime: Path) -> None:
        use(seat)
        (process,) = masters(runtime)
        # A record that is too old is of no use, but its master lives.
        for age, left in ((0, 2), (10_000, 1)):
            for entry in runtime.iterdir():
                os.utime(entry, (time.time() - age,) * 2)
            KeptLogins(30).tidy()
            assert len(list(runtime.iterdir())) == left
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: not masters(runtime), "the master is gone", 10)
        KeptLogins(30).tidy()
        assert not list(runtime.iterdir())


class TestGoneMeanwhile:
    """The host, or the login, is not what it was when it was left."""

    @pytest.mark.parametrize("how", ["rebooted", "session killed there", "master killed here"])
    def test_it_is_logged_in_to_anew(self, hosts: Hosts, seat: Seat, runtime: Path, how: str) -> None:
        use(seat, "h2")
        if how == "rebooted":
            hosts.power_off("h2")
            hosts.boot("h2")
        elif how == "session killed there":
            for process in hosts.processes("h2", "sshd: postgres"):
                hosts.run("h2", ["kill", "-9", str(process)])
        else:
            os.kill(masters(runtime)[0], signal.SIGKILL)
        before = logins_of(hosts, "h2")
        use(seat, "h2")
        assert logins_of(hosts, "h2") == before + 1
        use(seat, "h2")
        assert logins_of(hosts, "h2") == before + 1

    @pytest.mark.parametrize(
        "how",
        ["cut", pytest.param("power", marks=pytest.mark.chaos), pytest.param("firewall", marks=pytest.mark.chaos)],
    )
    def test_host_that_answers_nothing_is_told_soon(self, hosts: Hosts, seat: Seat, runtime: Path, how: str) -> None:
        use(seat, "h2")
        if how == "firewall":
            hosts.block(CONTROL, "h2")
        else:
            {"power": hosts.power_off, "cut": hosts.cut}[how]("h2")
        try:
            host = seat.host(name="h2", kept=KeptLogins(30), connect_seconds=60, alive_seconds=60)
            began = time.monotonic()
            failure = failure_of(host)
            assert time.monotonic() - began < 30
        finally:
            hosts.unblock("h2")
            hosts.heal("h2") if how == "cut" else None
            hosts.boot("h2") if how == "power" else None
        assert "does not answer on port" in failure.why or "No route to host" in failure.why

    @pytest.mark.chaos
    def test_frozen_host_is_told_in_the_time_that_connecting_may_take(
        self, hosts: Hosts, seat: Seat, runtime: Path
    ) -> None:
        use(seat, "h2")
        hosts.freeze("h2")
        try:
            host = seat.host(name="h2", kept=KeptLogins(30), connect_seconds=10, alive_seconds=60)
            began = time.monotonic()
            failure = failure_of(host)
            assert time.monotonic() - began < 30
        finally:
            hosts.thaw("h2")
        assert "takes connections on port 22" in failure.why
        use(seat, "h2")

    def test_frozen_host_is_given_up_over_a_kept_login_too(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        use(seat, "h2")
        hosts.freeze("h2")
        try:
            host = seat.host(name="h2", kept=KeptLogins(30), connect_seconds=60, alive_seconds=60, patience_seconds=1)
            began = time.monotonic()
            failure = failure_of(host)
            assert time.monotonic() - began < 15
        finally:
            hosts.thaw("h2")
        assert "let nobody in within 1 seconds" in failure.why
        use(seat, "h2")

    def test_way_that_forgot_the_connection_is_taken_anew(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        """As a firewall does that drops what it has no record of: the old connection is dead, a new one works."""
        use(seat, "h2")
        (process,) = masters(runtime)
        lines = hosts.run(CONTROL, ["ss", "-Htnp"]).stdout.splitlines()
        port = next(line.split()[3].rpartition(":")[2] for line in lines if f"pid={process}," in line)
        hosts.firewall("h2", f"tcp sport {port} drop")
        try:
            before = logins_of(hosts, "h2")
            began = time.monotonic()
            use(seat, "h2")
            assert time.monotonic() - began < 10
            assert logins_of(hosts, "h2") == before + 1
        finally:
            hosts.unblock("h2")


class TestTrust:
    def test_host_key_that_was_withdrawn_or_changed_is_noticed(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        use(seat)
        seat.forget_keys()
        assert "is not known here" in failure_of(seat.host(name="h2", kept=KeptLogins(30))).why
        seat.known_hosts.write_text(f"{hosts.address('h2')} {hosts.host_key('h1')}\n")
        assert failure_of(seat.host(name="h2", kept=KeptLogins(30))).why.startswith("The host key is not the one")

    def test_new_key_is_accepted_pinned_and_its_login_kept(self, hosts: Hosts, seat: Seat, runtime: Path) -> None:
        seat.forget_keys()

        async def scenario() -> None:
            host = seat.host(name="h2", kept=KeptLogins(30), ask=lambda key: True)
            assert await host.account() == Known("postgres")
            await host.close()

        finish(scenario())
        before = logins_of(hosts, "h2")
        use(seat)
        assert logins_of(hosts, "h2") == before

    def test_only_the_user_may_enter_the_folder(self, seat: Seat, runtime: Path) -> None:
        use(seat)
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert {entry.stat().st_mode & 0o077 for entry in runtime.rglob("*")} == {0}

    @pytest.mark.parametrize("wrong", ["mode", "owner", "link", "parent", "too long"])
    def test_folder_that_others_could_have_made_is_not_used(
        self, runtime: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = runtime.parent / "home"
        home.mkdir()
        (home / ".ssh").write_text("")  # nothing can be kept there
        monkeypatch.setenv("HOME", str(home))
        assert KeptLogins(30).possible
        if wrong == "mode":
            runtime.chmod(0o750)
        elif wrong == "owner":
            os.chown(runtime, 64321, -1)
        elif wrong == "link":
            runtime.rename(runtime.parent / "elsewhere")
            runtime.symlink_to(runtime.parent / "elsewhere")
        elif wrong == "parent":
            runtime.parent.chmod(0o777)
        else:
            monkeypatch.setenv("XDG_RUNTIME_DIR", f"{runtime.parent}/{'x' * 60}")
            (runtime.parent / ("x" * 60)).mkdir(mode=0o700)
        assert not KeptLogins(30).possible

    def test_where_there_is_no_folder_of_the_session_it_is_beside_ssh_s_own(
        self, runtime: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        monkeypatch.setenv("HOME", str(runtime.parent))
        assert KeptLogins(30).possible
        assert (runtime.parent / ".ssh" / "pgtandem-kept").stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("text", ["", "[]", '{"folder": "../.."}', '{"folder": "m", "since": "x"}'])
    def test_record_that_cannot_be_read_is_no_login(self, runtime: Path, text: str) -> None:
        logins = KeptLogins(30)
        (runtime / f"{logins.name(['x'])}.json").write_text(text)
        assert logins.take(logins.name(["x"])) is None

    def test_record_leads_to_no_folder_outside(self, runtime: Path) -> None:
        logins = KeptLogins(30)
        outside = runtime.parent / "outside"
        outside.mkdir()
        record = {"folder": "../outside", "since": time.time(), "login_seconds": 0, "ports": [], "sockets": {}}
        (runtime / f"{logins.name(['x'])}.json").write_text(json.dumps(record))
        assert logins.take(logins.name(["x"])) is None
        assert outside.exists()
