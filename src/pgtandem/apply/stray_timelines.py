"""Timelines that nobody may follow any more leave the archive's folder; nothing of them is removed."""

import hashlib
import posixpath
from collections.abc import Sequence
from contextlib import suppress

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Step
from pgtandem.observe.archived import archive_folder
from pgtandem.observe.paths import diverged_directory
from pgtandem.ports import Host, HostFailure, HostUnreachable
from pgtandem.postgres.archive_content import CHECKSUMS
from pgtandem.postgres.stream_scripts import STREAMED

#: In the folder of the system identifier: a folder for each timeline, by its number and the content of its history.
SET_ASIDE = "set-aside"

#: $1 is the folder, $2 where to; names by standard input. Each name is moved at once or not; what lies there already
#: with the same content is left out, and with other content an error.
_MOVE = """
cd "$1" && mkdir -p -m 700 "$2" && while read -r name; do
    case $name in */*) mkdir -p -m 700 "$2/${name%/*}" || exit 1 ;; esac
    if cmp -s "$name" "$2/$name"; then rm -f -- "$name"; else mv -n -- "$name" "$2/$name"; fi || exit 1
    if [ -e "$name" ]; then echo "$2/$name is there already, with other content" >&2; exit 1; fi
    rm -f -- "archive_status/$name.ready" "archive_status/$name.done" || exit 1
done && sync . "$2"
"""
_SECONDS = 600.0


async def set_timelines_aside(context: Context, step: Step) -> str:
    """Raises PgtandemError PT-4002 where the primary is on another timeline by now."""
    system, current, *stray = step.names
    session = await context.session(step.node)
    server = await session.observe(None)
    if server.in_recovery or server.timeline != int(current):
        raise PgtandemError(
            "PT-4002",
            f"{step.node} is not the primary on timeline {current} any more",
            why="Nothing was set aside.",
            next_step="run the same command again: it looks anew",
        )
    archive = context.topology.archive
    assert archive is not None
    folder, told = archive_folder(archive, system), []
    hosts = [context.world.host(address) for address in context.topology.archive_hosts]
    for timeline in map(int, stray):
        history = f"{timeline:08X}.history"
        texts = [text for host in hosts if (text := await host.read_file(posixpath.join(folder, history)))]
        await _out_of_the_nodes(context, step.node, timeline)
        count = sum([await _out_of_the_archive(host, folder, timeline, texts) for host in hosts])
        told.append(f"{count} file{'' if count == 1 else 's'} of timeline {timeline}")
    return f"{' and '.join(told)}, now in {posixpath.join(folder, SET_ASIDE)}"


async def _out_of_the_nodes(context: Context, primary: NodeName, timeline: int) -> None:
    """A node that was on the timeline, or that recovered from the archive, has files of it in its pg_wal, and would
    find the timeline there as well. The number is given out again by the next promotion: then they would be in its way.

    They go to where what the node alone had is kept, or are removed where the same lies there. The server does not use
    them, whether it runs or not: they are of a timeline that it is not on. A node that cannot be reached keeps its own.
    """
    for node in context.topology.nodes:
        wal = posixpath.join(node.data_directory, "pg_wal")
        with suppress(HostUnreachable):
            host = context.world.host(node.host)
            names = await host.list_directory(wal) or ()
            strays = [name for name in names if name.startswith(f"{timeline:08X}")]
            if node.name == primary or not strays:
                continue
            await _move(host, wal, await _kept(host, node.data_directory, Timeline(timeline)), strays)


async def _kept(host: Host, data: str, timeline: Timeline) -> str:
    """Where WAL of this timeline is kept already, or is to be."""
    new = diverged_directory(data, timeline, "")
    names = await host.list_directory(posixpath.dirname(data)) or ()
    there = [name for name in names if name.startswith(posixpath.basename(new).removesuffix("all"))]
    return posixpath.join(posixpath.dirname(data), sorted(there)[-1]) if there else new


async def _out_of_the_archive(host: Host, folder: str, timeline: int, texts: list[bytes]) -> int:
    prefix = f"{timeline:08X}"
    stored = await host.list_directory(folder)
    beneath = [
        posixpath.join(place, name)
        for place in (CHECKSUMS, STREAMED)
        for name in await host.list_directory(posixpath.join(folder, place)) or ()
        if name.startswith(prefix)
    ]
    # The history file last: as long as that is there, the next run knows that there is something left to do.
    names = [
        *sorted(name for name in stored or () if name.startswith(prefix) and not name.endswith(".history")),
        *sorted(beneath),
        *(name for name in stored or () if name == f"{prefix}.history"),
    ]
    if not names:
        return 0
    which = hashlib.sha256(b"".join(texts[:1])).hexdigest()[:8]
    target = posixpath.join(SET_ASIDE, f"{prefix}-{which}")
    await _move(host, folder, target, names)
    return len(names)


async def _move(host: Host, folder: str, target: str, names: Sequence[str]) -> None:
    lines = "".join(f"{name}\n" for name in names).encode()
    done = await host.run(["sh", "-c", _MOVE, "sh", folder, target], stdin=lines, deadline_seconds=_SECONDS)
    if done.exit_code:
        raise HostFailure(host.name, f"could not move the files of a timeline out of {folder}", done.complaint)
