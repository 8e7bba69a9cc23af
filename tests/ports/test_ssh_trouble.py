"""Everything that can go wrong on the way to a host, one test for each."""

import asyncio
import shutil
import time

import pytest

from pgtandem.adapters.hosts.ssh_keys import UnknownHostKey
from pgtandem.model.facts import Known, Unknown
from pgtandem.ports.host import HostUnreachable
from support.hosts import CONTROL, Hosts

from .host_scenarios import becomes_true, finish, is_gone
from .ssh_seat import LOGINS, Seat, failure_of, none_of


class TestTrouble:
    """One test for each thing that goes wrong between here and the host."""

    def test_host_that_is_off_is_unreachable(self, hosts: Hosts, seat: Seat) -> None:
        hosts.power_off("h2")
        try:
            failure = failure_of(seat.host(name="h2"))
        finally:
            hosts.boot("h2")
        assert failure.what == f"could not reach host {hosts.address('h2')}"
        assert "does not answer on port" in failure.why or "No route to host" in failure.why
        assert finish(seat.host(name="h2").account()) == Known("postgres")

    def test_firewall_that_drops_packets_is_a_timeout(self, hosts: Hosts, seat: Seat) -> None:
        hosts.block(CONTROL, "h2")
        try:
            failure = failure_of(seat.host(name="h2"))
        finally:
            hosts.unblock("h2")
        assert "does not answer on port 22" in failure.why

    def test_a_host_that_answers_nothing_is_not_waited_for_as_long_as_a_slow_one(
        self, hosts: Hosts, seat: Seat
    ) -> None:
        hosts.block(CONTROL, "h2")
        try:
            began = time.monotonic()
            failure = failure_of(seat.host(name="h2", connect_seconds=60))
            assert time.monotonic() - began < 30
        finally:
            hosts.unblock("h2")
        assert "does not answer on port 22" in failure.why

    def test_host_that_hangs_takes_connections_and_says_nothing(self, hosts: Hosts, seat: Seat) -> None:
        hosts.freeze("h2")
        try:
            failure = failure_of(seat.host(name="h2"))
        finally:
            hosts.thaw("h2")
        assert failure.why.startswith(f"{hosts.address('h2')} takes connections on port 22")
        assert "it hangs" in failure.why

    def test_host_that_can_wait_is_given_up(self, hosts: Hosts, seat: Seat) -> None:
        hosts.freeze("h2")
        try:
            host = seat.host(name="h2", connect_seconds=60, patience_seconds=1)
            began = time.monotonic()
            failure = failure_of(host)
            assert "let nobody in within 1 seconds" in failure.why
            # What nobody answered is not asked again at every look.
            assert failure_of(host).why == failure.why
            assert time.monotonic() - began < 15
        finally:
            hosts.thaw("h2")
        assert finish(seat.host(name="h2", connect_seconds=30, patience_seconds=30).account()) == Known("postgres")

    def test_who_is_asked_about_a_key_is_waited_for(self, hosts: Hosts, seat: Seat) -> None:
        seat.forget_keys()
        patience = 5.0

        def thinks(key: UnknownHostKey) -> bool:
            began = time.monotonic()
            while time.monotonic() - began <= patience:
                pass
            return True

        assert finish(seat.host(ask=thinks, patience_seconds=patience).account()) == Known("postgres")

    def test_refused_connection_says_that_nothing_listens(self, hosts: Hosts, seat: Seat) -> None:
        failure = failure_of(seat.host(address=f"{hosts.address('h1')}:2222"))
        assert "Nothing accepts SSH connections" in failure.why
        assert failure.what == f"could not reach host {hosts.address('h1')}:2222"

    def test_name_that_cannot_be_resolved_is_named(self, seat: Seat) -> None:
        assert "cannot be resolved" in failure_of(seat.host(address="no-such-host.invalid")).why

    def test_refused_key_names_the_user_and_the_remedy(self, hosts: Hosts, seat: Seat) -> None:
        other = seat.folder / "other"
        shutil.copy(hosts.folder / "h1/ssh/ssh_host_ed25519_key", other)
        seat.configure(key=str(other))
        failure = failure_of(seat.host("alice"))
        assert failure.why.startswith('The host refused every key that was offered for user "alice"')
        assert failure.next_step == f"ssh-copy-id alice@{hosts.address('h1')}"

    def test_unknown_host_key_is_shown_and_not_taken(self, hosts: Hosts, seat: Seat) -> None:
        seat.forget_keys()
        failure = failure_of(seat.host())
        assert failure.why == f"Its host key is not known here: ED25519 {hosts.fingerprint('h1')}."
        assert "--accept-new-host-keys" in failure.next_step
        assert seat.known_hosts.read_text() == ""

    def test_unknown_host_key_is_pinned_when_the_user_says_so(self, hosts: Hosts, seat: Seat) -> None:
        seat.forget_keys()
        asked: list[UnknownHostKey] = []
        refusing = seat.host(ask=lambda key: asked.append(key))
        assert "not known" in failure_of(refusing).why
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
        assert hosts.fingerprint("h2") in failure_of(seat.host(name="h2")).why
        seat.forget_keys()
        assert "The key of a host on the way (ProxyJump) is not known here" in failure_of(seat.host(name="h2")).why

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
        assert "is not known here" in failure_of(seat.host()).why

    @pytest.mark.parametrize("accept", [False, True])
    def test_changed_host_key_is_never_accepted(self, hosts: Hosts, seat: Seat, accept: bool) -> None:
        hosts.new_host_key("h2")
        failure = failure_of(seat.host(name="h2", accept_new_host_keys=accept, ask=lambda key: True))
        assert failure.why.startswith("The host key is not the one that is known")
        assert hosts.fingerprint("h2") in failure.why
        assert failure.next_step.startswith(f"ssh-keygen -R '{hosts.address('h2')}' -f '{seat.known_hosts}'")

    def test_sudo_that_asks_for_a_password_shows_the_line_that_helps(self, seat: Seat) -> None:
        failure = failure_of(seat.host("bob"))
        assert 'sudo does not let user "bob" act as account "postgres" without asking' in failure.why
        assert failure.next_step.endswith("bob ALL=(postgres) NOPASSWD: ALL")

    def test_account_that_is_not_there_is_unknown(self, hosts: Hosts, seat: Seat) -> None:
        fact = finish(seat.host("alice", account="pgtandem-none").account())
        assert fact == Unknown(f'host {hosts.address("h1")} has no account "pgtandem-none"')

    def test_missing_ssh_client_is_named(self, seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        failure = failure_of(seat.host())
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
            assert await becomes_true(none_of(hosts, "sleep 601"))

        finish(scenario())
