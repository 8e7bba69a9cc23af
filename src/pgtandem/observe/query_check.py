"""Whether a query can be asked at all: a server that runs is shown it before an hour goes into a restore for it."""

from pgtandem.model.facts import ABSENT, Absent, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.observe.tls import open_own_session
from pgtandem.ports import HostFailure, World
from pgtandem.ports.database import DatabaseRefused, DatabaseUnreachable


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a query, in the words of the node's server that was shown it."""

    node: NodeName
    words: str


async def observe_mistake(
    topology: Topology, world: World, observed: Observed, query: str, database: str
) -> Known[Mistake] | Absent | Unknown:
    """Absent where a server finds nothing wrong, unknown where none could tell. The primary knows most: a standby may
    not have a new table yet."""
    if query.lstrip().startswith("\\"):
        return Unknown("it is one of psql's own, which no server knows")
    reason = "no server of the cluster runs"
    primaries = observed.primaries()
    for name in (*primaries, *(other for other in topology.names if other not in primaries)):
        server = observed.nodes[name].postmaster
        if observed.nodes[name].running is None or not isinstance(server, Known):
            continue
        try:
            said = await _asked(topology, world, name, server.value.port, query, database)
        except (DatabaseUnreachable, DatabaseRefused, HostFailure) as failure:
            reason = failure.why.rstrip(".") or failure.what
            continue
        if said is None:
            return Unknown(f"{name} cannot tell: it is several statements in one, or somebody has locked a table")
        return Known(Mistake(name, said)) if said else ABSENT
    return Unknown(reason)


async def _asked(topology: Topology, world: World, name: NodeName, port: int, query: str, database: str) -> str | None:
    node = topology.node(name)
    session = await open_own_session(topology, world, node, port)
    try:
        if not await session.has_database(database):
            return f'There is no database "{database}".'
    finally:
        await session.close()
    session = await open_own_session(topology, world, node, port, database)
    try:
        return await session.check_query(query)
    finally:
        await session.close()
