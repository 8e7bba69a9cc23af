"""Who becomes the primary: the note that says so, the promotion, and taking a stopped primary's fence away again.

The order keeps two primaries from ever being made. A primary that is to hand over gets standby.signal first and is
stopped then: whatever starts it afterwards starts a standby. The node that is to follow it gets a note in its data
directory before it is told to promote itself; from then on, until it is seen on a new timeline, no rule lets anybody
else be the primary. Without such a note nobody was told, so that the stopped primary may go on.
"""

import json

from pgtandem.model.facts import Known, Unknown
from pgtandem.model.lsn import Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Marker
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.plan.changes import start
from pgtandem.plan.draft import Draft
from pgtandem.plan.order import ordered
from pgtandem.plan.pgbouncers import lead_to_new_primary
from pgtandem.plan.roles import is_fenced, timeline_of

PROMOTION_FILE = "pgtandem/promotion.json"


def render_promotion(name: NodeName, timeline: int) -> str:
    """The note: this node was chosen to be promoted when it was on this timeline."""
    return json.dumps({"node": name, "timeline": timeline}) + "\n"


def parse_promotion(text: str | None, marker: Marker | None) -> Timeline | None:
    """The note's timeline; None where there is no note, or one that came with a copy of another node."""
    try:
        value = json.loads(text or "null")
        return Timeline(int(value["timeline"])) if marker is not None and value["node"] == marker.node else None
    except (ValueError, KeyError, TypeError):
        return None


def promotion_pending(draft: Draft) -> bool:
    """Whether the primary is one that was chosen and is a standby still."""
    seen = draft.wish.seen(draft.wish.primary)
    data = seen.directory
    if seen.running is not None:
        return seen.running.in_recovery
    return data is not None and data.standby_signal and not is_fenced(seen)


def finish_promotion(draft: Draft) -> Plan:
    """Only that: everything else is planned when the new primary is there."""
    name = draft.wish.primary
    if draft.wish.seen(name).running is None:
        start(draft, name, "is_standby", ())
    else:
        promote(draft, name, (), "It was chosen to be the primary, and nobody else can be it until it is.")
        hand_in_wal(draft, name)
        away = [other for other in draft.wish.topology.names if draft.wish.seen(other).running is None]
        lead_to_new_primary(draft, away)
    return Plan(primary=name, steps=ordered(draft.steps), notes=tuple(draft.notes), look_again=True)


def promote(
    draft: Draft,
    name: NodeName,
    needs: tuple[str, ...],
    why: str,
    expects: tuple[Condition, ...] = (),
    after: tuple[str, ...] = (),
) -> None:
    latest = max(timeline_of(node) for node in draft.wish.observed.nodes.values())
    draft.add(
        Step(
            f"{name}.promote",
            StepKind.PROMOTE,
            name,
            f"promote {name}",
            why,
            Risk.RELOAD,
            needs=needs,
            expects=expects,
            proves=(Condition("is_primary", name),),
            names=(str(latest),),
            after=after,
        )
    )


def settle_wal(draft: Draft, name: NodeName) -> None:
    """A primary archives every segment that is not known to be archived; of earlier timelines it may hold last segments
    that were never finished. The archive has them from whoever left that timeline, or never needs them: the segment
    of the same number on the next timeline begins with what was in them."""
    if not draft.wish.topology.archives:
        return
    draft.add(
        Step(
            f"{name}.settle",
            StepKind.SETTLE_WAL,
            name,
            f"keep {name} from archiving unfinished segments of earlier timelines",
            "Another copy of them may be in the archive, and the archiver would stop there for good.",
            Risk.CREATE,
            names=(str(timeline_of(draft.wish.seen(name))),),
        )
    )


def hand_in_wal(draft: Draft, name: NodeName) -> None:
    """What the old primary had not archived when it went, its successor has: else the archive has a hole for good."""
    names = _for_archive(draft, name)
    if not names:
        return
    draft.add(
        Step(
            f"{name}.hand_in",
            StepKind.HAND_IN_WAL,
            name,
            "archive what the archive lacks of the WAL before the promotion",
            f"The old primary may not have archived all of it; {name} has it.",
            Risk.CREATE,
            needs=(f"{name}.promote",),
            names=names,
        )
    )


def _for_archive(draft: Draft, name: NodeName) -> tuple[str, ...]:
    """What tells of its segments, and who cannot be asked what is archived: the archive, or where another tool keeps it
    the nodes whose own lists of what waits cannot be read. () where nothing is archived."""
    control, observed = draft.wish.seen(name).control, draft.wish.observed
    if not draft.wish.topology.archives or control is None:
        return ()
    away: tuple[str, ...]
    if draft.wish.topology.archive is None:
        away = tuple(str(one) for one, node in observed.nodes.items() if one != name and node.directory is None)
    else:
        away = ("archive",) if isinstance(observed.archive, Unknown) else ()
    return (control.system_identifier, str(control.wal_segment_bytes), *away)


def unfence(draft: Draft) -> None:
    """Takes standby.signal away from the primary: a role change was cut off before anybody was promoted."""
    name = draft.wish.primary
    seen = draft.wish.seen(name)
    runs = seen.running is not None and not seen.running.in_recovery
    if seen.directory is None or not seen.directory.standby_signal or not (runs or is_fenced(seen)):
        return
    stopping = isinstance(seen.postmaster, Known) and not runs
    draft.add(
        Step(
            f"{name}.unfence",
            StepKind.UNFENCE,
            name,
            f"let {name} be the primary again",
            "A switchover or restore was cut off before anybody was promoted: it has every row, and would start as a "
            "standby.",
            Risk.RELOAD,
            expects=(Condition("is_primary", name),) if runs else () if stopping else (Condition("stopped", name),),
        )
    )


def forget_promotions(draft: Draft) -> None:
    """The notes go at the very end: until then, a role change is not finished."""
    for name in draft.wish.topology.names:
        data = draft.wish.seen(name).directory
        if data is None or data.promotion is None:
            continue
        draft.add(
            Step(
                f"{name}.forget",
                StepKind.FORGET_PROMOTION,
                name,
                "end the role change" if name == draft.wish.primary else f"forget that {name} was to be promoted",
                f"{draft.wish.primary} is the primary.",
                Risk.CREATE,
                needs=tuple(step.id for step in draft.steps),
                names=_for_archive(draft, name) if name == draft.wish.primary else (),
            )
        )
