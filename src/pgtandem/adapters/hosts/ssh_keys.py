"""Host keys that are not known yet: shown with their fingerprint, asked for, and pinned. Never taken unseen.

The key is fetched by ssh itself, through the same configuration (ProxyJump, ports, HostKeyAlias), into a file of its
own: ssh keeps it there before any login, and that file is both what is shown and what is pinned.
"""

import os
import re
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pgtandem.adapters.hosts.account import current_account
from pgtandem.adapters.hosts.processes import DeadlinePassed, execute
from pgtandem.adapters.hosts.ssh_address import SshCommand, ssh_environment
from pgtandem.ports.host import Completed, HostUnreachable


@dataclass(frozen=True, slots=True)
class UnknownHostKey:
    """A host's key that is in no known_hosts file: its type, its fingerprint, and the file it would be kept in."""

    host: str
    key_type: str
    fingerprint: str
    known_hosts: str


#: Shows a key to the user; True when it is the right one.
AskForKey = Callable[[UnknownHostKey], Awaitable[bool]]


async def settle_unknown_key(command: SshCommand, said: str, ask: AskForKey | None) -> str:
    """Decides about an unknown key: returns the StrictHostKeyChecking to connect again with.

    The user's own `StrictHostKeyChecking accept-new` is an answer; then `ask` is. Raises HostUnreachable with the
    fingerprint when nobody accepts the key.
    """
    settings = await _settings(command)
    if settings.get("stricthostkeychecking") == "accept-new":
        return "accept-new"
    known_hosts = _known_hosts(settings.get("userknownhostsfile", ""))
    with tempfile.TemporaryDirectory(prefix="pgtandem-key-") as folder:
        fetched = os.path.join(folder, "known_hosts")
        options = ["-S", "none", "-o", f"UserKnownHostsFile={_quoted(fetched)}", "-o", "GlobalKnownHostsFile=/dev/null"]
        options += ["-o", "PreferredAuthentications=none"]
        await _execute(command, command.argv(*options, command="true", checking="accept-new"))
        key = await _fetched_key(command, fetched, known_hosts)
        if key is None:  # the key of a host on the way, perhaps
            raise _refusal(command, said, None)
        if ask is None or known_hosts == "none" or not await ask(key):
            raise _refusal(command, said, key)
        _pin(fetched, known_hosts)
    return "yes"


def _known_hosts(shown: str) -> str:
    """The first of the user's files: ssh shows all of them one after the other, and quotes none."""
    return os.path.expanduser(re.split(r"\s+(?=[/~])", shown)[0] or "~/.ssh/known_hosts")


async def _fetched_key(command: SshCommand, file: str, known_hosts: str) -> UnknownHostKey | None:
    shown = await _execute(command, ["ssh-keygen", "-l", "-f", file])
    match = re.match(r"\d+ (?P<fingerprint>\S+) .*\((?P<type>[^)]+)\)", shown.text)
    if match is None:
        return None
    return UnknownHostKey(command.address.host, match["type"], match["fingerprint"], known_hosts)


def _refusal(command: SshCommand, said: str, key: UnknownHostKey | None) -> HostUnreachable:
    name = command.address.name
    by_hand = f"{command.address.command()}   (once by hand, comparing the fingerprint)"
    if key is None:
        unknown = re.search(r"host key is known for (\S+)", said)
        why = f'The host key of "{unknown[1] if unknown else command.address.host}" is not known here.'
        return HostUnreachable(name, why, by_hand)
    why = f"Its host key is not known here: {key.key_type} {key.fingerprint}."
    next_step = (
        f"compare it on the host: ssh-keygen -lf /etc/ssh/ssh_host_{key.key_type.lower()}_key.pub; "
        f"then  {command.address.command()}  and answer yes, or give --accept-new-host-keys"
    )
    return HostUnreachable(name, why, next_step)


def _pin(fetched: str, known_hosts: str) -> None:
    os.makedirs(os.path.dirname(known_hosts), mode=0o700, exist_ok=True)
    with open(fetched, "rb") as source:
        lines = source.read()
    descriptor = os.open(known_hosts, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(descriptor, "r+b") as target:
        size = target.seek(0, os.SEEK_END)
        if size:
            target.seek(size - 1)
            if target.read(1) != b"\n":
                lines = b"\n" + lines
        target.write(lines)


async def _settings(command: SshCommand) -> dict[str, str]:
    shown = await _execute(command, command.settings_argv())
    pairs = (line.partition(" ") for line in shown.text.splitlines())
    return {name.lower(): value.strip() for name, _, value in pairs}


async def _execute(command: SshCommand, argv: list[str]) -> Completed:
    seconds = command.connect_seconds + 5
    try:
        return await execute(argv, account=current_account(), deadline_seconds=seconds, environment=ssh_environment())
    except DeadlinePassed:
        return Completed(255, stderr=b"it did not end in time")
    except OSError as error:
        why = f"{argv[0]} cannot be started here: {error.strerror}."
        raise HostUnreachable(command.address.name, why, "install the OpenSSH client") from error


def _quoted(path: str) -> str:
    """A path as the value of an ssh option: its words are split at blanks, and it knows % and quotes."""
    return '"' + path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + '"'
