"""The folder that a node's own ssh works in: its configuration and the host keys that it accepts.

ssh runs with that folder as its working directory, so every path in the configuration is relative: a home with a space
in its name needs no quoting, and the control socket's path stays short (108 bytes are all that a socket may have).
"""

from collections.abc import Sequence

from pgtandem.model.value import dataclass

KEY_FILE = "id_ed25519"
PUBLIC_KEY_FILE = "id_ed25519.pub"
CONFIG_FILE = "ssh_config"
KNOWN_HOSTS_FILE = "known_hosts"

# aes128-gcm carried a third more than the default; the others are for hosts whose policy forbids it.
_HEAD = f"""\
# Made by pgtandem, for the WAL that this node fetches from or pushes to other hosts. Changed by "pgtandem apply".
Host *
    BatchMode yes
    IdentitiesOnly yes
    IdentityFile {KEY_FILE}
    IdentityAgent none
    PreferredAuthentications publickey
    StrictHostKeyChecking yes
    UserKnownHostsFile {KNOWN_HOSTS_FILE}
    GlobalKnownHostsFile /dev/null
    UpdateHostKeys no
    CheckHostIP no
    Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr
    Compression no
    ConnectTimeout 5
    ServerAliveInterval 5
    ServerAliveCountMax 3
    ControlMaster auto
    ControlPath mux-%n
    ControlPersist 60
    RequestTTY no
    ForwardAgent no
    LogLevel ERROR
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A host that a node talks to: its name in the configuration, where it is, who logs in, and its host keys (type and
    key, as they stand in known_hosts)."""

    name: str
    address: str
    port: int
    account: str
    host_keys: tuple[str, ...]


def render_config(peers: Sequence[Peer]) -> str:
    blocks = [
        f"Host {peer.name}\n    HostName {peer.address}\n    Port {peer.port}\n    User {peer.account}\n"
        f"    HostKeyAlias {peer.name}\n"
        for peer in peers
    ]
    return "".join([*blocks, _HEAD])


def render_known_hosts(peers: Sequence[Peer]) -> str:
    return "".join(f"{peer.name} {key}\n" for peer in peers for key in sorted(peer.host_keys))


def find_peer(text: str, name: str) -> tuple[str, int, str] | None:
    """Address, port and account of a host in a configuration that `render_config` wrote; None where it is not there."""
    _, found, block = f"\n{text}".partition(f"\nHost {name}\n")
    words = dict(line.split(maxsplit=1) for line in block.partition("\nHost ")[0].splitlines() if len(line.split()) > 1)
    port = words.get("Port", "")
    if not found or not port.isdigit() or "HostName" not in words:
        return None
    return words["HostName"], int(port), words.get("User", "postgres")


def addresses_in(text: str) -> frozenset[str]:
    """The addresses of all hosts in such a configuration."""
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    return frozenset(words[1] for words in lines if len(words) == 2 and words[0] == "HostName")
