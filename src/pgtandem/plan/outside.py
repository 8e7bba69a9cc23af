"""Folders outside the data directory: pg_wal on another disk, and tablespaces that users have made."""

import shlex
from collections.abc import Iterator

from pgtandem.errors import Problem
from pgtandem.model.facts import Absent
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.topology import Topology
from pgtandem.plan.desired import Wish

Finding = tuple[str, Problem]


def places_to_fill(wish: Wish, name: NodeName) -> tuple[str, ...]:
    """What making a node's data directory fills outside of it."""
    own, primary = wish.node(name).wal_directory, wish.seen(wish.primary).directory
    return (*((own,) if own else ()), *(primary.tablespaces if primary and name != wish.primary else ()))


def places_to_empty(topology: Topology, observed: Observed, name: NodeName, node: ObservedNode) -> tuple[str, ...]:
    """What half-made copies have filled, without anything that a data directory of the same host uses."""
    host = topology.node(name).host
    used = {
        place
        for other in topology.nodes
        if other.host == host and (data := observed.nodes[other.name].directory)
        for place in data.outside.values()
    }
    return tuple(place for place in node.claimed if place not in used)


def outside_findings(wish: Wish, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    if isinstance(node.data, Absent):
        yield from _cannot_be_had(wish, name, node)
    elif node.directory is not None:
        yield from _wal_elsewhere(wish, name, node)


def immovable(wish: Wish, name: NodeName) -> Iterator[Finding]:
    """PT-3023 for what a new copy cannot take the place of while the old data keeps it (`apply/outside.py: set_aside`):
    a folder that a disk is mounted on cannot be renamed. To be known before anything is stopped."""
    node, data = wish.seen(name), wish.node(name).data_directory
    filled = places_to_fill(wish, name)
    for link, place in node.directory.outside.items() if node.directory else ():
        if place in node.mounted and place in filled:
            what = "WAL directory" if link == "pg_wal" else "tablespace"
            yield (
                "PT-3023",
                Problem(
                    name,
                    f"the {what} in {place} cannot make room for a new copy of {name}",
                    "A disk is mounted there, so that the old data cannot be kept beside the new copy: that folder "
                    "cannot be renamed.",
                    f"stop {name}, as its account move what is in {place} elsewhere and {data} too (mv "
                    f"{shlex.quote(data)} {shlex.quote(data + '.before')}), then pgtandem apply: it is copied anew",
                ),
            )


def _cannot_be_had(wish: Wish, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    own = wish.node(name).wal_directory
    for place in places_to_fill(wish, name):
        user = None if place == own else _tablespace_user(wish, name, place)
        obstacle = node.blocked.get(place)
        if user is not None:
            yield (
                "PT-3023",
                Problem(
                    name,
                    f"the tablespace in {place} cannot be copied to {name}: it is that of {user} on the same host",
                    "A tablespace has the same path on every node, so a host can have it once.",
                    f"run {name} on another host, or move what is in the tablespace (ALTER TABLE ... SET TABLESPACE "
                    "pg_default) and drop it",
                ),
            )
        elif obstacle is not None:
            what = f"WAL directory {place} of {name}" if place == own else f"the tablespace in {place}"
            elsewhere = (
                f"name another folder as nodes.{name}.wal_directory" if place == own else "move away what is there"
            )
            yield (
                "PT-3023",
                Problem(
                    name,
                    f"{what} cannot be made" if place == own else f"{what} cannot be copied to {name}",
                    obstacle.why,
                    f"{obstacle.remedy}   or {elsewhere}" if obstacle.remedy else elsewhere,
                ),
            )


def _tablespace_user(wish: Wish, name: NodeName, place: str) -> NodeName | None:
    host = wish.node(name).host
    for other in wish.topology.nodes:
        data = wish.seen(other.name).directory
        if other.name != name and other.host == host and data and place in data.outside.values():
            return other.name
    return None


def _wal_elsewhere(wish: Wish, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    """pg_wal is moved by hand: it can only be done while the server is stopped, and it is all the WAL that there is."""
    assert node.directory is not None
    data = wish.node(name).data_directory
    wanted, found = wish.node(name).wal_directory, node.directory.outside.get("pg_wal")
    if wanted == found:
        return
    inside = shlex.quote(f"{data}/pg_wal")
    if wanted is None:
        move = f"rm {inside} && mv {shlex.quote(found or '')} {inside}"
        keep = f'write wal_directory = "{found}" under [nodes.{name}]'
    elif found is None:
        move = f"mv {inside} {shlex.quote(wanted)} && ln -s {shlex.quote(wanted)} {inside}"
        keep = f"remove wal_directory under [nodes.{name}]"
    else:
        move = f"mv {shlex.quote(found)} {shlex.quote(wanted)} && ln -sfn {shlex.quote(wanted)} {inside}"
        keep = f'write wal_directory = "{found}" under [nodes.{name}]'
    yield (
        "PT-3024",
        Problem(
            name,
            f"WAL of {name} is written in {found or f'{data}/pg_wal'}, and the topology file says "
            f"{wanted or 'in the data directory'}",
            "pgtandem does not move it: that takes a stopped server.",
            f"{keep}   or stop {name} and move it as its account: {move}",
        ),
    )
