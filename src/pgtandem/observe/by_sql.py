"""Servers looked at over SQL alone: what `doctor` can tell of clusters whose hosts it cannot ask."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pgtandem.errors import PgtandemError
from pgtandem.model.examined import Examination, Examined
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.found import Found
from pgtandem.model.observed import Observed, ObservedNode, Postmaster, PostmasterState
from pgtandem.model.server import Server
from pgtandem.model.topology import HostAddress, Node, Topology
from pgtandem.ports import Access, Clock, Database, DatabaseRefused, DatabaseUnreachable
from pgtandem.topology.infer import describe_topology

_FILES = Unknown(
    "only SQL was asked: not its data directory, configuration files, archive folder, disks, memory and clock",
    "pgtandem adopt   (with its host)",
)


@dataclass(frozen=True, slots=True)
class SqlServer:
    """One server to ask: how to log in, and the host that it is said to be on."""

    access: Access
    host: HostAddress


@dataclass(frozen=True, slots=True)
class SqlLook:
    """What was seen of all of them: a topology that describes it, and both looks."""

    topology: Topology
    observed: Observed
    examined: Examined


async def look_by_sql(database: Database, clock: Clock, cluster: str, servers: Sequence[SqlServer]) -> SqlLook:
    """Both looks at every server; one that cannot be asked is Unknown. Raises PgtandemError PT-2004 where none can."""
    looks = await asyncio.gather(*(_ask(database, each.access) for each in servers))
    seen = [(each, look) for each, look in zip(servers, looks, strict=True)]
    found = [
        Found(each.host, each.host.url.rpartition("/")[2], each.access.port, _data(server.value), "", server.value)
        for each, (server, _) in seen
        if isinstance(server, Known)
    ]
    if not found:
        reasons = [
            f"{each.access.node}: {server.sentence}" for each, (server, _) in seen if isinstance(server, Unknown)
        ]
        raise PgtandemError("PT-2004", "could not ask any of these servers", why="\n".join(reasons))
    names = [each.access.node for each, (server, _) in seen if isinstance(server, Known)]
    topology = describe_topology(cluster, found, names)
    missing = tuple(
        Node(each.access.node, each.access.port, "", each.host)
        for each, (server, _) in seen
        if not isinstance(server, Known)
    )
    whole = Topology(cluster, topology.postgresql, (*topology.nodes, *missing), topology.replication)
    nodes = {each.access.node: _node(each.access.port, server) for each, (server, _) in seen}
    examined = {each.access.node: examination for each, (_, examination) in seen}
    return SqlLook(whole, Observed(nodes, ABSENT, now=clock.now()), Examined(examined))


async def _ask(database: Database, access: Access) -> tuple[Fact[Server], Fact[Examination]]:
    try:
        session = await database.connect(access)
        try:
            return Known(await session.observe(None)), Known(await session.examine())
        finally:
            await session.close()
    except DatabaseUnreachable as failure:
        return Unknown(failure.why), Unknown(failure.why)
    except DatabaseRefused as failure:
        why = f"{failure.why.rstrip('.')} (doctor asks as a superuser)"
        return Unknown(why), Unknown(why)


def _data(server: Server) -> str:
    shown = server.settings.get("data_directory")
    return shown.value if shown else ""


def _node(port: int, server: Fact[Server]) -> ObservedNode:
    """A server that answers has a process."""
    running = server.value if isinstance(server, Known) else None
    state = PostmasterState.STANDBY if running and running.in_recovery else PostmasterState.READY
    postmaster: Fact[Postmaster] = Known(Postmaster(0, port, state)) if running else Unknown("only SQL was asked")
    return ObservedNode(reachable=Known(True), data=_FILES, postmaster=postmaster, server=server)
