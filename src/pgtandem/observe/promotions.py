"""Promotions that happened, as the history files in the nodes' pg_wal tell them, by whomever they were made."""

import asyncio
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.topology import Node, Topology
from pgtandem.ports import HostFailure, HostUnreachable, World
from pgtandem.postgres.history import parse_history


@dataclass(frozen=True, slots=True)
class Promotion:
    """A timeline that began: which one was left and where, and the reason in the words of the server that wrote it.
    `at` (seconds since 1970) is the time of the oldest copy of its history file, and `node` has that copy: the one that
    was promoted, as long as it is still there."""

    timeline: Timeline
    left: Timeline
    lsn: Lsn
    reason: str
    at: float
    node: NodeName


@dataclass(frozen=True, slots=True)
class Promotions:
    """All that are known, in their order, and the nodes whose files could not be looked at, with the reason."""

    found: tuple[Promotion, ...]
    unseen: tuple[tuple[str, str], ...]


async def observe_promotions(topology: Topology, world: World) -> Promotions:
    """Looks at every node's files; no server needs to run."""
    looks = await asyncio.gather(*(_on_node(world, node) for node in topology.nodes))
    copies = [promotion for look in looks if not isinstance(look, str) for promotion in look]
    oldest: dict[Timeline, Promotion] = {}
    for copy in copies:
        if copy.timeline not in oldest or copy.at < oldest[copy.timeline].at:
            oldest[copy.timeline] = copy
    unseen = [(str(node.name), look) for node, look in zip(topology.nodes, looks, strict=True) if isinstance(look, str)]
    return Promotions(tuple(oldest[timeline] for timeline in sorted(oldest)), tuple(unseen))


async def _on_node(world: World, node: Node) -> Sequence[Promotion] | str:
    host, folder = world.host(node.host), posixpath.join(node.data_directory, "pg_wal")
    try:
        names = [name for name in await host.list_directory(folder) or () if name.endswith(".history")]
        if not names:
            return ()
        paths = [posixpath.join(folder, name) for name in names]
        # To the nanosecond: a standby may have its copy within the second of the promotion.
        said = await host.run(["stat", "-c", "%.9Y", "--", *paths], deadline_seconds=30)
        times = said.text.split()
        contents = await asyncio.gather(*(host.read_file(path) for path in paths))
    except (HostFailure, HostUnreachable) as failure:
        return failure.why or failure.what
    if len(times) != len(names):
        return said.complaint or "The times of its history files cannot be read."
    found = []
    for name, time, content in zip(names, times, contents, strict=True):
        promotion = _promotion(node.name, name, (content or b"").decode(errors="replace"), float(time))
        found += [promotion] if promotion else []
    return found


def _promotion(node: NodeName, name: str, text: str, at: float) -> Promotion | None:
    """What the last line of a history file says; None where it is none (one that is being written, say)."""
    try:
        timeline, switches = Timeline(int(name.partition(".")[0], 16)), parse_history(text)
    except ValueError:
        return None
    if not switches:
        return None
    last = [line for line in text.splitlines() if line.partition("#")[0].split()][-1]
    reason = last.split(None, 2)[2].strip() if len(last.split(None, 2)) > 2 else ""
    return Promotion(timeline, switches[-1].timeline, switches[-1].at, reason, at, node)
