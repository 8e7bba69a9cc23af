"""Where recovery could stop, read from the WAL in the archive, on the host and with the programs of a restore."""

import asyncio
import contextlib
import posixpath
from collections.abc import Callable

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.restore import Interval, RestoreOrder, Searched
from pgtandem.observe.paths import staging_directory
from pgtandem.observe.restorable import Restorable
from pgtandem.ports import CommandTimeout, HostFailure, World
from pgtandem.postgres.archive_content import segments_on_the_way
from pgtandem.postgres.archive_scripts import SYSTEM_FILE
from pgtandem.postgres.segments import segment_of
from pgtandem.postgres.wal_fetch import FETCH_SCRIPT, RESTORE_SCRIPT
from pgtandem.postgres.wal_over_ssh import HOSTS_FILE
from pgtandem.postgres.wal_search import can_be_told, may_be_there, name_argv, parse_search, search_argv, search_input

_SECONDS = 7 * 24 * 3600.0
_NEEDED = (RESTORE_SCRIPT, FETCH_SCRIPT, HOSTS_FILE)
#: Where WAL ends is read as trouble too: so many segments before the end that is no reason to be unsure.
_END_SEGMENTS = 2


def count_segments(interval: Interval) -> int:
    """How many segments are to be read for it."""
    size = interval.backup.segment_bytes
    return (interval.end.position - 1) // size - segment_of(interval.backup.start_lsn, size) + 1


async def can_search(world: World, order: RestoreOrder, programs: str) -> bool:
    """Whether these programs can read WAL."""
    return bool(programs) and await world.host(order.host).can_execute(posixpath.join(programs, "pg_waldump"))


async def search_wal(
    world: World,
    restorable: Restorable,
    interval: Interval,
    order: RestoreOrder,
    beside: str,
    programs: str,
    xid: str = "",
    tell: Callable[[int], None] = lambda _: None,
) -> Known[Searched] | Unknown:
    """Every restore point, or where this transaction ended, from the start of the backup to the end of the interval.

    Unknown where something failed. What is read lies beside the folder `beside` for as long as that takes. `tell` gets
    the number of segments that were read.
    """
    size, begin = interval.backup.segment_bytes, interval.backup.start_lsn

    def argv(folder: str) -> list[str]:
        return search_argv(folder, programs, order.restore_command, size, xid)

    try:
        shown, complaint, wanted = await _read(world, restorable, interval, order, beside, argv, tell)
        points, number, trouble = parse_search(shown)
    except (HostFailure, CommandTimeout) as failure:
        return Unknown(failure.why or failure.what)
    except ValueError:
        return Unknown(complaint or "it was cut off")
    if not number:
        return Unknown(trouble)
    return Known(Searched(points, begin, interval.end, trouble if number < wanted - _END_SEGMENTS else ""))


async def surely_absent(
    world: World,
    restorable: Restorable,
    interval: Interval,
    order: RestoreOrder,
    beside: str,
    name: str,
    tell: Callable[[int], None] = lambda _: None,
) -> bool:
    """Whether no restore point of this name is where `search_wal` would look, by the bytes of all that WAL: where it is
    not sure, it is False."""
    size = interval.backup.segment_bytes
    if not can_be_told(name):
        return False

    def argv(folder: str) -> list[str]:
        return name_argv(folder, order.restore_command, size, name)

    try:
        shown, _, wanted = await _read(world, restorable, interval, order, beside, argv, tell)
        _, number, trouble = parse_search(shown)
    except (HostFailure, CommandTimeout, ValueError):
        return False
    return number == wanted > 0 and not trouble and not may_be_there(shown)


async def _read(
    world: World,
    restorable: Restorable,
    interval: Interval,
    order: RestoreOrder,
    beside: str,
    argv: Callable[[str], list[str]],
    tell: Callable[[int], None],
) -> tuple[str, str, int]:
    """What the program said and what it complained of, and how many segments it was to read."""
    host, size, begin = world.host(order.host), interval.backup.segment_bytes, interval.backup.start_lsn
    names = segments_on_the_way(restorable.wal, interval.backup.timeline, begin, interval.timeline, interval.end)
    # It has the name of a half-made copy: whatever ends this, the next apply removes it.
    folder = staging_directory(beside, world.workspace.token())

    def read(chunk: bytes) -> None:
        numbers = [int(line) for line in chunk.split() if line.isdigit()]
        if numbers:
            tell(numbers[-1])

    try:
        await host.make_directory(posixpath.join(folder, "pgtandem"))
        for name, text in order.files.texts:
            if name in _NEEDED:
                await host.write_file(posixpath.join(folder, name), text.encode())
        await host.write_file(posixpath.join(folder, SYSTEM_FILE), f"{restorable.system_identifier}\n".encode())
        done = await host.run(
            argv(folder),
            stdin=search_input(names, interval.timeline, segment_of(begin, size), size).encode(),
            deadline_seconds=_SECONDS,
            on_output=read,
        )
        return done.text, done.complaint, len(names)
    finally:
        with contextlib.suppress(PgtandemError):
            await asyncio.shield(host.remove_tree(folder))
