"""What a look at the PgBouncers means: where each database leads, whether its clients wait, and what is wrong."""

from collections.abc import Iterator

from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import NodeName, PgbouncerName
from pgtandem.model.observed import Observed
from pgtandem.model.pooling import ObservedPgbouncer, PooledDatabase
from pgtandem.model.topology import Pgbouncer, Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.pgbouncers import readable_nodes


@dataclass(frozen=True, slots=True)
class PooledHealth:
    """One database of a PgBouncer: the nodes that it leads to, as far as the address tells (else `target` alone does),
    whether its clients wait, and whether it leads where it should."""

    name: str
    nodes: tuple[NodeName, ...]
    target: str
    paused: bool
    right: bool


@dataclass(frozen=True, slots=True)
class PgbouncerHealth:
    """`state` is "answers" or "out of reach"; then nothing is known of its databases."""

    name: PgbouncerName
    address: str
    port: int
    state: str
    databases: tuple[PooledHealth, ...] = ()


def pgbouncer_health(topology: Topology, observed: Observed, primary: NodeName | None) -> tuple[PgbouncerHealth, ...]:
    return tuple(_health(topology, observed, pgbouncer, primary) for pgbouncer in topology.pgbouncers)


def _health(topology: Topology, observed: Observed, pgbouncer: Pgbouncer, primary: NodeName | None) -> PgbouncerHealth:
    seen = observed.pgbouncers.get(pgbouncer.name, ObservedPgbouncer())
    console = seen.console.value if isinstance(seen.console, Known) else None
    if console is None:
        return PgbouncerHealth(pgbouncer.name, pgbouncer.address, pgbouncer.port, "out of reach")
    readable = {node.name for node in readable_nodes(topology, primary)} if primary else set()
    top = {primary} if primary else set()
    databases = []
    for name, dbname in pgbouncer.all_databases.items():
        found = console.databases.get(name)
        if found is None:
            databases.append(PooledHealth(name, (), "", False, False))
            continue
        nodes = _nodes(topology, found)
        wished = top if name in pgbouncer.databases else readable
        right = found.dbname == dbname and bool(nodes) and (primary is None or set(nodes) == wished)
        if name not in pgbouncer.databases and not right and not _answer(observed, wished):
            # Where it should lead nobody can read now.
            right = found.dbname == dbname and bool(nodes) and _answer(observed, set(nodes))
        databases.append(PooledHealth(name, nodes, f"{found.host}:{found.port}", found.paused, right))
    return PgbouncerHealth(pgbouncer.name, pgbouncer.address, pgbouncer.port, "answers", tuple(databases))


def _answer(observed: Observed, names: set[NodeName]) -> bool:
    return all(observed.nodes[name].running is not None for name in names)


def _nodes(topology: Topology, found: PooledDatabase) -> tuple[NodeName, ...]:
    hosts = found.host.split(",")
    return tuple(node.name for node in topology.nodes if node.address in hosts and node.port == found.port)


def pgbouncer_in_words(health: PgbouncerHealth) -> str:
    """One line: "pool1 (127.0.0.1:6432): shop to db1, shop_ro to db2"."""
    where = f"{health.name} ({health.address}:{health.port})"
    if health.state != "answers":
        return f"{where} is out of reach"
    return f"{where}: " + ", ".join(
        f"{database.name} to {' and '.join(database.nodes) or database.target or 'nowhere'}"
        + (", PAUSED" if database.paused else "")
        for database in health.databases
    )


def pgbouncer_problems(
    topology: Topology, observed: Observed, found: tuple[PgbouncerHealth, ...], primary: NodeName | None
) -> Iterator[str]:
    """What is wrong, the gravest first: clients that wait, clients that are led astray."""
    for health in found:
        waiting = [database.name for database in health.databases if database.paused]
        if waiting:
            yield (
                f"CLIENTS WAIT: PgBouncer {health.name} has {' and '.join(waiting)} paused: pgtandem apply lets them "
                "go on"
            )
    for pgbouncer, health in zip(topology.pgbouncers, found, strict=True):
        seen = observed.pgbouncers.get(health.name, ObservedPgbouncer())
        if isinstance(seen.console, Unknown):
            yield f"PgBouncer {health.name} cannot be asked. {seen.console.sentence}"
        for database in health.databases:
            if database.right:
                continue
            if not database.target:
                yield f"PgBouncer {health.name} has no database {database.name}: pgtandem apply"
            elif database.name in pgbouncer.databases and primary:
                where = " and ".join(database.nodes) or database.target
                yield f"PgBouncer {health.name} leads {database.name} to {where}, not to {primary}: pgtandem apply"
            elif primary:
                where = " and ".join(database.nodes) or database.target
                yield f"PgBouncer {health.name} leads {database.name} to {where}: pgtandem apply leads it to standbys"
