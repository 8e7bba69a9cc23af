"""A copy between hosts that is written into the node's old data: what differs is received beside it first.

Until all of it is there, and durable, the old data is only read. Then the new copy is complete on this host, and a
program of its own puts it together in place (`postgres/merge_program.py`). Cut off before, what was received is a
half-made copy, which the next run goes on with; cut off afterwards, the next run finishes it without the upstream.
"""

import asyncio
import posixpath
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from pgtandem.apply.base_backups import replace_data, replace_whole
from pgtandem.apply.certificates import equip
from pgtandem.apply.context import Context
from pgtandem.apply.copies import failed
from pgtandem.apply.differences import (
    CONTROL_BLOCK,
    NotByDifference,
    NotInPlace,
    NotNow,
    compare,
    control_file_is_whole,
    fetch,
    fetch_control_file,
    progress,
    refuse_early,
    refuse_much,
    refuse_small,
)
from pgtandem.apply.file_copies import CopyFailed, Way, list_files, make_folders
from pgtandem.apply.halves import Halves, biggest, halves_of, keep_only, stays, take_half
from pgtandem.apply.kernel_copies import NotByKernel, require_kept_wal, write_label
from pgtandem.apply.left_behind import end_left_behind
from pgtandem.apply.merging import begin_merge
from pgtandem.apply.node_files import write_node_files
from pgtandem.apply.rewinding import rewind_source
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Timeline
from pgtandem.model.plan import Step
from pgtandem.model.value import dataclass
from pgtandem.model.words import size_in_words
from pgtandem.observe.paths import staging_directory
from pgtandem.observe.places import held_by
from pgtandem.plan.merging import room_for_copy
from pgtandem.ports import BackupEnd, BackupStart, Host, Session
from pgtandem.postgres.base_backup import CONTROL_FILE, LABEL_FILE, Tree, file_sizes, parse_listing, tree_of
from pgtandem.postgres.block_programs import PYTHON, Block
from pgtandem.postgres.merge_program import MANIFEST_FILE, RECEIVED, STAMP, Merge, render_merge
from pgtandem.postgres.segments import segment_name, segment_of

_BEGAN_IN = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{8})[0-9A-F]{16}\)", re.MULTILINE)
_HISTORY = re.compile(r"pg_wal/[0-9A-F]{8}\.history")
_MEGABYTE = 1024 * 1024


async def renew_data(context: Context, step: Step) -> str:
    """A base backup that is written into the data directory that is there, of a node that was never anything but a
    standby of this primary; where that cannot be, one beside it takes its place.

    Raises PgtandemError PT-4006, and PT-4002 where another node's data is there, or its server has run meanwhile.
    """
    host, final = context.host(step.node), context.node(step.node).data_directory
    side = staging_directory(final, context.world.workspace.token())
    halves = await halves_of(host, step.names)
    if halves.beside and await _missing_room(context, step, halves) is None:
        return await replace_data(context, step)  # an earlier run found that it has to be made beside the old data
    await end_left_behind(context, step.node)  # its checkpointer would write old pages over new ones
    try:
        remark = await _receive(context, step, side, halves.received)
    except NotByDifference as reason:
        await host.remove_tree(side)
        await _require_room(context, step, halves, reason)
        if isinstance(reason, NotInPlace):
            return await replace_data(context, step)
        remark = await replace_whole(context, step)
        return f"{remark} (not by what differs: {reason})" if str(reason) else remark
    except (PgtandemError, asyncio.CancelledError) as failure:
        if not await stays(context, step, side, failure):
            await asyncio.shield(host.remove_tree(side))
        raise
    await begin_merge(context, step, side)
    return remark


async def _missing_room(context: Context, step: Step, halves: Halves) -> tuple[int, int] | None:
    """How many bytes are free for a whole copy beside the old data, and how many it needs; None where that is
    enough. What half-made copies hold is used again, or given back."""
    assert step.upstream is not None
    final = context.node(step.node).data_directory
    server = await (await context.session(step.upstream)).observe(None)
    needed = room_for_copy(server.size_bytes, whole=True)
    free = (await context.host(step.node).disk_space(final)).free_bytes
    free += await held_by(context.host(step.node), (*halves.beside, *halves.received))
    return None if free >= needed else (free, needed)


async def _require_room(context: Context, step: Step, halves: Halves, reason: NotByDifference) -> None:
    """A whole copy beside the old data needs more than the plan has asked for. Raises PgtandemError PT-3009."""
    missing = await _missing_room(context, step, halves)
    if missing is not None:
        free, needed = missing
        because = f" ({reason})" if str(reason) else ""
        raise PgtandemError(
            "PT-3009",
            f"the disk of {step.node} has {size_in_words(free)} free, and a whole copy needs {size_in_words(needed)}",
            why=f"It cannot be written into the old data{because}, so all of it has to stand beside that for a while. "
            "The old data was not touched.",
            next_step=f"make room, or name a folder on a larger disk as nodes.{step.node}.data_directory",
        )


async def _receive(context: Context, step: Step, side: str, halves: Sequence[str]) -> str:
    """Makes all that is needed for the new copy beside the old data, with what ended runs have received; durable at the
    end."""
    assert step.upstream is not None
    host, final = context.host(step.node), context.node(step.node).data_directory
    key, stamp, old = await _all(refuse_early(context, step), _stamp(host, final), _plain_files(host, final))
    try:
        session = await context.own_session(step.upstream)
    except PgtandemError as error:
        raise NotNow(error.why) from None
    try:
        start = await session.start_backup(f"pgtandem {step.node}")
        listing, _ = await _all(
            list_files(context.host(step.upstream), context.node(step.upstream).data_directory),
            _require_kept_wal(session, step, start),
        )
        tree = tree_of(listing)
        way = Way(host, final, posixpath.join(side, RECEIVED), tree.umask)
        kept = {path: size for path, size in old.items() if path in tree.files and not _is_whole(path)}
        refuse_small(tree, kept)
        received = await _take_received(way, tree, side, halves)
        compared = asyncio.create_task(compare(context, step, tree, {final: kept}, {way.target: received}, key))
        try:
            await make_folders(way, tree.folders)
            async with rewind_source(context, step, side) as conninfo:
                missing = await compared
                refuse_much(tree, missing.sent)
                changed = {block.path for block in missing.blocks} | {path for path in tree.files if path not in kept}
                if received:
                    await keep_only(host, way.target, tree.folders, changed, tree.umask)
                source = _Source(context, step, session, start, conninfo, file_sizes(listing))
                gone = await _fetch_all(source, way, {path: tree.files[path] for path in changed}, missing.sent)
        finally:
            compared.cancel()
            await asyncio.wait({compared})
        await write_node_files(context, step, way.target)
        await equip(context, step.node, way.target)
        merge = await _merge(way, tree, kept, missing.blocks, gone, stamp)
        await host.write_file(posixpath.join(side, MANIFEST_FILE), render_merge(merge).encode())
        # The file system as a whole: with what the old server had not written out before it was killed.
        await host.sync_tree(side)
    except (CopyFailed, ValueError, PgtandemError) as failure:
        why = failure.why if isinstance(failure, PgtandemError) else str(failure)
        raise failed("PT-4006", f"could not copy {step.upstream} to {step.node}", why) from None
    finally:
        await session.close()
    sent = sum(block.size for block in missing.sent)
    return (
        f"{size_in_words(sent)} of {size_in_words(tree.total_bytes)} were sent and written into the old data, the rest "
        f"was here with the same content; {len(tree.files)} files, each has its size"
    )


async def _take_received(way: Way, tree: Tree, side: str, halves: Sequence[str]) -> Mapping[str, int]:
    """Takes over what the ended run received that got the furthest, and removes the rest; the sizes of its files."""
    half = await biggest(way.host, halves, tree, RECEIVED)
    taken = half is not None and await take_half(way.host, half.folder, side)
    for useless in halves:
        if half is None or useless != half.folder:
            await way.host.remove_tree(useless)
    if not taken:
        return {}
    await way.host.remove_file(posixpath.join(side, MANIFEST_FILE))
    await keep_only(way.host, way.target, tree.folders, tree.files, tree.umask)
    return file_sizes(await list_files(way.host, way.target))


async def _all(*jobs: Awaitable[Any]) -> list[Any]:
    """Side by side; the first failure is raised when all have ended."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


async def _require_kept_wal(session: Session, step: Step, start: BackupStart) -> None:
    try:
        await require_kept_wal(session, step, start)
    except NotByKernel as reason:
        raise NotByDifference(f"{reason}") from None


def _is_whole(path: str) -> bool:
    """Files that are put in place as a whole: configuration, which pgtandem also writes to."""
    return "/" not in path or path.startswith("pgtandem/")


async def _stamp(host: Host, directory: str) -> str:
    shown = await host.run([*PYTHON, STAMP, directory])
    if shown.exit_code:
        raise NotInPlace("")
    return shown.text.strip()


async def _plain_files(host: Host, directory: str) -> dict[str, int]:
    """The old files. Raises NotInPlace where something else is among them: a copy beside it needs none of that."""
    if await host.read_link(directory) is not None:
        raise NotInPlace("the data directory is a symbolic link")
    entries = parse_listing(await list_files(host, directory))
    if any(entry.kind not in "fd" for entry in entries.values()):
        raise NotInPlace("there are links in the old data")
    return {path: entry.size for path, entry in entries.items() if entry.kind == "f"}


@dataclass(frozen=True, slots=True)
class _Source:
    """The upstream in backup mode: how blocks of its files are got, and the sizes of all of them."""

    context: Context
    step: Step
    session: Session
    start: BackupStart
    conninfo: str
    sizes: Mapping[str, int]


async def _fetch_all(source: _Source, way: Way, sizes: Mapping[str, int], blocks: list[Block]) -> set[str]:
    """What differs and is not here yet, of files that get these sizes; the control file after it, then the backup's end
    and its WAL. Returns the files that are gone."""
    context, step = source.context, source.step
    tell = progress(context, step, sum(block.size for block in blocks))
    everything = [*blocks, CONTROL_BLOCK]
    gone = await fetch(
        context, step, way, source.conninfo, everything, {**sizes, CONTROL_FILE: CONTROL_BLOCK.size}, tell
    )
    if not await control_file_is_whole(context, step, way):
        await fetch_control_file(context, step, way, source.conninfo)
    end = await source.session.stop_backup()
    await write_label(way, end)
    await _fetch_wal(source, way, end)
    return gone


async def _fetch_wal(source: _Source, way: Way, end: BackupEnd) -> None:
    """The WAL from start to end, and what tells how timelines follow each other. Marked as archived, as pg_basebackup
    marks them: that is the upstream's to do. What comes after the end is zeros: the segment was left there."""
    segment_bytes = source.start.segment_bytes
    began = _BEGAN_IN.search(end.label)
    if began is None:
        raise CopyFailed("backup_label does not say in which WAL segment the backup began.")
    first, last = segment_of(source.start.lsn, segment_bytes), (end.lsn.position - 1) // segment_bytes
    wanted = {
        f"pg_wal/{segment_name(Timeline(int(began[1], 16)), number, segment_bytes)}": min(
            end.lsn.position - number * segment_bytes, segment_bytes
        )
        for number in range(first, last + 1)
    }
    sizes = dict.fromkeys(wanted, segment_bytes)
    histories = {path: size for path, size in source.sizes.items() if _HISTORY.fullmatch(path)}
    marks = {f"pg_wal/archive_status/{posixpath.basename(path)}.done": 0 for path in (*sizes, *histories)}
    blocks = [
        Block(path, offset, min(_MEGABYTE, size - offset))
        for path, size in (wanted | histories).items()
        for offset in range(0, size, _MEGABYTE)
    ]
    gone = await fetch(source.context, source.step, way, source.conninfo, blocks, sizes | histories | marks)
    if gone:
        raise CopyFailed("WAL that was written meanwhile is not on the upstream any more.")


async def _merge(
    way: Way, tree: Tree, kept: Mapping[str, int], blocks: list[Block], gone: set[str], stamp: str
) -> Merge:
    """What is to be made of the old data, looked at once more: each file must have its size."""
    received = file_sizes(await list_files(way.host, way.target))
    changed = {block.path for block in blocks} | {path for path in tree.files if path not in kept}
    for path in changed - gone:
        if not _is_whole(path) and received.get(path) != tree.files[path]:
            raise CopyFailed(f"{path} is not as it should be.")
    if received.pop(CONTROL_FILE, None) is None or LABEL_FILE not in received:
        raise CopyFailed("The control file or backup_label is not there.")
    files = {path: size for path, size in tree.files.items() if path not in gone and not _is_whole(path)}
    return Merge(
        stamp,
        tree.folders,
        files | received,
        tuple(path for path in received if path not in kept),
        tuple(block for block in blocks if block.path in kept and block.path not in gone),
        tree.umask,
    )
