"""Nodes that can fail together: those of one zone, and those on one host."""

from pgtandem.model.names import NodeName
from pgtandem.model.topology import HostAddress, Topology
from pgtandem.model.value import dataclass
from pgtandem.topology.places import host_name

#: How this machine is called among the hosts.
HERE = "this-machine"


@dataclass(frozen=True, slots=True)
class Group:
    """`kind` is "zone" or "host"; `name` is the zone's, or the host's address."""

    kind: str
    name: str
    nodes: tuple[NodeName, ...]

    def __str__(self) -> str:
        return "this machine" if self.kind == "host" and self.name == HERE else f"{self.kind} {self.name}"


def zones(topology: Topology) -> tuple[Group, ...]:
    """In the order in which the file names them."""
    names = dict.fromkeys(node.zone for node in topology.nodes if node.zone is not None)
    return tuple(
        Group("zone", zone, tuple(node.name for node in topology.nodes if node.zone == zone)) for zone in names
    )


def hosts(topology: Topology) -> tuple[Group, ...]:
    """In the order in which the file names them; one that two URLs lead to (other ports, other users) is two."""
    found = dict.fromkeys(node.host for node in topology.nodes)
    addresses = [host_name(host) for host in found]

    def called(host: HostAddress) -> str:
        if host.is_local:
            return HERE
        address = host_name(host)
        return address if address and addresses.count(address) == 1 else host.url

    return tuple(
        Group("host", called(host), tuple(node.name for node in topology.nodes if node.host == host)) for host in found
    )
