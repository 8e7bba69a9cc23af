"""Nodes that the command line names."""

import difflib
from collections.abc import Sequence

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup, Backups
from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.model.topology import Topology
from pgtandem.plan.groups import HERE, hosts, zones
from pgtandem.topology.places import host_name


def named_node(topology: Topology, name: str | None) -> NodeName | None:
    """The node of that name, None for None. Raises PgtandemError PT-1006 for one that the topology does not have."""
    if name is None or name in topology.names:
        return None if name is None else NodeName(name)
    close = difflib.get_close_matches(name, topology.names, 1)
    raise PgtandemError(
        "PT-1006",
        f'cluster {topology.cluster} has no node "{name}"',
        next_step=f'did you mean "{close[0]}"?' if close else f"its nodes are {', '.join(topology.names)}",
    )


def named_backup(backups: Backups, label: str) -> Backup:
    """Raises PgtandemError PT-1006 for a label that no backup has."""
    for backup in backups.kept:
        if backup.label == label:
            return backup
    known = ", ".join(backup.label for backup in backups.kept[-5:])
    next_step = f"pgtandem backup list   (the last ones are {known})" if known else "there is none yet: pgtandem backup"
    raise PgtandemError("PT-1006", f'there is no backup "{label}"', next_step=next_step)


_DOWN = "-down"


def named_failures(topology: Topology, words: Sequence[str]) -> tuple[NodeName, ...]:
    """The nodes that words such as "db1-down", "host:10.0.0.1-down" and "zone:tokyo-a-down" mean together, in the order
    of the file; last, where commits may wait for it, the archive's stream. Raises PgtandemError PT-1006 for a word that
    means none."""
    means: dict[str, tuple[NodeName, ...]] = {f"{name}{_DOWN}": (name,) for name in topology.names}
    for group in (*hosts(topology), *zones(topology)):
        means[f"{group.kind}:{group.name}{_DOWN}"] = group.nodes
        if group.kind == "host" and group.name == HERE:
            means[f"host:local{_DOWN}"] = group.nodes
    for host in topology.nodes:
        # By its address among the nodes too, where that is another than the one in the URL.
        if not host.host.is_local:
            nodes = tuple(node.name for node in topology.nodes if node.host == host.host)
            means.setdefault(f"host:{host.address}{_DOWN}", nodes)
            means.setdefault(f"host:{host.host.url}{_DOWN}", nodes)
    archive = NodeName(STREAM_NAME)
    if topology.stream_confirms and topology.archive is not None and topology.archive.host is not None:
        there = topology.archive.host
        for word, named in means.items():
            if word.startswith("host:") and topology.node(named[0]).host == there:
                means[word] = (*named, archive)
        means[f"archive{_DOWN}"] = (archive,)
        means.setdefault(f"host:{HERE if there.is_local else host_name(there)}{_DOWN}", (archive,))
    down: set[NodeName] = set()
    for word in words:
        if word not in means:
            raise _no_failure(topology, word, means)
        down |= {*means[word]}
    return tuple(name for name in (*topology.names, archive) if name in down)


def _no_failure(topology: Topology, word: str, known: dict[str, tuple[NodeName, ...]]) -> PgtandemError:
    things, thing = [name.removesuffix(_DOWN) for name in known], word.removesuffix(_DOWN)
    named = [name for name in things if name == thing or name.partition(":")[2] == thing]
    close = named or difflib.get_close_matches(thing, things, 1)
    return PgtandemError(
        "PT-1006",
        f'"{word}" is no failure of cluster {topology.cluster}',
        next_step=f'did you mean "{close[0]}{_DOWN}"?' if close else f"there are {', '.join(known)}",
    )
