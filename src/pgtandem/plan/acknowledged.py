"""Who must be seen before a standby is promoted, so that no acknowledged commit of the old primary is lost.

A commit was acknowledged when k of the n that could confirm had it (any k; of "first k" nobody knows which k were
connected). Any n - k + 1 of them include one of those k: of the standbys among them the one that received the most has
every such commit. The archive's stream may be one of the n. It is seen where its host can be asked; and where it is
needed, the successor has to be shown to have all that was streamed, after nobody streams there any more.
docs/decisions/0017 and 0044.
"""

from collections.abc import Set as AbstractSet

from pgtandem.model.candidates import Check, Verdict
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Durability, Method, Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.desired import settings_in_place
from pgtandem.postgres.sync_names import confirmations, listed_names

_BRING_BACK = (
    "bring another standby back, or wait until one that was just started has replayed what it has; then once more"
)
_TAKE_OUT = (
    "; one that is lost for good: take it out of the topology file, and what it alone had confirmed is lost with it"
)
_ARCHIVE_BACK = (
    "make the archive's host reachable; where it is lost for good, add --the-archive-is-lost: commits that were "
    "acknowledged to clients, and that the archive alone had, are lost then"
)


@dataclass(frozen=True, slots=True)
class Quorum:
    """Of one that may have been the primary: who could confirm its commits, by the names in synchronous_standby_names,
    how many had to, and who of them is seen: it is known how far they have WAL. `archive` says why the archive's stream
    is not, "" where it is or does not count. `by_names`: what was in place there is not seen, so the file alone
    says who could."""

    old: NodeName
    could: tuple[str, ...]
    count: int
    seen: tuple[str, ...]
    archive: str = ""
    by_names: bool = False

    @property
    def needed(self) -> int:
        return len(self.could) - self.count + 1

    @property
    def holds(self) -> bool:
        return len(self.seen) >= self.needed

    @property
    def needs_stream(self) -> bool:
        """Whether the standbys that are seen are enough only together with the archive's stream."""
        return STREAM_NAME in self.could and sum(name != STREAM_NAME for name in self.seen) < self.needed


def quorum(
    topology: Topology, observed: Observed, old: NodeName, sure: AbstractSet[NodeName], *, archive_lost: bool = False
) -> Quorum | None:
    """None where no commit of `old` waited for anybody. `sure` are the standbys of which it is known how far they have
    WAL. With `archive_lost` somebody takes the risk that the archive alone had confirmed something."""
    replication = topology.replication
    if replication.synchronous.method is Method.NONE or replication.durability in (Durability.OFF, Durability.LOCAL):
        return None
    could = _could(topology, observed, old)
    if not could:
        return None
    count, could = _confirmed(observed, old, min(replication.synchronous.count, len(could)), could)
    away = _not_seen(observed) if STREAM_NAME in could and not archive_lost else ""
    seen = [name for name in could if name in sure or (name == STREAM_NAME and not away)]
    return Quorum(old, could, count, tuple(seen), away, observed.nodes[old].directory is None)


def acknowledged_check(found: Quorum) -> Check:
    """Whether those that are seen must include one with every acknowledged commit."""
    what = "standbys" if STREAM_NAME not in found.could else "that could confirm for"
    value = f"{len(found.seen)} of {len(found.could)} {what}{' of' if what == 'standbys' else ''} {found.old} are seen"
    if found.archive:
        value += f", and not the archive: {found.archive}"
    elif STREAM_NAME in found.could:
        value += ", the archive is one of them"
    return Check(
        "acknowledged commits",
        value,
        f"{found.needed}, so that one of them has every one",
        Verdict.GOOD if found.holds else Verdict.BAD,
        _ARCHIVE_BACK
        if found.archive and len(found.seen) + 1 >= found.needed
        else f"{_BRING_BACK}{_TAKE_OUT if found.by_names else ''}",
    )


def _not_seen(observed: Observed) -> str:
    """Why nobody can tell what was streamed to the archive; "" where that can be told."""
    stream = observed.stream
    if isinstance(stream, Unknown):
        return stream.reason
    if not isinstance(stream, Known) or not stream.value.there:
        return "nothing of its stream is where the topology file has the archive"
    return ""


def _could(topology: Topology, observed: Observed, old: NodeName) -> tuple[str, ...]:
    """By the topology file; and the stream where the files of others still name it, which were written with those of
    `old`, since a change of the topology file may not have been applied yet."""
    could = topology.confirmers(old)
    named = (settings_in_place(node).get("synchronous_standby_names", "") for node in observed.nodes.values())
    if STREAM_NAME not in could and any(STREAM_NAME in listed_names(text) for text in named):
        return (*could, STREAM_NAME)
    return could


def _confirmed(observed: Observed, old: NodeName, count: int, could: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """How many confirmations a commit of `old` had at least, and who could give one: by the topology file, and by what
    was in place, which may be less where a change of the file was not applied yet, or not everywhere. The own file of
    `old` tells that; where nobody can look at it, the others' tell how many."""
    own = settings_in_place(observed.nodes[old]).get("synchronous_standby_names", "")
    if observed.nodes[old].directory is not None:
        if own:
            return min(count, confirmations(own)), tuple(dict.fromkeys((*could, *listed_names(own))))
        return count, could
    others = [settings_in_place(node).get("synchronous_standby_names", "") for node in observed.nodes.values()]
    return min([count, *(confirmations(text) for text in others if text)]), could
