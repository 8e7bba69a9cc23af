"""The WAL archive's folder, and the proof that a segment really gets there."""

import contextlib
import posixpath

from pgtandem.apply.archive_trouble import why_not_archived
from pgtandem.apply.context import Context
from pgtandem.apply.node_files import system_identifier
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step
from pgtandem.ports import HostFailure
from pgtandem.postgres.archive_content import wal_name

_ARCHIVE_SECONDS = 120.0


async def create_archive(context: Context, step: Step) -> str:
    """A folder per system identifier, so that two clusters can never mix."""
    archive = context.topology.archive
    assert archive is not None
    system = await system_identifier(context, step, context.node(step.node).data_directory)
    for address in context.topology.archive_hosts:
        host = context.world.host(address)
        await host.make_directory(archive.directory)
        await host.make_directory(posixpath.join(archive.directory, system))
    return ""


async def check_archive(context: Context, step: Step) -> str:
    """Finishes a segment and waits until it stands in the archive. Raises PgtandemError PT-4007."""
    archive, foreign = context.topology.archive, context.topology.foreign_archive
    assert archive is not None or foreign is not None
    session = await context.session(step.node)
    _, failed_before = await session.archived()
    segment, _ = await session.finish_segment()
    failures, said_before = 0, await context.log_lines(step.node)

    async def test() -> bool | None:
        nonlocal failures
        last, failed = await session.archived()
        failures = failed - failed_before
        if last is not None and last[:24] >= segment:
            return True
        return False if failures >= 2 else None

    arrived = await context.wait(test, _ARCHIVE_SECONDS)
    if arrived and archive is None:
        return f"{segment} was archived"
    if arrived and archive is not None:
        system = await system_identifier(context, step, context.node(step.node).data_directory)
        host = context.world.host(archive.host or context.node(step.node).host)
        names = await host.list_directory(posixpath.join(archive.directory, system))
        if segment in {found[0] for name in names or () if (found := wal_name(name))}:
            return f"{segment} is in the archive"
    why, does = await why_not_archived(context, step.node, said_before, failed=failures > 0)
    raise PgtandemError(
        "PT-4007",
        f"WAL segment {segment} did not get into the archive{f' {archive.directory}' if archive else ''}",
        why=why or f"{failures} attempts failed.",
        next_step=f"{does}. Then run the same command again; PostgreSQL keeps the segment until then",
    )


async def archive_newer(context: Context, step: Step) -> str:
    """The same, with a commit at its end: a recovery to a moment needs a later one to stop at. Nowhere else, since a
    standby that is behind on purpose waits at a commit before it streams. Raises PgtandemError PT-4007."""
    await (await context.session(step.node)).commit_something()
    return await check_archive(context, step)


async def remove_archive(context: Context, step: Step) -> str:
    """Removes the folders of these system identifiers, and the archive's folder where nothing is left in it and the
    account may: one that somebody made for it stays."""
    archive = context.topology.archive
    assert archive is not None
    for address in context.topology.archive_hosts:
        host = context.world.host(address)
        for system in step.names:
            await host.remove_tree(posixpath.join(archive.directory, system))
        if not await host.list_directory(archive.directory):
            with contextlib.suppress(HostFailure):
                await host.remove_tree(archive.directory)
    return ""
