"""A copy between hosts that uses what the node already has: only blocks whose content differs cross the network.

The old data directory is only read. Both hosts tell the digest of each block of their files; what is the same is copied
from the old directory by the kernel, the rest is read from the upstream by SQL, as the role that pg_rewind also uses.
Like every copy it is a base backup of its own, from start to stop: how old the old data is does not matter, and neither
does what happened to it. It needs a Python on both hosts; without, and where much differs, pg_basebackup copies all.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence

from pgtandem.apply.context import Context
from pgtandem.apply.copies import failed
from pgtandem.apply.file_copies import CopyFailed, Pace, Way, copy_files, has_gnu_tools, list_files, make_folders
from pgtandem.apply.kernel_copies import NotByKernel, require_kept_wal, write_label
from pgtandem.apply.rewinding import rewind_source
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step
from pgtandem.ports import Host, HostFailure
from pgtandem.postgres.base_backup import CONTROL_FILE, Tree, file_sizes, tree_of
from pgtandem.postgres.block_programs import (
    DIGESTS,
    PATCH,
    PROBE,
    Block,
    differing_blocks,
    parse_digests,
    render_fetch,
)

#: More than this part of it changed: then all of it is sent, which takes less for each byte.
_MOST_CHANGED = 0.5
#: Reading both sides pays from this size on.
_LEAST_BYTES = 64 * 1024 * 1024
_SECONDS = 24 * 3600.0
_CONTROL_FILE_BYTES = 8192
_ATTEMPTS = 5
#: So many programs read on each side.
_PARTS = 2


class NotByDifference(Exception):
    """This copy cannot be made this way, or should not; the text is why, "" where nobody needs to know. Nothing is left
    of it."""


async def copy_by_difference(context: Context, step: Step, staging: str, candidates: Sequence[str]) -> str:
    """Makes the copy in `staging` with what the biggest of these folders has; returns what was sent.

    Raises NotByDifference, and PgtandemError PT-4006.
    """
    assert step.upstream is not None
    here, there = context.host(step.node), context.host(step.upstream)
    await _refuse_early(context, step)
    try:
        session = await context.own_session(step.upstream)
    except PgtandemError as error:
        raise NotByDifference(error.why) from None
    try:
        start = await session.start_backup(f"pgtandem {step.node}")
        try:
            await require_kept_wal(session, step, start)
        except NotByKernel as reason:
            raise NotByDifference(f"{reason}") from None
        source = context.node(step.upstream).data_directory
        tree = tree_of(await list_files(there, source))
        old, kept = await _most_of(here, candidates, tree)
        way = Way(here, old, staging, tree.umask)
        blocks = await _copy_and_compare(context, step, way, tree, kept)
        await _make(context, step, way, tree, blocks)
        end = await session.stop_backup()
        await write_label(way, end)
    except (CopyFailed, ValueError, PgtandemError) as failure:
        why = failure.why if isinstance(failure, PgtandemError) else str(failure)
        raise failed("PT-4006", f"could not copy {step.upstream} to {step.node}", why) from None
    finally:
        await session.close()
    sent = sum(block.size for block in blocks)
    return (
        f"{sent} of {tree.total_bytes} bytes were sent, the rest was here with the same content; "
        f"{len(tree.files)} files, each has its size"
    )


async def _refuse_early(context: Context, step: Step) -> None:
    """What can be known before anything is read."""
    assert step.upstream is not None
    here, there = context.host(step.node), context.host(step.upstream)
    if step.places or context.topology.postgresql < 11:
        raise NotByDifference("")
    for host in (here, there):
        try:
            python = await host.look(["python3", "-c", PROBE])
            if python.exit_code or not await has_gnu_tools(host):
                raise NotByDifference(f"{host.name} has no Python 3, GNU coreutils and findutils")
        except HostFailure as failure:
            raise NotByDifference(failure.what) from None
    if not await here.can_execute(context.program(step, "psql")):
        raise NotByDifference("there is no psql")
    in_recovery, _ = await (await context.session(step.upstream)).position()
    if in_recovery:
        raise NotByDifference("its upstream is a standby")


async def _most_of(host: Host, candidates: Sequence[str], tree: Tree) -> tuple[str, dict[str, int]]:
    """The folder that has the most of what is wanted, and the sizes of those files in it."""
    found: dict[str, dict[str, int]] = {}
    for folder in candidates:
        sizes = file_sizes(await list_files(host, folder))
        found[folder] = {path: size for path, size in sizes.items() if path in tree.files}
    most = max(found, key=lambda folder: sum(found[folder].values()))
    return most, found[most]


async def _copy_and_compare(context: Context, step: Step, way: Way, tree: Tree, kept: dict[str, int]) -> list[Block]:
    """Copies the old files while both hosts read theirs; returns what has to be sent. While the processors compare, the
    disk writes. Where too much differs the copy is waited for all the same, and removed: nobody writes there then."""
    if sum(kept.values()) < _LEAST_BYTES or tree.elsewhere or not all(map(_is_utf8, tree.files)):
        raise NotByDifference("")
    compared = asyncio.create_task(_differences(context, step, way.source, tree, kept))
    try:
        if context.topology.replication.copy_bytes_per_second is not None:
            await asyncio.wait({compared})  # or this host would do twice as much as it may
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy_old(context, step, way, tree, kept))
            blocks = await compared
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        compared.cancel()
        await asyncio.wait({compared})
    if sum(block.size for block in blocks) > _MOST_CHANGED * tree.total_bytes:
        await way.host.remove_tree(way.target)
        raise NotByDifference("too much of it has changed")
    return blocks


async def _copy_old(context: Context, step: Step, way: Way, tree: Tree, kept: dict[str, int]) -> None:
    await make_folders(way, tree.folders)
    pace = Pace(context.world.clock, context.topology.replication.copy_bytes_per_second)
    await copy_files(way, kept, pace, _progress(context, step, sum(kept.values())))


def _progress(context: Context, step: Step, total: int) -> Callable[[int], None]:
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        context.report.step_progress(step, done, total)

    return tell


async def _differences(context: Context, step: Step, old: str, tree: Tree, kept: dict[str, int]) -> list[Block]:
    """What has to be sent; both hosts read side by side."""
    assert step.upstream is not None
    paths = sorted(kept, key=lambda path: (-kept[path], path))
    sides = ((context.host(step.upstream), context.node(step.upstream).data_directory), (context.host(step.node), old))
    limit = context.topology.replication.copy_bytes_per_second or 0
    answers = await asyncio.gather(
        *(
            _digests(host, folder, paths[part::_PARTS], limit // _PARTS)
            for host, folder in sides
            for part in range(_PARTS)
        )
    )
    there: dict[str, tuple[str, ...]] = {}
    here: dict[str, tuple[str, ...]] = {}
    for number, answer in enumerate(answers):
        (there if number < _PARTS else here).update(answer)
    return list(differing_blocks(tree.files, there, here))


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _digests(host: Host, folder: str, paths: list[str], limit: int) -> dict[str, tuple[str, ...]]:
    stdin = b"".join(path.encode() + b"\0" for path in paths)
    done = await host.run(["python3", "-c", DIGESTS, folder, str(limit)], stdin=stdin, deadline_seconds=_SECONDS)
    if done.exit_code:
        raise CopyFailed(done.complaint)
    return parse_digests(paths, done.stdout)


async def _make(context: Context, step: Step, way: Way, tree: Tree, blocks: list[Block]) -> None:
    """Over the old files what differs, then the control file."""
    tell = _progress(context, step, sum(block.size for block in blocks))
    async with rewind_source(context, step, way.target) as conninfo:
        gone = await _fetch(context, step, way, conninfo, blocks, tree.files, tell)
        found = file_sizes(await list_files(way.host, way.target))
        for path, size in tree.files.items():
            if path not in gone and found.get(path) != size:
                raise CopyFailed(f"{path} is not as it should be.")
        await _fetch_control_file(context, step, way, conninfo)


async def _fetch(
    context: Context,
    step: Step,
    way: Way,
    conninfo: str,
    blocks: list[Block],
    sizes: Mapping[str, int],
    tell: Callable[[int], None] = lambda _: None,
) -> set[str]:
    """Writes blocks of the upstream into files of the copy, and gives the files their sizes; returns which are gone."""
    written = 0

    def read(chunk: bytes) -> None:
        nonlocal written
        numbers = re.findall(rb"(\d+)\n", chunk)
        if numbers and int(numbers[-1]) > written:
            tell(int(numbers[-1]) - written)
            written = int(numbers[-1])

    sql = render_fetch(blocks).encode()
    files = b"".join(f"{size} {path}".encode() + b"\0" for path, size in sizes.items())
    limit = context.topology.replication.copy_bytes_per_second or 0
    argv = ["python3", "-c", PATCH, way.target, conninfo, context.program(step, "psql"), str(limit), f"{way.umask:o}"]
    done = await way.host.run(argv, stdin=b"%d\n" % len(sql) + sql + files, deadline_seconds=_SECONDS, on_output=read)
    if done.exit_code:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if not line.isdigit()]
        raise CopyFailed("\n".join(lines[-4:]) or f"It ended with exit code {done.exit_code}.")
    return {path.decode() for path in done.stdout.split(b"\0")[:-1]}


async def _fetch_control_file(context: Context, step: Step, way: Way, conninfo: str) -> None:
    """Last, as always; the server may write it meanwhile, so its checksum is looked at."""
    size = _CONTROL_FILE_BYTES
    for _ in range(_ATTEMPTS):
        await _fetch(context, step, way, conninfo, [Block(CONTROL_FILE, 0, size)], {CONTROL_FILE: size})
        shown = await way.host.run([context.program(step, "pg_controldata"), way.target])
        if shown.exit_code == 0 and b"WARNING" not in shown.stdout + shown.stderr:
            return
    raise CopyFailed(f"The control file of {step.upstream} could not be read whole: {shown.complaint}")
