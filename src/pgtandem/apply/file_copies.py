"""Files copied from one folder of a host to another by its own `cp`, several side by side; and those that are there in
part made the same.

GNU cp leaves the bytes to the kernel (copy_file_range), and where the file system can share blocks it copies none at
all. Files that vanish meanwhile are no failure: who copies a living data directory looks at the result afterwards.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from pgtandem.model.value import dataclass
from pgtandem.ports import Clock, Completed, Host
from pgtandem.postgres.base_backup import LISTING_FORMAT
from pgtandem.postgres.block_programs import PYTHON
from pgtandem.postgres.half_programs import MAKE_SAME

WORKERS = 4
_BATCH_FILES, _BATCH_BYTES = 400, 64 * 1024 * 1024
#: From so many files on a program is busy with making them, and not with their bytes.
_MANY_FILES = 50
_SECONDS = 24 * 3600.0
_MEGABYTE = 1024 * 1024

# Not --sparse=auto: where cp looks for holes it asks the file system for them, which more than one has answered wrongly
# about what was just written.
_COPY = """\
umask "$1" && cd "$2" && target=$3 && shift 3 &&
exec cp --reflink=auto --sparse=never --preserve=mode --no-dereference --parents -t "$target" -- "$@"
"""
_COPY_PIECE = """\
umask "$1" && exec dd if="$2" of="$3" bs=1048576 skip="$4" seek="$4" ${5:+count="$5"} conv=notrunc status=none
"""
_MAKE_FOLDERS = 'umask "$1" && mkdir -p "$2" && cd "$2" && exec xargs -0 mkdir -p --'
_VERSIONS = "cp --version && find --version"
_GONE = re.compile(
    r"(?:cp: cannot (?:stat|open) '.*'(?: for reading)?|dd: failed to open '.*'|find: '.*'): No such file or directory"
)
_REPLACED = re.compile(r"cp: skipping file '.*', as it was replaced while being copied")


class CopyFailed(Exception):
    """A file could not be copied; the text is what the program said."""


@dataclass(frozen=True, slots=True)
class Way:
    """From where to where, on one host; `umask` takes from the modes of what is made."""

    host: Host
    source: str
    target: str
    umask: int = 0o077


@dataclass(frozen=True, slots=True)
class Batch:
    """What one program copies: whole files, or a piece of one. `first` and `count` are in megabytes; a count of 0 goes
    to the end of the file."""

    paths: tuple[str, ...]
    size: int
    first: int = 0
    count: int | None = None


class Pace:
    """Lets so many bytes per second pass; without a limit, all."""

    def __init__(self, clock: Clock, bytes_per_second: int | None) -> None:
        self._clock = clock
        self.bytes_per_second = bytes_per_second
        self._free_at = 0.0

    async def let_pass(self, size: int) -> None:
        """Waits until what passed before is paid for."""
        if self.bytes_per_second is None:
            return
        now = self._clock.monotonic()
        begins = max(now, self._free_at)
        self._free_at = begins + size / self.bytes_per_second
        if begins > now:
            await self._clock.sleep(begins - now)


async def has_gnu_tools(host: Host) -> bool:
    """Whether the host has the `cp` and `find` whose options are used here. Raises HostFailure where there are none."""
    shown = await host.look(["sh", "-c", _VERSIONS])
    return shown.exit_code == 0 and "GNU coreutils" in shown.text and "GNU findutils" in shown.text


async def list_files(host: Host, folder: str, *, into_links: bool = False) -> bytes:
    """Everything below a folder, for `base_backup.parse_listing`. Raises CopyFailed where something cannot be read."""
    argv = ["find", "-L" if into_links else "-H", folder, "-printf", LISTING_FORMAT]
    done = await host.run(argv, deadline_seconds=_SECONDS)
    _require(done)
    return done.stdout


async def make_folders(way: Way, folders: Sequence[str]) -> None:
    """The target and these folders in it. Raises CopyFailed."""
    done = await way.host.run(
        ["sh", "-c", _MAKE_FOLDERS, "sh", f"{way.umask:o}", way.target],
        stdin=b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in folders),
        deadline_seconds=_SECONDS,
    )
    _require(done)


async def copy_files(
    way: Way, files: Mapping[str, int], pace: Pace, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Copies files with their modes; `tell` gets the bytes of each part that is done. Raises CopyFailed.

    Who makes many files in one folder waits for a processor, and for everybody else who does: more of these programs
    than processors only get into each other's way. Those that copy bytes wait for the disk.
    """
    parts = batches(files, pace.bytes_per_second)
    makers = asyncio.Semaphore(await _processors(way.host) if _holds_many(parts) else WORKERS)

    async def copy(batch: Batch) -> None:
        async with makers if _holds_many([batch]) else nullcontext():
            await pace.let_pass(batch.size)
            _require(await way.host.run(_argv(way, batch), deadline_seconds=_SECONDS))
        tell(batch.size)

    await _side_by_side(copy(batch) for batch in parts)


async def make_same(way: Way, files: Mapping[str, int], pace: Pace, tell: Callable[[int], None]) -> int:
    """Reads files that are at the target too, and writes there what differs; they get their modes and sizes, and those
    that have vanished are removed. Returns how many bytes were written. Raises CopyFailed.

    What is read counts for the pace, as what is copied does.
    """
    written = 0

    async def compare(batch: Batch) -> None:
        nonlocal written
        await pace.let_pass(batch.size)
        piece = (str(batch.first), str(batch.count or 0))
        argv = [*PYTHON, MAKE_SAME, way.source, way.target, *piece, *batch.paths]
        done = await way.host.run(argv, deadline_seconds=_SECONDS)
        _require(done)
        written += int(done.stdout)
        tell(batch.size)

    await _side_by_side(compare(batch) for batch in batches(files, pace.bytes_per_second))
    return written


def batches(files: Mapping[str, int], bytes_per_second: int | None = None) -> list[Batch]:
    """The files in parts for one program each, the biggest first, so that all workers end at about the same time.

    With a limit no part is bigger than what may pass in a quarter of a second, or a megabyte.
    """
    most = _BATCH_BYTES
    if bytes_per_second is not None:
        most = min(most, max(bytes_per_second // 4 // _MEGABYTE, 1) * _MEGABYTE)
    parts: list[Batch] = []
    paths: list[str] = []
    size = 0
    for path, bytes_in_file in sorted(files.items(), key=lambda item: (-item[1], item[0])):
        if bytes_per_second is not None and bytes_in_file > most:
            parts += _pieces(path, bytes_in_file, most // _MEGABYTE)
            continue
        if paths and (size + bytes_in_file > most or len(paths) == _BATCH_FILES):
            parts.append(Batch(tuple(paths), size))
            paths, size = [], 0
        paths.append(path)
        size += bytes_in_file
    return [*parts, Batch(tuple(paths), size)] if paths else parts


def _pieces(path: str, size: int, megabytes: int) -> Iterator[Batch]:
    whole = megabytes * _MEGABYTE
    for begin in range(0, size, whole):
        last = begin + whole >= size
        yield Batch((path,), min(whole, size - begin), begin // _MEGABYTE, 0 if last else megabytes)


def _argv(way: Way, batch: Batch) -> list[str]:
    umask = f"{way.umask:o}"
    if batch.count is None:
        return ["sh", "-c", _COPY, "sh", umask, way.source, way.target, *batch.paths]
    source, target = (f"{folder}/{batch.paths[0]}" for folder in (way.source, way.target))
    return ["sh", "-c", _COPY_PIECE, "sh", umask, source, target, str(batch.first), str(batch.count or "")]


def _holds_many(parts: Sequence[Batch]) -> bool:
    return any(len(batch.paths) >= _MANY_FILES for batch in parts)


async def _processors(host: Host) -> int:
    shown = await host.look(["sh", "-c", "nproc"])
    return int(shown.text) if shown.exit_code == 0 and shown.text.strip().isdigit() else WORKERS


async def _side_by_side(jobs: Iterator[Coroutine[Any, Any, None]]) -> None:
    """A few at a time; the first failure ends the others."""

    async def worker() -> None:
        for job in jobs:
            await job

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(worker())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _require(done: Completed) -> None:
    """What vanished, or was replaced by another file, is looked at later."""
    if done.exit_code == 0:
        return
    said = done.stderr.decode(errors="replace").splitlines()
    against = [line for line in said if not _GONE.fullmatch(line) and not _REPLACED.fullmatch(line)]
    if against or not said:
        raise CopyFailed("\n".join(against[-4:]) or f"It ended with exit code {done.exit_code}.")
