"""What a primary that is down has and no standby received: read from its WAL where its directory can be read."""

import asyncio
import posixpath
from collections.abc import Mapping

from pgtandem.model.beyond import Beyond
from pgtandem.model.facts import Absent, Fact, Known, Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ObservedNode
from pgtandem.model.topology import Topology
from pgtandem.plan.candidates import received_lsn
from pgtandem.plan.roles import claims_primary, is_fenced, timeline_of
from pgtandem.ports import CommandTimeout, HostFailure, HostUnreachable, World
from pgtandem.postgres.wal_shown import ONLY_TRANSACTIONS, read_beyond

#: Writes wait while somebody looks. What takes longer to read is told once it is known.
_SECONDS = 5.0


async def observe_beyond(
    topology: Topology, world: World, seen: Mapping[NodeName, ObservedNode]
) -> dict[NodeName, Fact[Beyond]]:
    """What only primaries that are down have, of each of them; none while a primary runs."""
    if any(node.running is not None and not node.running.in_recovery for node in seen.values()):
        return {}
    wanted: dict[NodeName, Lsn] = {}
    for name, node in seen.items():
        received = [
            lsn
            for other in seen.values()
            if other is not node and timeline_of(other) == timeline_of(node)
            if (lsn := received_lsn(other)) is not None
        ]
        if isinstance(node.postmaster, Absent) and received and (claims_primary(node) or is_fenced(node)):
            wanted[name] = max(received)
    found = await asyncio.gather(*(_read(topology, world, name, seen[name], since) for name, since in wanted.items()))
    return dict(zip(wanted, found, strict=True))


async def _read(topology: Topology, world: World, name: NodeName, seen: ObservedNode, since: Lsn) -> Fact[Beyond]:
    node = topology.node(name)
    if not isinstance(seen.programs, Known) or not seen.programs.value.usable:
        return Unknown("there are no programs to read its WAL with")
    argv = [
        posixpath.join(seen.programs.value.directory, "pg_waldump"),
        *("-p", posixpath.join(node.data_directory, "pg_wal"), "-t", str(timeline_of(seen)), "-s", str(since)),
        *ONLY_TRANSACTIONS,
    ]
    try:
        done = await world.host(node.host).run(argv, deadline_seconds=_SECONDS)
    except (HostFailure, HostUnreachable, CommandTimeout) as failure:
        return Unknown(failure.why or failure.what)
    beyond = read_beyond(done.text, done.stderr.decode(errors="replace").strip(), since)
    return beyond if isinstance(beyond, Unknown) else Known(beyond)
