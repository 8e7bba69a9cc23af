"""Timelines in the archive that are newer than the primary's and that it does not come from.

They are left by a node that was a primary beside the real one, or by a promotion that was taken back. A server that
starts as a standby looks for the latest timeline in the archive (manual, 26.3.5; recovery_target_timeline = latest),
finds such a one, and stops: "requested timeline 6 does not contain minimum recovery point". So they are set aside.
"""

from pgtandem.model.facts import Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.desired import Wish
from pgtandem.plan.draft import Draft
from pgtandem.plan.roles import timeline_of


def may_lead_astray(wish: Wish) -> bool:
    """Whether a standby that is started now may follow such a timeline, and the primary, which is to say so, does not
    run yet: it is started first, and the standby once they are set aside."""
    seen, archive = wish.seen(wish.primary), wish.observed.archive
    if wish.topology.archive is None or seen.running is not None or not isinstance(archive, Known):
        return False
    return any(timeline > timeline_of(seen) > 0 for timeline in archive.value.newer)


def set_timelines_aside(draft: Draft, given_up: NodeName | None = None, needs: tuple[str, ...] = ()) -> None:
    """The step `PRIMARY.timelines`, which every start of a standby has to wait for. `given_up` is a node whose own
    timeline is given up by this plan; it must not archive any more when that step comes, for which there are `needs`.
    """
    wish = draft.wish
    top, archive = wish.seen(wish.primary).running, wish.observed.archive
    if wish.topology.archive is None or top is None or top.in_recovery or not isinstance(archive, Known):
        return
    # The loser of two primaries goes on archiving until it is stopped: its history file may only just arrive.
    own = {timeline_of(wish.seen(given_up))} if given_up else set()
    primaries = [name for name in wish.observed.primaries() if name not in (wish.primary, given_up)]
    stray = sorted(timeline for timeline in {*archive.value.newer, *own} if timeline > top.timeline)
    if not stray or primaries:
        return
    many, told = len(stray) > 1, ", ".join(map(str, stray))
    those = "them" if many else "it"
    draft.add(
        Step(
            f"{wish.primary}.timelines",
            StepKind.SET_TIMELINES_ASIDE,
            wish.primary,
            f"set timeline{'s' if many else ''} {told} aside in the archive",
            f"{wish.primary} is on timeline {top.timeline} and does not come from {those}; a standby that starts would "
            f"follow {those}.",
            Risk.CREATE,
            needs=needs,
            expects=(Condition("is_primary", wish.primary),),
            undo="move what is in the archive's folder set-aside back to where it was",
            names=(top.system_identifier, str(top.timeline), *map(str, stray)),
        )
    )
