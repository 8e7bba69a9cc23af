"""A look at a PgBouncer: the file that pgtandem writes for it, and what its admin console says."""

import asyncio
import posixpath
from collections.abc import Mapping

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.names import PgbouncerName
from pgtandem.model.pooling import ObservedPgbouncer, PgbouncerConsole
from pgtandem.model.topology import Pgbouncer, Topology
from pgtandem.ports import DatabaseUnreachable, World


async def observe_pgbouncers(topology: Topology, world: World) -> Mapping[PgbouncerName, ObservedPgbouncer]:
    """All of them side by side; one that cannot be asked keeps nobody waiting for longer than a server would."""
    looks = await asyncio.gather(*(_look(world, pgbouncer) for pgbouncer in topology.pgbouncers))
    return {pgbouncer.name: look for pgbouncer, look in zip(topology.pgbouncers, looks, strict=True)}


async def _look(world: World, pgbouncer: Pgbouncer) -> ObservedPgbouncer:
    file, console = await asyncio.gather(_file(world, pgbouncer), _console(world, pgbouncer))
    return ObservedPgbouncer(file, console)


async def _file(world: World, pgbouncer: Pgbouncer) -> Fact[str]:
    """Absent where it can be written; Unknown where it is not there and its folder is nobody's to write in."""
    host = world.host(pgbouncer.host)
    try:
        content = await host.read_file(pgbouncer.file)
        obstacle = await host.obstacle(posixpath.dirname(pgbouncer.file)) if content is None else None
    except PgtandemError as failure:
        return Unknown(failure.why or failure.what, failure.next_step)
    if obstacle is not None:
        return Unknown(obstacle.why, obstacle.remedy)
    return ABSENT if content is None else Known(content.decode(errors="replace"))


async def _console(world: World, pgbouncer: Pgbouncer) -> Fact[PgbouncerConsole]:
    """Once more with a new connection where an open one broke: it may have been restarted since."""
    for _ in range(2):
        try:
            return Known(await (await world.console(pgbouncer)).show())
        except PgtandemError as failure:
            await world.drop_console(pgbouncer)
            unknown = Unknown(failure.why or failure.what, failure.next_step)
            if not isinstance(failure, DatabaseUnreachable):
                break
    return unknown
