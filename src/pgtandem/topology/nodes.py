"""The tables [nodes.NAME]."""

import posixpath
import re
from collections.abc import Mapping

from pgtandem.model.names import NodeName, slot_name
from pgtandem.model.topology import Node
from pgtandem.model.value import dataclass
from pgtandem.topology.encryption import read_file
from pgtandem.topology.keys import NODE, keys_of
from pgtandem.topology.places import read_address, read_directory, read_host
from pgtandem.topology.problems import Problems
from pgtandem.topology.sections import Cluster
from pgtandem.topology.table import Table
from pgtandem.topology.toml import describe, quote_key

_NODE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_DELAY = re.compile(r"([0-9]{1,10}) ?(ms|s|min|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_DELAY = 2**31 - 1
_RULE = "A name is 1 to 50 lower-case letters, digits, dashes and underscores and begins with a letter."


@dataclass(frozen=True, slots=True)
class Nodes:
    """What the table `nodes` has. `declared` are all names, those of unreadable nodes included."""

    declared: tuple[NodeName, ...] = ()
    read: tuple[Node, ...] = ()
    settings: Mapping[NodeName, Mapping[str, object]] | None = None


def read_nodes(problems: Problems, values: Mapping[str, object], folder: str, cluster: Cluster) -> Nodes:
    """All nodes in the file's order. Their parameters are left for `Judge`, which needs the version."""
    if not values:
        problems.add(("nodes",), "there is no node", "A cluster has at least one.", "write a table [nodes.db1]")
    nodes: list[Node] = []
    settings: dict[NodeName, Mapping[str, object]] = {}
    by_slot: dict[str, str] = {}
    for name, inner in values.items():
        path = ("nodes", name)
        if not isinstance(inner, dict):
            problems.add(path, f"{describe(inner)} is not a table", *_about_loose_key(name))
            continue
        if not _NODE_NAME.fullmatch(name):
            problems.add(path, f"{describe(name)} is not a name of a node", _RULE, _better_name(name))
        elif (other := by_slot.setdefault(slot_name(NodeName(name)), name)) != name:
            what = f'"{name}" and "{other}" would share the replication slot "{slot_name(NodeName(name))}"'
            problems.add(path, what, "In the name of a slot a dash becomes an underscore.", "rename one of the two")
        table = Table(problems, path, inner, NODE)
        nodes.append(_read_node(table, NodeName(name), folder, cluster))
        settings[NodeName(name)] = table.values("parameters") or {}
    return Nodes(tuple(NodeName(name) for name in values), tuple(nodes), settings)


def _read_node(table: Table, name: NodeName, folder: str, cluster: Cluster) -> Node:
    upstream = table.text("upstream")
    host = read_host(table)
    port = table.integer("port") or 0
    lowest = 1024 if host.is_local else 1
    if table.sound("port") and not lowest <= port <= 65535:
        why = "Ports below 1024 are kept for the system." if 0 < port < lowest else ""
        table.report("port", f"port {describe(port)} is not between {lowest} and 65535", why, "for example port = 5432")
    default = posixpath.join(folder, "data", name)
    if not host.is_local:
        default = f"/var/lib/postgresql/{cluster.major or 0}/{cluster.name or name}"
    return Node(
        name=name,
        port=port,
        data_directory=read_directory(table, "data_directory", folder, default, host),
        host=host,
        address=read_address(table, host),
        upstream=None if upstream is None else NodeName(upstream),
        zone=table.text("zone"),
        apply_delay=_read_delay(table),
        certificate=read_file(table, "certificate"),
        certificate_key=read_file(table, "certificate_key"),
        wal_directory=read_directory(table, "wal_directory", folder, "", host) if table.text("wal_directory") else None,
    )


def _read_delay(table: Table) -> str | None:
    """As it was written, but for a blank; None for no delay. PostgreSQL would take a bare number for milliseconds."""
    text = table.text("apply_delay")
    if text is None:
        return None
    found = _DELAY.fullmatch(text.strip())
    if not found:
        what = f"{describe(text)} is not a whole number with a unit"
        table.report("apply_delay", what, "The units are ms, s, min, h and d.", 'for example apply_delay = "1h"')
        return None
    milliseconds = int(found[1]) * _MILLISECONDS[found[2]]
    if milliseconds > _LONGEST_DELAY:
        table.report("apply_delay", f"{describe(text)} is more than 24 days", "PostgreSQL allows no more.")
    return f"{int(found[1])}{found[2]}" if milliseconds else None


def _about_loose_key(name: str) -> tuple[str, str]:
    """Why and what next for a key that stands under [nodes] itself."""
    if name in keys_of(NODE):
        return "Every node has a table of its own.", f"write {name} under [nodes.db1]"
    return "Every node has a table of its own.", f"write [nodes.{quote_key(name)}]"


def _better_name(name: str) -> str:
    better = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:50]
    return f"for example [nodes.{better}]" if _NODE_NAME.fullmatch(better) else "for example [nodes.db1]"
