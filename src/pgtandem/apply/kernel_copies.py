"""A copy from another node of the same host: a base backup by the low-level interface, its files copied by the kernel.

The manual's order (26.3.4): start the backup, copy the files, the control file last, stop the backup, write its label
into the copy. The WAL from start to stop, which the standby's slot has kept on the upstream, comes along as
pg_basebackup brings it, so the copy is whole without its upstream. Backup mode is that of a session which is open for
as long as the copy takes: whatever ends pgtandem ends it.

What an earlier run left half made is of an earlier start: its files count as copied once they were compared, after the
new start, and what differs was written over them (`halves.py`).
"""

import posixpath
from collections.abc import Mapping

from pgtandem.apply.context import Context
from pgtandem.apply.copies import failed
from pgtandem.apply.file_copies import (
    CopyFailed,
    Pace,
    Way,
    copy_files,
    has_gnu_tools,
    list_files,
    make_folders,
    make_same,
)
from pgtandem.apply.halves import Halves, take_on_one_host
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Step
from pgtandem.model.words import size_in_words
from pgtandem.ports import BackupEnd, BackupStart, Completed, HostFailure, Session
from pgtandem.postgres.base_backup import (
    CONTROL_FILE,
    LABEL_FILE,
    TABLESPACE_MAP,
    Tree,
    file_sizes,
    not_copied,
    tree_of,
)
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.segments import segment_number, segment_of

#: How often files that changed under the copy are copied again.
_ATTEMPTS = 5


_WAL_SECONDS = 24 * 3600.0

_COPY_CONTROL_FILE = """\
umask "$1" && cp --preserve=mode "$2" "$3" && cmp -s "$2" "$3" && exec "$4" "$5"
"""
_COPY_WAL = """\
umask "$1" && cd "$2" && target=$3 && shift 3 &&
cp --reflink=auto --sparse=never --preserve=mode -t "$target" -- "$@" &&
cd "$target/archive_status" && for name; do : >"$name.done" || exit; done
"""


class NotByKernel(Exception):
    """This copy cannot be made this way; the text is why. Nothing was written."""


async def copy_by_kernel(context: Context, step: Step, staging: str, halves: Halves) -> str:
    """Makes the copy in `staging`, out of the biggest half-made copy where that pays; returns what was copied and what
    of it was checked.

    Raises NotByKernel, and PgtandemError PT-4006.
    """
    assert step.upstream is not None
    upstream = context.node(step.upstream)
    await _refuse_early(context, step)
    try:
        session = await context.own_session(step.upstream)
    except PgtandemError as error:
        raise NotByKernel(error.why) from None
    try:
        start = await session.start_backup(f"pgtandem {step.node}")
        await require_kept_wal(session, step, start)
        way, tree = await _look(context, step, staging, start)
        here = await take_on_one_host(way, tree, halves)
        written = await _copy_tree(context, step, way, tree, here)
        await _copy_control_file(context, step, way)
        end = await session.stop_backup()
        await write_label(way, end)
        await _copy_wal(context, way, start, end.lsn)
    except (CopyFailed, PgtandemError) as failure:
        why = failure.why if isinstance(failure, PgtandemError) else str(failure)
        raise failed("PT-4006", f"could not copy {step.upstream} to {step.node}", why) from None
    finally:
        await session.close()
    said = f"{len(tree.files)} files by the kernel on {upstream.host.url}; each has its size"
    if here:
        sizes = f"{size_in_words(written)} of {size_in_words(tree.total_bytes)}"
        said += f"; {sizes} were written, the rest was here with the same content"
    return said


async def _refuse_early(context: Context, step: Step) -> None:
    """What can be known before the upstream is asked for anything."""
    if set(step.places) - {context.node(step.node).wal_directory}:
        raise NotByKernel("there are tablespaces")
    try:
        if not await has_gnu_tools(context.host(step.node)):
            raise NotByKernel("the host has no GNU coreutils and findutils")
    except HostFailure as failure:
        raise NotByKernel(failure.what) from None


async def require_kept_wal(session: Session, step: Step, start: BackupStart) -> None:
    """The slot that the standby will stream from keeps what is written meanwhile: it was reserved before the start."""
    texts = dict(step.files.texts) if step.files else {}
    settings = parse_settings(texts.get(RECOVERY_FILE, "") + texts.get(SETTINGS_FILE, ""))
    slot = (await session.observe(None)).slots.get(settings.get("primary_slot_name", ""))
    if slot is None or slot.restart_lsn is None or slot.restart_lsn > start.lsn or slot.wal_status == "lost":
        raise NotByKernel("no slot keeps the WAL that is written meanwhile")


async def _look(context: Context, step: Step, staging: str, start: BackupStart) -> tuple[Way, Tree]:
    """The files as they are, seen after the start; what the account cannot read here, the server may send."""
    assert step.upstream is not None
    host, source = context.host(step.node), context.node(step.upstream).data_directory
    if posixpath.normpath(start.data_directory) != source:
        raise NotByKernel(f"the server says that its data directory is {start.data_directory}")
    try:
        tree = tree_of(await list_files(host, source))
    except CopyFailed as failure:
        raise NotByKernel(str(failure)) from None
    if tree.elsewhere:
        raise NotByKernel("there are tablespaces")
    return Way(host, source, staging, tree.umask), tree


async def _copy_tree(context: Context, step: Step, way: Way, tree: Tree, here: Mapping[str, int]) -> int:
    """All but the control file; of what is `here` only what differs. Then the copy is held against what the source had
    before and has after. Returns how many bytes were written."""
    limit = context.topology.replication.copy_bytes_per_second
    pace, done, total = Pace(context.world.clock, limit), 0, tree.total_bytes

    def tell(size: int) -> None:
        nonlocal done
        done += size
        context.report.step_progress(step, done, total)

    await _make_folders(context, step.node, way, tree)
    written = await make_same(way, {path: tree.files[path] for path in here}, pace, tell)
    pending = {path: size for path, size in tree.files.items() if path not in here}
    for _ in range(_ATTEMPTS):
        await copy_files(way, pending, pace, tell)
        written += sum(pending.values())
        copied = file_sizes(await list_files(way.host, way.target))
        if not not_copied(tree.files, tree.files, copied):
            return written
        after = file_sizes(await list_files(way.host, way.source))
        again = not_copied(tree.files, after, copied)
        if not again:
            return written
        pending = {path: after.get(path, 0) for path in again}
    raise CopyFailed(f"{again[0]} is not as it should be after {_ATTEMPTS} attempts.")


async def _make_folders(context: Context, name: NodeName, way: Way, tree: Tree) -> None:
    elsewhere = context.node(name).wal_directory
    if elsewhere is None:
        await make_folders(way, tree.folders)
        return
    await make_folders(Way(way.host, way.source, elsewhere, way.umask), ["archive_status"])
    await make_folders(way, [path for path in tree.folders if path.partition("/")[0] != "pg_wal"])
    _require(await way.host.run(["ln", "-s", elsewhere, posixpath.join(way.target, "pg_wal")]))


async def _copy_control_file(context: Context, step: Step, way: Way) -> None:
    """Last: of a standby, it says how far recovery of the copy must go at least. The server writes it while it is
    read, so it is read until it is one whole: twice the same, with a checksum that is right."""
    source, target = (posixpath.join(folder, CONTROL_FILE) for folder in (way.source, way.target))
    program = context.program(step, "pg_controldata")
    argv = ["sh", "-c", _COPY_CONTROL_FILE, "sh", f"{way.umask:o}", source, target, program, way.target]
    for _ in range(_ATTEMPTS):
        done = await way.host.run(argv)
        if done.exit_code == 0 and b"WARNING" not in done.stdout + done.stderr:
            return
        await context.world.clock.sleep(0.05)
    raise CopyFailed(f"The control file of {step.upstream} could not be read whole: {done.complaint}")


async def write_label(way: Way, end: BackupEnd) -> None:
    mode = 0o666 & ~way.umask
    for name, text in ((TABLESPACE_MAP, end.tablespace_map), (LABEL_FILE, end.label)):
        if text:
            await way.host.write_file(posixpath.join(way.target, name), text.encode("utf-8", "surrogateescape"), mode)


async def _copy_wal(context: Context, way: Way, start: BackupStart, end: Lsn) -> None:
    """The segments from start to end, and what tells how timelines follow each other. Marked as archived, as
    pg_basebackup marks them: that is the upstream's to do."""
    wal = Way(way.host, posixpath.join(way.source, "pg_wal"), posixpath.join(way.target, "pg_wal"), way.umask)
    first, last = segment_of(start.lsn, start.segment_bytes), (end.position - 1) // start.segment_bytes
    names, numbers = [], set()
    for name in await way.host.list_directory(wal.source) or ():
        number = segment_number(name, start.segment_bytes)
        if number is not None and first <= number <= last:
            names.append(name)
            numbers.add(number)
        elif name.endswith(".history"):
            names.append(name)
    if len(numbers) != last - first + 1:
        raise CopyFailed(f"WAL that was written meanwhile is not in {wal.source} any more.")
    argv = ["sh", "-c", _COPY_WAL, "sh", f"{wal.umask:o}", wal.source, wal.target, *names]
    _require(await way.host.run(argv, deadline_seconds=_WAL_SECONDS))


def _require(done: Completed) -> None:
    if done.exit_code:
        raise CopyFailed(done.complaint)
