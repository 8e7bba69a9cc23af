"""WAL that a promoted server still has, and that its predecessor had not archived when it went.

A standby marks every segment that it streamed as archived (XLogArchiveForceDone): that was the primary's affair. Where
the primary is lost before it did that, the archive would have a hole for good, with all that comes behind it out of
reach, although the segments stand in the new primary's own pg_wal.
"""

import posixpath
from collections.abc import Collection, Sequence

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.lsn import TimelineSwitch
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Step
from pgtandem.observe.archived import archived_names
from pgtandem.postgres.archive_commands import find_tool, keeper_of
from pgtandem.postgres.history import history_timeline, parse_history
from pgtandem.postgres.segments import finished_before, segment_number


async def hand_in_wal(context: Context, step: Step) -> str:
    """Lets the archiver have what the archive lacks. Nobody is worse off where that could not be found out."""
    system, size, *away = step.names
    try:
        if context.topology.foreign_archive is not None:
            return await _hand_in_to_tool(context, step.node, int(size), away)
        return await hand_in(context, step.node, system, int(size), asks=not away)
    except PgtandemError as failure:
        return f"not done: {failure.what}"


async def hand_in(context: Context, name: NodeName, system: str, segment_bytes: int, *, asks: bool) -> str:
    """What was handed in, in words; "" where that is nothing. Where the archive cannot be asked (or `asks` says not to
    try, since it just could not), all that stands in pg_wal of the timeline before the promotion: what is there already
    is archived again, and found to be the same.

    Raises PgtandemError where the files of the node cannot be read or written.
    """
    finished, path = await _finished(context, name, segment_bytes)
    archived = await archived_names(context.topology, context.world, system) if asks else None
    there = archived.value if isinstance(archived, Known) else None
    if there is None:
        lacking = _of_the_last(finished, path)
    else:
        numbers = {each: number for each in finished | there if (number := segment_number(each, segment_bytes))}
        first = min((number for each, number in numbers.items() if each in there), default=0)  # older WAL was pruned
        lacking = frozenset(each for each in finished - there if numbers.get(each, 0) >= first)
    unsure = "" if there is not None else " (the archive cannot be asked: what it has already is compared)"
    return _told(await _mark(context, name, lacking), unsure)


async def _hand_in_to_tool(context: Context, name: NodeName, segment_bytes: int, away: Collection[str]) -> str:
    """The same where another tool keeps the archive, which is not asked: what waits on the nodes that were the primary
    was not archived by them. Where one of them cannot be asked, all of the timeline before, if the command is that of a
    tool for which the same content again is success. Others ("test ! -f") would fail at it for good: once it waits
    here, it does not wait there any more."""
    foreign = context.topology.foreign_archive
    assert foreign is not None
    finished, path = await _finished(context, name, segment_bytes)
    others = [node.name for node in context.topology.nodes if node.name != name]
    lists = {other: await _waiting(context, other) for other in others if other not in away}
    asked = {other: finished & found for other, found in lists.items() if found is not None}
    silent = sorted({*away, *(other for other, found in lists.items() if found is None)})
    lacking = frozenset().union(*asked.values())
    compares = find_tool(foreign.command) is not None
    if silent and compares:
        lacking |= _of_the_last(finished, path)
    told = _told(await _mark(context, name, lacking))
    if not compares:
        # Where the same again is success it may wait there as well, for the case that this node is lost before it is
        # archived.
        for other, handed in asked.items():
            for each in sorted(handed):
                await mark_archived(context, other, each)
    if not silent:
        return told
    unasked = f"{', '.join(silent)} cannot be asked what is archived"
    if compares:
        return f"{told} ({unasked}: {keeper_of(foreign)} compares what it has already)" if told else ""
    lacks = f"{unasked}; the archive may lack the last segments of before the promotion: take a base backup"
    return f"{told}; {lacks}" if told else lacks


async def mark_archived(context: Context, name: NodeName, file: str) -> None:
    """As the archiver does it once a file is archived."""
    at = posixpath.join(context.node(name).data_directory, "pg_wal/archive_status", file)
    await context.host(name).rename(f"{at}.ready", f"{at}.done")


async def _waiting(context: Context, name: NodeName) -> frozenset[str] | None:
    """What the node had not archived as the primary; None where its data is gone or does not tell."""
    status = posixpath.join(context.node(name).data_directory, "pg_wal/archive_status")
    try:
        listed = await context.host(name).list_directory(status)
    except PgtandemError:
        return None
    return None if listed is None else frozenset(each[:-6] for each in listed if each.endswith(".ready"))


async def _finished(
    context: Context, name: NodeName, segment_bytes: int
) -> tuple[frozenset[str], Sequence[TimelineSwitch]]:
    """The segments in pg_wal that were full before the promotion, and the history of the timeline that it began."""
    host, wal = context.host(name), posixpath.join(context.node(name).data_directory, "pg_wal")
    names = set(await host.list_directory(wal) or ())
    timeline = max((found for each in names if (found := history_timeline(each))), default=None)
    if timeline is None:
        return frozenset(), ()
    text = await host.read_file(posixpath.join(wal, f"{timeline:08X}.history")) or b""
    try:
        path = parse_history(text.decode())
    except (ValueError, IndexError):
        return frozenset(), ()
    return frozenset(names & set(finished_before(path, names, segment_bytes))), path


def _of_the_last(finished: Collection[str], path: Sequence[TimelineSwitch]) -> frozenset[str]:
    return frozenset(each for each in finished if path and int(each[:8], 16) == path[-1].timeline)


def _told(handed: int, more: str = "") -> str:
    count = f"{handed} segment{'' if handed == 1 else 's'}"
    return f"{count} of before the promotion to be archived{more}" if handed else ""


async def _mark(context: Context, node: NodeName, names: Collection[str]) -> int:
    """How many wait for the archiver now that did not before."""
    host, status = context.host(node), posixpath.join(context.node(node).data_directory, "pg_wal/archive_status")
    marked = set(await host.list_directory(status) or ())
    waiting = [name for name in sorted(names) if f"{name}.ready" not in marked]
    for name in waiting:
        await host.write_file(posixpath.join(status, f"{name}.ready"), b"")
        await host.remove_file(posixpath.join(status, f"{name}.done"))
    return len(waiting)
