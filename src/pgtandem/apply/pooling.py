"""The effects on PgBouncers. Between PAUSE and RESUME their clients wait: each says no more than it must."""

import posixpath
from collections.abc import Awaitable, Callable

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Step
from pgtandem.model.pooling import PooledDatabase
from pgtandem.model.topology import Pgbouncer
from pgtandem.ports import Console, DatabaseUnreachable

#: Nothing in the file is secret, and PgBouncer may run as another account.
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
#: Long enough for a PgBouncer to have looked after its waiting clients: it does so three times a second.
_CONNECT_SECONDS = 0.7


async def pause(context: Context, step: Step) -> str:
    """Returns when no transaction runs any more. Whoever gives up waiting finds the databases paused."""
    console = await context.world.console(_pgbouncer(context, step))
    for database in step.names:
        await console.pause(database)
    return ""


async def resume(context: Context, step: Step) -> str:
    async def work(console: Console) -> None:
        for database in step.names:
            await console.resume(database)

    await _told(context, step, work)
    return ""


async def repoint(context: Context, step: Step) -> str:
    """Writes the file and makes PgBouncer read it; one that does not answer reads it when it starts.

    Raises PgtandemError PT-4061 where it was told and does not have the databases.
    """
    pgbouncer, (text,) = _pgbouncer(context, step), step.names
    host = context.world.host(pgbouncer.host)
    if await host.read_file(pgbouncer.file) != text.encode():
        await host.make_directory(posixpath.dirname(pgbouncer.file), _FOLDER_MODE)
        await host.write_file(pgbouncer.file, text.encode(), _FILE_MODE)
    missing: list[str] = []

    async def work(console: Console) -> None:
        before = (await console.show()).databases
        await console.reload()
        there = (await console.show()).databases
        missing[:] = [name for name in pgbouncer.all_databases if name not in there]
        if any(name in before and _led_on(before[name], there.get(name)) for name in pgbouncer.databases):
            # Where the old primary did not answer, clients would wait for it although they are led elsewhere by now.
            await console.connect_at_once()
            await context.world.clock.sleep(_CONNECT_SECONDS)
            await console.reload()

    try:
        await _told(context, step, work)
    except DatabaseUnreachable as unreachable:
        return f"it does not answer, and reads the file when it starts: {unreachable.why}"
    if missing:
        raise PgtandemError(
            "PT-4061",
            f"PgBouncer {pgbouncer.name} has no database {', '.join(missing)}, though it read its files again",
            why=f"Its pgbouncer.ini does not include {pgbouncer.file}, or its log tells of a mistake in a file.",
            next_step=f"write this line into its pgbouncer.ini:  %include {pgbouncer.file}",
        )
    return ""


def _led_on(before: PooledDatabase, there: PooledDatabase | None) -> bool:
    return there is not None and not there.paused and (before.host, before.port) != (there.host, there.port)


async def _told(context: Context, step: Step, work: Callable[[Console], Awaitable[None]]) -> None:
    """Once more on a new connection where the open one broke: it may have been restarted."""
    pgbouncer = _pgbouncer(context, step)
    try:
        await work(await context.world.console(pgbouncer))
    except DatabaseUnreachable:
        await context.world.drop_console(pgbouncer)
        await work(await context.world.console(pgbouncer))


def _pgbouncer(context: Context, step: Step) -> Pgbouncer:
    for pgbouncer in context.topology.pgbouncers:
        if NodeName(pgbouncer.name) == step.node:
            return pgbouncer
    raise KeyError(step.node)
