"""Where a host is, as its URL says it, and the ssh command line that leads there."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: A file for `ssh -F` in place of the user's own configuration.
CONFIG_VARIABLE = "PGTANDEM_SSH_CONFIG"

_URL = re.compile(r"ssh://(?:(?P<user>[^@/]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w-]+\]|[^@/:\[\]]+)(?::(?P<port>\d{1,5}))?/?")
_WORD = re.compile(r"[A-Za-z0-9_.\\+][A-Za-z0-9_.\\+$:%@-]*")


@dataclass(frozen=True, slots=True)
class SshAddress:
    """The host, and user and port where the URL names them; the user's ssh configuration decides otherwise."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def name(self) -> str:
        """As messages name it: "host" and the address, with the port where that is not SSH's own."""
        if self.port in (None, 22):
            return f"host {self.host}"
        return f"host [{self.host}]:{self.port}" if ":" in self.host else f"host {self.host}:{self.port}"

    @property
    def target(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host

    def command(self, program: str = "ssh") -> str:
        """A command that leads there, for people."""
        return f"{program} -p {self.port} {self.target}" if self.port else f"{program} {self.target}"


def parse_ssh_url(url: str) -> SshAddress:
    """An address of the form ssh://[user@]host[:port]. Raises ValueError for any other text."""
    match = _URL.fullmatch(url)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise ValueError(f"{url!r} is not of the form ssh://[user@]host[:port]")
    host, user = match["host"].strip("[]"), match["user"]
    for word in (host, user):
        # Neither ssh nor a ProxyCommand's shell may take it for anything but a name.
        if word is not None and not (_WORD.fullmatch(word) or (word is host and ":" in host)):
            raise ValueError(f"{word!r} in {url!r} is not a name")
    return SshAddress(host, user, port)


@dataclass(frozen=True, slots=True)
class SshCommand:
    """Builds ssh command lines. The user's configuration holds, but for what would break a connection for programs.

    `config` is a file for `ssh -F`; `connect_seconds` is how long connecting may take, `alive_seconds` how long the
    host may be silent before it is asked (three such silences end the connection).
    """

    address: SshAddress
    config: str | None = None
    connect_seconds: int = 10
    alive_seconds: int = 5

    def argv(
        self, *options: str, command: str | None = None, checking: str = "yes", keep_seconds: int = 0
    ) -> list[str]:
        """`checking` is ssh's StrictHostKeyChecking: "yes" or "accept-new", and nothing weaker. With `keep_seconds` a
        master goes to the background once it is logged in, and stays for so long after its last session."""
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": checking,
            "ConnectTimeout": str(self.connect_seconds),
            "ServerAliveInterval": str(self.alive_seconds),
            "ServerAliveCountMax": "3",
            "ControlPersist": str(keep_seconds) if keep_seconds else "no",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "LogLevel": "INFO",  # with less, ssh does not say why a connection was lost
        }
        words = ["ssh", *self._config(), "-T", *options]
        for name, value in settings.items():
            words += ["-o", f"{name}={value}"]
        return [*words, *self._where(), *([command] if command is not None else [])]

    def joining_argv(self, socket: str, command: str) -> list[str]:
        """A session on the connection at `socket` and on no other: what ssh would do without it fails at once."""
        alone = ["-F", "none", "-T", "-S", socket, "-o", "ProxyCommand=false", "-o", "LogLevel=INFO"]
        return ["ssh", *alone, "--", self.address.host, command]

    def forward_argv(self, socket: str, local: str, port: int) -> list[str]:
        """Has the connection at `socket` carry the local socket to a port of the host. No configuration is read: what
        forwards the user has there are not meant."""
        return self._forward_argv(socket, f"{local}:127.0.0.1:{port}")

    def socket_argv(self, socket: str, local: str, remote: str) -> list[str]:
        """The same to a Unix socket of the host."""
        return self._forward_argv(socket, f"{local}:{remote}")

    def _forward_argv(self, socket: str, way: str) -> list[str]:
        return ["ssh", "-F", "none", "-S", socket, "-O", "forward", "-L", way, self.address.host]

    @property
    def used_config(self) -> str | None:
        """The file that is read in place of the user's own configuration."""
        return self.config or os.environ.get(CONFIG_VARIABLE)

    def settings_argv(self) -> list[str]:
        """Shows what ssh's configuration comes to for this host."""
        return ["ssh", *self._config(), "-G", *self._where()]

    def _config(self) -> Sequence[str]:
        config = self.used_config
        return ["-F", config] if config else []

    def _where(self) -> list[str]:
        port = ["-p", str(self.address.port)] if self.address.port else []
        user = ["-l", self.address.user] if self.address.user else []
        return [*port, *user, "--", self.address.host]


def ssh_environment() -> Mapping[str, str]:
    """The user's own environment (agent, home), with the system's messages in English."""
    return {**os.environ, "LC_ALL": "C"}
