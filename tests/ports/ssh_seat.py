"""The control seat of test hosts: what a user of ssh has there."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.ssh import SshHost
from pgtandem.adapters.hosts.ssh_kept import KeptLogins
from pgtandem.adapters.hosts.ssh_keys import UnknownHostKey
from pgtandem.ports.host import HostUnreachable
from support.hosts import Hosts

from .host_scenarios import finish

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
        kept: KeptLogins | None = None,
        patience_seconds: float | None = None,
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
            kept=kept,
            patience_seconds=patience_seconds,
        )
        self._made.append(made)
        return made

    def close(self) -> None:
        for host in self._made:
            finish(host.close())


def failure_of(host: SshHost) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as caught:
        finish(host.read_file("/etc/hostname"))
    assert caught.value.code.text == "PT-2001"
    assert "\n" not in caught.value.why
    return caught.value


def none_of(hosts: Hosts, words: str, name: str = "h1") -> Callable[[], Awaitable[bool]]:
    async def none() -> bool:
        return not hosts.processes(name, words)

    return none


def logins_of(hosts: Hosts, name: str) -> int:
    """How often somebody has logged in on a host so far."""
    return (hosts.folder / name / "console").read_text().count("Accepted publickey for ")
