"""The connection to a host: what of the user's own configuration it honours."""

import asyncio
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.ssh import SshHost
from pgtandem.model.facts import Known, Unknown
from pgtandem.ports.host import Completed, HostUnreachable
from support.hosts import Hosts
from support.servers import wait_until

from .host_scenarios import becomes_true, finish
from .ssh_seat import Seat, none_of


class TestConnection:
    def test_one_login_serves_everything_and_nothing_is_left(self, hosts: Hosts, seat: Seat) -> None:
        host = seat.host("bob", account="bob")
        gone: list[str] = []

        async def scenario() -> None:
            await asyncio.gather(*[host.run(["true"]) for _ in range(5)], host.read_file("/etc/hostname"))
            assert len(hosts.processes("h1", "sshd: bob [priv]")) == 1
            folder = (await host._connection.helper()).master.folder
            assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
            await host.close()
            gone.append(folder)

        finish(scenario())
        assert not os.path.exists(gone[0])
        assert finish(becomes_true(none_of(hosts, "sshd: bob")))
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
