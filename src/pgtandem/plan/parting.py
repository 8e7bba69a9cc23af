"""Nodes whose WAL is not the beginning of the primary's: refused, since following would throw away what they have."""

from collections.abc import Iterator

from pgtandem.errors import Problem
from pgtandem.model.facts import Unknown
from pgtandem.model.lsn import Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ObservedNode
from pgtandem.plan.desired import Wish
from pgtandem.plan.roles import timeline_of
from pgtandem.plan.timelines import Parted, parted
from pgtandem.postgres.segments import segment_name


def parting_findings(wish: Wish, name: NodeName, node: ObservedNode) -> Iterator[tuple[str, Problem]]:
    """A node whose WAL went on where the primary's timeline left it cannot simply follow."""
    primary = wish.seen(wish.primary).running
    how = parted(node, primary) if primary is not None and timeline_of(node) <= primary.timeline else None
    if how is None or primary is None:
        return
    if isinstance(how, Parted) and how.timeline == primary.timeline:
        yield "PT-3041", _ahead(wish, name, how)
        return
    if isinstance(how, Unknown):
        why = f"It last was a primary, and {how.reason}."
    else:
        why = f"Its WAL goes beyond {how.at}, where {wish.primary} left timeline {how.timeline}."
    yield "PT-3041", Problem(name, f"{name} has parted from {wish.primary}", why, f"pgtandem rejoin {name}")


def _ahead(wish: Wish, name: NodeName, how: Parted) -> Problem:
    """Which of the two counts only a person can say. What the primary has archived since then would be replayed by
    the other one when it is promoted, in place of its own WAL."""
    assert how.at is not None
    aside, control = "", wish.seen(wish.primary).control or wish.seen(name).control
    if wish.topology.archives and control is not None:
        size = control.wal_segment_bytes
        first = segment_name(Timeline(how.timeline), how.at.position // size, size)
        aside = f"move {first} and what follows it out of the archive, "
    return Problem(
        name,
        f"{name} has WAL that {wish.primary} never had",
        f"{name} has it up to {how.reached}, {wish.primary} came to {how.at} of the same timeline: {wish.primary} was "
        "a standby that somebody started as a primary, or came back with older data. Commits may be missing on it.",
        f"copy the data directory of {name} first. If its rows count: stop {wish.primary}, {aside}pgtandem failover "
        f"--to {name}, then pgtandem rejoin {wish.primary} --copy; if they may be thrown away: pgtandem rejoin {name}",
    )
