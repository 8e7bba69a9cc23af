"""What differs between a node's data and its upstream's, on two hosts, and how that is fetched.

Both hosts tell the digest of each block of their files; what differs is read from the upstream by SQL, as the role that
pg_rewind also uses. It needs a Python on both hosts.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

from pgtandem.apply.context import Context
from pgtandem.apply.file_copies import CopyFailed, Way, has_gnu_tools
from pgtandem.model.plan import Step
from pgtandem.model.value import dataclass
from pgtandem.plan.hosts import LEAST_BYTES
from pgtandem.ports import Host, HostFailure
from pgtandem.postgres.base_backup import CONTROL_FILE, Tree
from pgtandem.postgres.block_programs import (
    DIGESTS,
    PATCH,
    PROBE,
    PYTHON,
    Block,
    differing_blocks,
    parse_digests,
    render_fetch,
)

SECONDS = 24 * 3600.0
#: More than this part of it changed: then all of it is sent, which takes less for each byte.
_MOST_CHANGED = 0.5
CONTROL_BLOCK = Block(CONTROL_FILE, 0, 8192)
_ATTEMPTS = 5
#: So many programs read on each side.
_PARTS = 2


class NotByDifference(Exception):
    """This copy cannot be made this way, or should not; the text is why, "" where nobody needs to know. Nothing is left
    of it."""


class NotNow(NotByDifference):
    """It cannot be made this way at the moment; half-made copies are of use all the same."""


class NotInPlace(NotByDifference):
    """It cannot be written into the old data, but it can be made beside it."""


async def refuse_early(context: Context, step: Step) -> str:
    """What can be known before anything is read; returns the key for digests, "" where they have none."""
    assert step.upstream is not None
    here, there = context.host(step.node), context.host(step.upstream)
    if step.places or context.topology.postgresql < 11:
        raise NotByDifference("")
    keyed = await asyncio.gather(*(_tools_of(host) for host in (here, there)), return_exceptions=True)
    for found in keyed:
        if isinstance(found, HostFailure):
            raise NotByDifference(found.what)
        if isinstance(found, BaseException):
            raise found
    if not await here.can_execute(context.program(step, "psql")):
        raise NotByDifference("there is no psql")
    in_recovery, _ = await (await context.session(step.upstream)).position()
    if in_recovery:
        raise NotByDifference("its upstream is a standby")
    secret = context.world.workspace.new_secret()
    return hashlib.sha256(secret.reveal().encode()).hexdigest() if all(keyed) else ""


async def _tools_of(host: Host) -> bool:
    """Whether it can make digests with a key. Raises NotByDifference, and HostFailure where it has no Python."""
    python = await host.look([*PYTHON, PROBE])
    if python.exit_code or not await has_gnu_tools(host):
        raise NotByDifference(f"{host.name} has no Python 3, GNU coreutils and findutils")
    return python.text.strip() == "keyed"


def refuse_small(tree: Tree, kept: Mapping[str, int], least: int = LEAST_BYTES) -> None:
    """Where comparing does not pay, or paths cannot be asked for by SQL."""
    if sum(kept.values()) < least or tree.elsewhere or not all(map(_is_utf8, tree.files)):
        raise NotByDifference("")


def refuse_much(tree: Tree, blocks: Sequence[Block]) -> None:
    if sum(block.size for block in blocks) > _MOST_CHANGED * tree.total_bytes:
        raise NotByDifference("too much of it has changed")


def progress(context: Context, step: Step, total: int) -> Callable[[int], None]:
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        context.report.step_progress(step, done, total)

    return tell


@dataclass(frozen=True, slots=True)
class Missing:
    """Of a copy that is to be: the blocks that have to be sent, and by folder of this host those that are there."""

    sent: list[Block]
    here: Mapping[str, list[Block]]

    @property
    def blocks(self) -> list[Block]:
        """All of them, by file and offset."""
        every = [*self.sent, *(block for found in self.here.values() for block in found)]
        return sorted(every, key=lambda block: (block.path, block.offset))


async def compare(
    context: Context,
    step: Step,
    tree: Tree,
    bases: Mapping[str, Mapping[str, int]],
    others: Mapping[str, Mapping[str, int]],
    key: str,
) -> Missing:
    """What differs from the upstream in the files of the folders `bases`, each of which has files that no other one
    has; and where that is in `others`. Both hosts read side by side; of `others` only files with something missing."""
    assert step.upstream is not None
    here, there = context.host(step.node), context.host(step.upstream)
    every = {path: size for files in (*others.values(), *bases.values()) for path, size in files.items()}
    limit = context.topology.replication.copy_bytes_per_second or 0
    wanted, *answers = await asyncio.gather(
        _digests_of(there, context.node(step.upstream).data_directory, every, limit, key),
        *(_digests_of(here, folder, files, limit, key) for folder, files in bases.items()),
    )
    found = {path: digests for answer in answers for path, digests in answer.items()}
    missing, in_others = list(differing_blocks(tree.files, wanted, found)), {}
    for folder, files in others.items():
        paths = {block.path: files[block.path] for block in missing if block.path in files}
        found = await _digests_of(here, folder, paths, limit, key)
        still = set(differing_blocks({path: tree.files[path] for path in paths}, wanted, found))
        in_others[folder] = [block for block in missing if block.path in paths and block not in still]
        missing = [block for block in missing if block.path not in paths or block in still]
    return Missing(missing, in_others)


async def _digests_of(
    host: Host, folder: str, files: Mapping[str, int], limit: int, key: str
) -> dict[str, tuple[str, ...]]:
    """By path; several programs read, the biggest files first."""
    paths = sorted(files, key=lambda path: (-files[path], path))
    parts = [paths[part::_PARTS] for part in range(_PARTS)]
    answers = await asyncio.gather(*(_digests(host, folder, part, limit // _PARTS, key) for part in parts if part))
    return {path: digests for answer in answers for path, digests in answer.items()}


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _digests(host: Host, folder: str, paths: list[str], limit: int, key: str) -> dict[str, tuple[str, ...]]:
    stdin = key.encode() + b"\n" + b"".join(path.encode() + b"\0" for path in paths)
    done = await host.run([*PYTHON, DIGESTS, folder, str(limit)], stdin=stdin, deadline_seconds=SECONDS)
    if done.exit_code:
        raise CopyFailed(done.complaint)
    return parse_digests(paths, done.stdout)


async def fetch(
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
    argv = [*PYTHON, PATCH, way.target, conninfo, context.program(step, "psql"), str(limit), f"{way.umask:o}"]
    done = await way.host.run(argv, stdin=b"%d\n" % len(sql) + sql + files, deadline_seconds=SECONDS, on_output=read)
    if done.exit_code:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if not line.isdigit()]
        raise CopyFailed("\n".join(lines[-4:]) or f"It ended with exit code {done.exit_code}.")
    return {path.decode() for path in done.stdout.split(b"\0")[:-1]}


async def fetch_control_file(context: Context, step: Step, way: Way, conninfo: str) -> None:
    """Last, as always; the server may write it meanwhile, so its checksum is looked at."""
    for _ in range(_ATTEMPTS):
        await fetch(context, step, way, conninfo, [CONTROL_BLOCK], {CONTROL_FILE: CONTROL_BLOCK.size})
        if await control_file_is_whole(context, step, way):
            return
    raise CopyFailed(f"The control file of {step.upstream} could not be read whole.")


async def control_file_is_whole(context: Context, step: Step, way: Way) -> bool:
    shown = await way.host.run([context.program(step, "pg_controldata"), way.target])
    return shown.exit_code == 0 and b"WARNING" not in shown.stdout + shown.stderr
