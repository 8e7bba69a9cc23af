"""How a distribution's packages know of servers: their register of clusters, and the units that start them."""

from pgtandem.model.value import dataclass


@dataclass(frozen=True, slots=True)
class HostCluster:
    """A cluster that postgresql-common knows on a host: one line of pg_lsclusters."""

    major: int
    name: str
    port: int
    online: bool
    data_directory: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What postgresql-common has about a node: its folder below /etc/postgresql, and the postgresql.conf in it (None
    where the node is not registered). `ours` says that pgtandem made it for this node, `obstacle` why the account
    cannot make it, `auto` whether the server is to start with the host."""

    directory: str
    text: str | None = None
    ours: bool = False
    obstacle: str = ""
    auto: bool = True


@dataclass(frozen=True, slots=True)
class Service:
    """The systemd unit of a node's server: whether systemd has started it, whether it does so when the host starts, the
    command that makes it so, and whether pgtandem may start and stop it."""

    unit: str
    active: bool
    at_boot: bool
    enable: str
    allowed: bool
