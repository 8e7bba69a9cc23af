"""The ways that WAL takes between hosts: opened where one is not as it should be, closed where none is needed."""

from collections.abc import Iterator

from pgtandem.model.facts import Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.model.topology import HostAddress
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.left_out import out_of_reach
from pgtandem.plan.wal_sources import ARCHIVE_HOST, Source, granted_on, node_of, sources_of
from pgtandem.topology.places import host_name


def open_ways(draft: Draft) -> None:
    """A step per node whose ways are not all open: the key, who accepts it, and the proof that ssh itself gets through.

    One after the other: two of them may write the same authorized_keys.
    """
    wish = draft.wish
    before: tuple[str, ...] = ()
    silent = {wish.node(name).host for name in out_of_reach(wish)}
    for name in cascade_order(wish):
        sources = sources_of(wish.topology, wish.node(name))
        if any(source.host in silent for source in sources):
            continue  # they stay as they are until all hosts can be asked
        if all((name, source.name, source.rights) in set(_open(draft)) for source in sources):
            continue
        where = ", ".join(_named(draft, source) for source in sources)
        verb = "push WAL to" if sources[0].push else "fetch WAL from"
        draft.add(
            Step(
                f"{name}.keys",
                StepKind.OPEN_WAL_WAYS,
                name,
                f"let {name} {verb} {where} over SSH",
                "A key of its own, made on its host, that can do nothing else; host keys are pinned.",
                Risk.CREATE,
                needs=("host.account", f"{wish.primary}.data", "archive.folder", *before),
                proves=tuple(Condition("wal_way_open", name, f"{source.name} {source.rights}") for source in sources),
                undo="pgtandem down --destroy, or remove the node: its key goes with it",
            )
        )
        before = (f"{name}.keys",)


def _open(draft: Draft) -> Iterator[tuple[str, str, str]]:
    for name, ways in draft.wish.observed.ways.items():
        for way in ways:
            if isinstance(way.answer, Known):
                yield name, way.source, way.answer.value


def _named(draft: Draft, source: Source) -> str:
    return host_name(source.host) or "this machine" if source.name == ARCHIVE_HOST else source.name


def close_ways(draft: Draft) -> tuple[str, ...]:
    """Keys of nodes that the topology file no longer has, or that need none any more. Returns the steps' ids."""
    topology, ids = draft.wish.topology, []
    for number, (url, keys) in enumerate(draft.wish.observed.keys.items(), 1):
        kept = {node.name for node in topology.nodes if node.host.url == url and sources_of(topology, node)}
        granted = tuple(name for name in keys.granted if name not in granted_on(topology, url))
        made = tuple(folder for folder in keys.made if node_of(folder) not in kept)
        if granted or made:
            step = revoke(
                f"keys.{number}.revoke", draft.wish.primary, url, granted, made, "They are not needed any more."
            )
            draft.add(step)
            ids.append(step.id)
    return tuple(ids)


def revoke(step_id: str, node: NodeName, url: str, granted: tuple[str, ...], made: tuple[str, ...], why: str) -> Step:
    """Takes keys back on one host: lines of authorized_keys (`granted`) and the folders of keys that were made there
    (`made`)."""
    names = ", ".join(dict.fromkeys((*granted, *map(node_of, made))))
    return Step(
        step_id,
        StepKind.REVOKE_KEYS,
        node,
        f"remove the SSH keys of {names} on {host_name(HostAddress(url)) or 'this machine'}",
        why,
        Risk.CREATE,
        undo="pgtandem apply, with the node in the topology file",
        names=(url, *(f"granted:{name}" for name in granted), *(f"made:{name}" for name in made)),
    )
