"""WAL that a promoted server still has, and that its predecessor had not archived when it went.

A standby marks every segment that it streamed as archived (XLogArchiveForceDone): that was the primary's affair. Where
the primary is lost before it did that, the archive would have a hole for good, with all that comes behind it out of
reach, although the segments stand in the new primary's own pg_wal.
"""

import posixpath
from collections.abc import Collection

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Step
from pgtandem.observe.archived import archived_names
from pgtandem.ports import Host
from pgtandem.postgres.history import history_timeline, parse_history
from pgtandem.postgres.segments import finished_before, segment_number


async def hand_in_wal(context: Context, step: Step) -> str:
    """Lets the archiver have what the archive lacks. Nobody is worse off where that could not be found out."""
    system, size, *away = step.names
    try:
        return await hand_in(context, step.node, system, int(size), asks=not away)
    except PgtandemError as failure:
        return f"not done: {failure.what}"


async def hand_in(context: Context, name: NodeName, system: str, segment_bytes: int, *, asks: bool) -> str:
    """What was handed in, in words; "" where that is nothing. Where the archive cannot be asked (or `asks` says not to
    try, since it just could not), all that stands in pg_wal of the timeline before the promotion: what is there already
    is archived again, and found to be the same.

    Raises PgtandemError where the files of the node cannot be read or written.
    """
    host, wal = context.host(name), posixpath.join(context.node(name).data_directory, "pg_wal")
    names = set(await host.list_directory(wal) or ())
    timeline = max((found for each in names if (found := history_timeline(each))), default=None)
    if timeline is None:
        return ""
    text = await host.read_file(posixpath.join(wal, f"{timeline:08X}.history")) or b""
    try:
        path = parse_history(text.decode())
    except (ValueError, IndexError):
        return ""
    finished = names & set(finished_before(path, names, segment_bytes))
    archived = await archived_names(context.topology, context.world, system) if asks else None
    there = archived.value if isinstance(archived, Known) else None
    if there is None:
        lacking = {each for each in finished if path and int(each[:8], 16) == path[-1].timeline}
    else:
        numbers = {each: number for each in finished | there if (number := segment_number(each, segment_bytes))}
        first = min((number for each, number in numbers.items() if each in there), default=0)  # older WAL was pruned
        lacking = {each for each in finished - there if numbers.get(each, 0) >= first}
    handed = await _mark(host, posixpath.join(wal, "archive_status"), lacking)
    if not handed:
        return ""
    count = f"{handed} segment{'' if handed == 1 else 's'}"
    unsure = "" if there is not None else " (the archive cannot be asked: what it has already is compared)"
    return f"{count} of before the promotion to be archived{unsure}"


async def _mark(host: Host, status: str, names: Collection[str]) -> int:
    """How many wait for the archiver now that did not before."""
    marked = set(await host.list_directory(status) or ())
    waiting = [name for name in sorted(names) if f"{name}.ready" not in marked]
    for name in waiting:
        await host.write_file(posixpath.join(status, f"{name}.ready"), b"")
        await host.remove_file(posixpath.join(status, f"{name}.done"))
    return len(waiting)
