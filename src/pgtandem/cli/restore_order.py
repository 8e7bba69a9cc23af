"""From what somebody asked for to a whole order of a restore: which backup, which host, which port, which folder."""

import os
import posixpath
import re
from datetime import UTC, datetime

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.lsn import Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.restore import Interval, RestoreOrder, Target, TargetKind
from pgtandem.model.topology import Node, Topology
from pgtandem.observe.restorable import Restorable
from pgtandem.plan.desired import Wish, desired_files, restore_command
from pgtandem.plan.intervals import contested
from pgtandem.plan.recovery import RESTORE_FILE, recorded, same_target
from pgtandem.plan.restored_places import (
    drill_directory,
    drill_note,
    refuse_shared_spaces,
    restored_name,
    restored_spaces,
)
from pgtandem.ports import World
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.versions import STANDBY_FLOOR
from pgtandem.postgres.wal_fetch import surely

_PORTS = 200
_FIRST_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


async def order_restore(
    topology: Topology,
    world: World,
    observed: Observed,
    restorable: Restorable,
    interval: Interval,
    target: Target,
    *,
    like: NodeName | None = None,
    directory: str | None = None,
    port: int | None = None,
    promote: bool = False,
    drill: float | None = None,
    replaces: bool = False,
) -> RestoreOrder:
    """The order for what `choose` chose; `replaces` where it is to take the node's place.

    Raises PgtandemError PT-3055 where the folder would be a node's own, PT-3052 where no node's host has the backup,
    PT-3007 for a port that only root may listen on, and PT-3057 where recovery would write into a tablespace of the
    cluster.
    """
    chain = restorable.backups.chain(interval.backup)
    assert chain is not None
    node = _like(topology, observed, chain[0].host.url, like)
    beside = drill_directory(node) if drill is not None else f"{node.data_directory}-restored-{_spelled(target)}"
    path = _whole_path(directory, node) if directory else beside
    _refuse_taken(topology, node, path)
    refuse_shared_spaces(topology, observed, node.host, chain[0])
    if port is not None:
        await _refuse_privileged(world, node, port)
    wish = Wish(topology, observed, node.name)
    files = desired_files(wish, node.name)
    return RestoreOrder(
        target=target,
        timeline=interval.timeline,
        chain=chain,
        expected_end=interval.sure_end,
        directory=path,
        host=node.host,
        address="127.0.0.1",
        port=port or await _port(topology, world, node, path),
        like=node.name,
        files=files,
        restore_command=surely(restore_command(topology, node.name)),
        floor=_floor(observed),
        promote=promote,
        drill=drill,
        spaces=restored_spaces(chain[0], path, _spelled(target) if replaces else None),
        wal=restored_name(node.wal_directory, _spelled(target)) if replaces and node.wal_directory else None,
        contested=contested(observed, interval),
        note=drill_note(node, path) if drill is not None else None,
        replaces=replaces,
        breaks_off=interval.missing if interval.hole and target.kind is TargetKind.LATEST else None,
    )


async def begun_before(world: World, order: RestoreOrder) -> tuple[Timeline, str] | None:
    """Timeline and last backup of a restore to the same target that an earlier run began in the same folder, None where
    there was none: the same command goes on with it. One to the end of the archive that came to its own end is over,
    unless it is to be promoted: the archive has gone on since."""
    host = world.host(order.host)

    async def text(name: str) -> str | None:
        content = await host.read_file(posixpath.join(order.directory, name))
        return None if content is None else content.decode(errors="replace")

    note = await text(RESTORE_FILE)
    value = recorded(note) or {}
    timeline, backups = value.get("timeline"), value.get("backups")
    if not same_target(note, order) or not isinstance(timeline, int) or not isinstance(backups, list) or not backups:
        return None
    if order.target.kind is TargetKind.LATEST and not order.promote:
        settings = parse_settings(await text(SETTINGS_FILE) or "")
        if "restore_command" not in settings and await text(RECOVERY_FILE) is None:
            return None
    return Timeline(timeline), str(backups[-1])


def _like(topology: Topology, observed: Observed, url: str, wanted: NodeName | None) -> Node:
    """The last node of the file on the host that has the backup: the first one is the busiest. Where every node will
    do, one whose host answers: after an accident not all do."""
    here = [node for node in topology.nodes if node.host.url == url]
    if topology.archive and topology.archive.host and topology.archive.host.url == url:
        # Every node has a way to the archive's host; one on it is nearer.
        answers = [node for node in topology.nodes if isinstance(observed.nodes[node.name].reachable, Known)]
        here = (here if wanted is None else []) or (answers if wanted is None else []) or list(topology.nodes)
    if wanted is not None:
        here = [node for node in here if node.name == wanted]
    if here:
        return here[-1]
    what = f"{wanted} is not on" if wanted else "no node is on"
    raise PgtandemError(
        "PT-3052",
        f"cannot restore: {what} the host that has the backup, {url}",
        why="The backup is unpacked where it lies, by the PostgreSQL of a node there.",
        next_step="its RESTORE.txt says how to restore it by hand elsewhere",
    )


def _spelled(target: Target) -> str:
    """The same target leads to the same folder, so that the same command goes on with it."""
    if target.moment is not None:
        return datetime.fromtimestamp(target.moment, UTC).strftime("%Y%m%dT%H%M%SZ")
    word = re.sub(r"[^A-Za-z0-9_.-]", "-", target.text)
    return word if target.kind in (TargetKind.LATEST, TargetKind.LSN) else f"{target.kind.value}-{word}"


def _whole_path(directory: str, node: Node) -> str:
    """A relative one begins where the command runs, which is a folder of this machine."""
    if node.host.is_local:
        return os.path.abspath(directory)
    if not directory.startswith("/"):
        raise PgtandemError(
            "PT-1006",
            f'"{directory}" is no folder on {node.host.url}',
            why="The restored server runs there, and a relative path begins in a folder of this machine.",
            next_step="name the folder by its absolute path: --into DIR",
        )
    return posixpath.normpath(directory)


def _refuse_taken(topology: Topology, like: Node, path: str) -> None:
    taken = [node.data_directory for node in topology.nodes if node.host == like.host]
    taken += [topology.archive.directory] if topology.archive else []
    for other in taken:
        if path == other or path.startswith(other.rstrip("/") + "/") or other.startswith(path.rstrip("/") + "/"):
            raise PgtandemError(
                "PT-3055",
                f"cannot restore into {path}",
                why=f"The cluster has {other} in use.",
                next_step="name a folder of its own: --into DIR",
            )


async def _port(topology: Topology, world: World, node: Node, path: str) -> int:
    """The port that an earlier run chose, or the next free one above the cluster's own."""
    host = world.host(node.host)
    if await host.read_file(posixpath.join(path, RESTORE_FILE)) is not None:
        text = await host.read_file(posixpath.join(path, SETTINGS_FILE)) or b""
        before = parse_settings(text.decode(errors="replace")).get("port", "")
        if before.isdigit():
            return int(before)
    own = [other.port for other in topology.nodes]
    for port in range(max(own) + 1, max(own) + _PORTS):
        if port <= 65535 and await host.port_holder("127.0.0.1", port) is None:
            return port
    raise PgtandemError("PT-3007", "no free port was found for the restored server", next_step="name one: --port PORT")


async def _refuse_privileged(world: World, node: Node, port: int) -> None:
    """Servers run as an account that is not root, and the host says from which port on it may listen (ip(7))."""
    said = (await world.host(node.host).read_file(_FIRST_PORT) or b"").decode(errors="replace").strip()
    if said.isdigit() and port < int(said):
        raise PgtandemError(
            "PT-3007",
            f"the restored server cannot listen on port {port}",
            why=f"On its host only root may listen on a port below {said}. Nothing was restored.",
            next_step="name another one: --port PORT",
        )


def _floor(observed: Observed) -> tuple[tuple[str, str], ...]:
    """Recovery stops where one of these is below what the WAL was written with (manual, 26.4.3)."""
    most: dict[str, int] = {}
    for node in observed.nodes.values():
        for name in STANDBY_FLOOR:
            text = node.control.settings.get(name, "") if isinstance(node.data, Known) and node.control else ""
            if text.isdigit():
                most[name] = max(most.get(name, 0), int(text))
    return tuple((name, str(value)) for name, value in sorted(most.items()))
