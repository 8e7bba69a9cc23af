"""Which node fetches WAL from which hosts over SSH (or pushes it there), and what each of these ways is made of.

Nothing of the kind where all nodes and the archive are on one host. With an archive on a host of its own every node
talks to that one; with an archive on each node's own host, a node fetches from all the others.
"""

from collections.abc import Mapping

from pgtandem.model.ssh_home import SshHome
from pgtandem.model.topology import HostAddress, Node, Topology
from pgtandem.model.value import dataclass
from pgtandem.openssh.authorized_keys import Grant
from pgtandem.openssh.client import CONFIG_FILE, KNOWN_HOSTS_FILE, Peer, render_config, render_known_hosts
from pgtandem.topology.places import host_name, ssh_port

#: In the account's home, on every host that is part of it.
FOLDER = ".ssh/pgtandem"
SERVE_SCRIPT = "serve-wal"

#: What an archive host is called in a node's ssh configuration.
ARCHIVE_HOST = "archive"


@dataclass(frozen=True, slots=True)
class Source:
    """A host that a node fetches WAL from: its name in the node's ssh configuration, and where its sshd is. `push`
    where the node also puts WAL there."""

    name: str
    host: HostAddress
    address: str
    port: int
    push: bool

    @property
    def rights(self) -> str:
        return "get put" if self.push else "get"


def sources_of(topology: Topology, node: Node) -> tuple[Source, ...]:
    """Whom a node asks for WAL, in the file's order; the first is where it pushes to, if it does."""
    archive = topology.archive
    if archive is None or archive.host == node.host:
        return ()
    if archive.host is not None:
        return (Source(ARCHIVE_HOST, archive.host, _ssh_address(topology, archive.host), ssh_port(archive.host), True),)
    found: dict[HostAddress, Source] = {}
    for other in topology.nodes:
        if other.host != node.host and other.host not in found:
            found[other.host] = Source(other.name, other.host, other.address, ssh_port(other.host), False)
    return tuple(found.values())


def node_folder(topology: Topology, name: str, system: str) -> str:
    """Where a node's key is, from the account's home. Another cluster with the same name on the same host has another
    system identifier; without one it is where an earlier pgtandem made keys, which are used as long as they are sure
    to be this cluster's."""
    return f"{FOLDER}/{topology.cluster}/{name}" + (f".{system}" if system else "")


def node_of(folder: str) -> str:
    """The node that a folder in that of the cluster is for."""
    return folder.partition(".")[0]


def cluster_folder(topology: Topology) -> str:
    return f"{FOLDER}/{topology.cluster}"


def grant_of(topology: Topology, name: str, source: Source, public_key: str, system: str) -> Grant:
    """What the node's key may do on that host. sshd runs it in the account's home."""
    assert topology.archive is not None
    folder = f"{topology.archive.directory}/{system}"
    command = ("sh", f"{cluster_folder(topology)}/{SERVE_SCRIPT}", folder, *(("put",) if source.push else ()))
    return Grant(topology.cluster, name, public_key, command)


def client_files(sources: tuple[Source, ...], homes: Mapping[str, SshHome]) -> dict[str, str]:
    """The files beside the node's key; `homes` are the hosts by their URL."""
    peers = [
        Peer(source.name, source.address, source.port, home.account, home.host_keys)
        for source in sources
        for home in [homes[source.host.url]]
    ]
    return {CONFIG_FILE: render_config(peers), KNOWN_HOSTS_FILE: render_known_hosts(peers)}


def granted_on(topology: Topology, url: str) -> frozenset[str]:
    """The nodes whose keys are to be let in on a host."""
    return frozenset(
        node.name for node in topology.nodes if any(source.host.url == url for source in sources_of(topology, node))
    )


def receives_from(topology: Topology) -> str:
    """The address that the receiver of the archive's stream comes from."""
    assert topology.archive is not None
    assert topology.archive.host is not None
    return _ssh_address(topology, topology.archive.host)


def _ssh_address(topology: Topology, host: HostAddress) -> str:
    """What the nodes connect to: the address of a node that is there, else the one in the URL."""
    return next((node.address for node in topology.nodes if node.host == host), host_name(host) or "127.0.0.1")
