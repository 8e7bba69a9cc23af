"""Random topologies, as texts of topology files, so that a failing one can be read and tried for real."""

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from pgtandem.model.topology import Topology
from pgtandem.topology.load import load_topology

FOLDER = "/srv/shop"
NAMES = ("db1", "db2", "db-3", "db4", "db5")
OWNED = "/srv/shop/pool/databases.ini"
ARCHIVES = (None, "/srv/archive", "/srv/other archive")
TLS = (None, "", "required = false")

#: Settings with values to choose from, and the first major that has them.
PARAMETERS: dict[str, tuple[int, tuple[str, ...]]] = {
    "max_connections": (10, ("20", "50", "100", "200", "300")),
    "max_worker_processes": (10, ("4", "8", "16")),
    "max_prepared_transactions": (10, ("0", "10", "50")),
    "max_locks_per_transaction": (10, ("64", "128", "256")),
    "max_wal_senders": (10, ("12", "20", "40")),
    "max_replication_slots": (10, ("12", "20", "40")),
    "work_mem": (10, ("4MB", "64MB", "1GB")),
    "shared_buffers": (10, ("128MB", "16MB", "1GB")),
    "hot_standby_feedback": (10, ("on", "off")),
    "wal_level": (10, ("replica", "logical")),
    "wal_keep_size": (13, ("0", "64MB")),
    "max_slot_wal_keep_size": (13, ("-1", "1GB")),
    "datestyle": (10, ("ISO, MDY", "ISO, DMY")),
    "log_line_prefix": (10, ("%m [%p] ", "it's %u: ")),
    "wal_retrieve_retry_interval": (10, ("100ms", "2s")),
}


@dataclass(frozen=True)
class Wanted:
    """A topology file in the making: ports, upstreams and delays by node, in the file's order."""

    major: int
    ports: dict[str, int]
    upstreams: dict[str, str] = field(default_factory=dict)
    delays: dict[str, str] = field(default_factory=dict)
    durability: str = "on"
    synchronous: str = "none"
    archive: str | None = None
    confirms: bool = False
    tls: str | None = None
    pooled: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    of_nodes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.text())

    def with_changes(self, **changes: object) -> "Wanted":
        return replace(self, **changes)  # type: ignore[arg-type]

    def text(self) -> str:
        lines = ["[cluster]", 'name = "shop"', f"postgresql = {self.major}", 'binaries = "system"']
        for name, port in self.ports.items():
            lines += ["", f"[nodes.{name}]", f"port = {port}"]
            if name in self.upstreams:
                lines.append(f'upstream = "{self.upstreams[name]}"')
            if name in self.delays:
                lines.append(f'apply_delay = "{self.delays[name]}"')
            if name in self.of_nodes:
                lines += [f"[nodes.{name}.parameters]", *_assignments(self.of_nodes[name])]
        lines += ["", "[replication]", f'durability = "{self.durability}"', f'synchronous = "{self.synchronous}"']
        if self.archive:
            lines += ["", "[archive]", f'directory = "{self.archive}"']
            lines += ["stream = true", "synchronous = true"] if self.confirms else []
        if self.tls is not None:
            lines += ["", "[tls]", self.tls]
        if self.pooled:
            lines += ["", "[pgbouncers.pool1]", f'file = "{OWNED}"', 'databases = { shop = "shop" }']
            lines += ['read_only_databases = { shop_ro = "shop" }']
        if self.parameters:
            lines += ["", "[parameters]", *_assignments(self.parameters)]
        return "\n".join(lines) + "\n"

    def topology(self) -> Topology:
        return load_topology(self.text(), folder=FOLDER)

    def __repr__(self) -> str:
        return f"\n{self.text()}"


def _assignments(values: dict[str, str]) -> list[str]:
    return [f'{name} = "{value}"' for name, value in values.items()]


def data(name: str) -> str:
    """The data directory of a node."""
    return f"{FOLDER}/data/{name}"


PAIR = Wanted(16, {"db1": 5001, "db2": 5002}, archive="/srv/archive", synchronous="any 1")


@st.composite
def wanted(draw: st.DrawFn, majors: tuple[int, ...] = (11, 13, 15, 16, 18), most: int = 5) -> Wanted:
    """A sound topology: db1 first, any tree below it."""
    major = draw(st.sampled_from(majors))
    others = draw(st.lists(st.sampled_from(NAMES[1:]), unique=True, max_size=most - 1))
    names = ["db1", *others]
    ports = draw(st.lists(st.integers(5001, 5012), min_size=len(names), max_size=len(names), unique=True))
    upstreams: dict[str, str] = {}
    for place, name in enumerate(names[1:], 1):
        upstream = draw(st.sampled_from([None, *names[:place]]))
        if upstream is not None:
            upstreams[name] = upstream
    delays = (
        draw(st.dictionaries(st.sampled_from(others), st.sampled_from(["1h", "1ms"]), max_size=1)) if others else {}
    )
    direct = sum(upstreams.get(name, "db1") == "db1" and name not in delays for name in others)
    durability, synchronous = draw(_durability(direct))
    return Wanted(
        major=major,
        ports=dict(zip(names, ports, strict=True)),
        upstreams=upstreams,
        delays=delays,
        durability=durability,
        synchronous=synchronous,
        archive=draw(st.sampled_from(ARCHIVES)),
        tls=draw(st.sampled_from(TLS)),
        parameters=draw(_parameters(major, 5)),
        of_nodes=draw(st.dictionaries(st.sampled_from(names), _parameters(major, 2), max_size=2)),
    )


@st.composite
def _durability(draw: st.DrawFn, direct: int) -> tuple[str, str]:
    if not direct or draw(st.booleans()):
        return draw(st.sampled_from(["on", "local", "off"])).replace("local", "on"), "none"
    method, count = draw(st.sampled_from(["any", "first"])), draw(st.integers(1, direct))
    return draw(st.sampled_from(["on", "remote_write", "remote_apply"])), f"{method} {count}"


@st.composite
def _parameters(draw: st.DrawFn, major: int, most: int) -> dict[str, str]:
    known = [name for name, (since, _) in PARAMETERS.items() if since <= major]
    names = draw(st.lists(st.sampled_from(known), unique=True, max_size=most))
    return {name: draw(st.sampled_from(PARAMETERS[name][1])) for name in names}


def changed(before: Wanted, after: Wanted, *, keep_ports: bool = True) -> Wanted:
    """`after` as something that `before` can become: of the same major, its nodes at their ports."""

    def known(values: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in values.items() if PARAMETERS[name][0] <= before.major}

    ports = {name: before.ports.get(name, 6000 + number) for number, name in enumerate(after.ports)}
    return after.with_changes(
        major=before.major,
        ports=ports if keep_ports else after.ports,
        parameters=known(after.parameters),
        of_nodes={name: known(values) for name, values in after.of_nodes.items()},
    )
