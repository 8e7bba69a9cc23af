"""From any state to the wished one: building, completing a half-built cluster, and changing a running one.

The plan is a difference: every wished thing that is seen to be there leads to no step. What cannot be seen yet (a
stopped server's roles, say) leads to a plan that ends with "look again". Order: programs, primary, archive, role,
slots, standbys from the top of the cascade down, the archive's proof, and the synchronous settings last, because a
commit must never wait for a standby that does not exist yet.
"""

from pgtandem.errors import PgtandemError
from pgtandem.model.observed import Observed
from pgtandem.model.plan import WARNING, Plan
from pgtandem.model.topology import Topology
from pgtandem.plan.adopting import replaced
from pgtandem.plan.archiving import archive_notes, archive_taken_away, backup_afterwards, check_archive
from pgtandem.plan.between_hosts import host_notes
from pgtandem.plan.certificates import plan_certificates
from pgtandem.plan.cut_off import cut_off_restores, refuse_half_restored
from pgtandem.plan.desired import (
    Wish,
    confirming,
)
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.durability import durability_in_words, single_failures
from pgtandem.plan.former import former_nodes
from pgtandem.plan.hosts import (
    create_account,
    goes_on,
    half_notes,
    missing_programs,
    reachable_programs,
    remove_leftovers,
)
from pgtandem.plan.keeper import keeper_remarks
from pgtandem.plan.layout import register, remarks
from pgtandem.plan.left_out import take_out
from pgtandem.plan.merging import finish_merges
from pgtandem.plan.order import ordered
from pgtandem.plan.pgbouncers import point_pgbouncers
from pgtandem.plan.primary import plan_primary, restart_primary, rewind_role_left, sync_last
from pgtandem.plan.promotion import finish_promotion, forget_promotions, promotion_pending
from pgtandem.plan.refusals import (
    refuse_closed,
    refuse_foreign,
    refuse_left_out,
    refuse_unreadable,
    refuse_unsafe,
)
from pgtandem.plan.roles import decide_primary
from pgtandem.plan.rotation import finish_rotation
from pgtandem.plan.slots import needless_slots
from pgtandem.plan.standbys import one_after_the_other, plan_standby
from pgtandem.plan.stray_timelines import set_timelines_aside
from pgtandem.plan.stream import plan_stream
from pgtandem.plan.wal_ways import close_ways, open_ways
from pgtandem.plan.without_primary import start_standbys
from pgtandem.postgres.versions import untested


def plan_converge(topology: Topology, observed: Observed) -> Plan:
    """The plan that makes the cluster what the topology says; empty when it is.

    Raises PgtandemError of the PLAN family when going on would be unsafe, with every reason.
    """
    refuse_foreign(topology, observed, adopts=True)
    first = finish_merges(topology, observed) or missing_programs(topology, observed)
    if first is not None:
        return first
    refuse_half_restored(topology, observed)
    if len(observed.primaries()) < 2:
        refuse_closed(topology, observed)
    if not observed.primaries():
        refuse_unreadable(topology, observed)
    try:
        primary = decide_primary(topology, observed)
    except PgtandemError as refusal:
        started = start_standbys(topology, observed, refusal) if refusal.code.text in ("PT-3002", "PT-3008") else None
        if started is None:
            raise
        return started
    wish = Wish(topology, observed, primary)
    refuse_unsafe(wish)
    draft = Draft(wish)
    plan = _converge(draft)
    if plan.empty:
        refuse_left_out(wish, draft.waiting)
    return plan


def _converge(draft: Draft) -> Plan:
    wish = draft.wish
    if promotion_pending(draft):
        return finish_promotion(draft)
    standbys = cascade_order(wish)[1:]
    create_account(draft)
    for name in cascade_order(wish):
        reachable_programs(draft, name)
        remove_leftovers(draft, name)
    plan_certificates(draft)
    plan_primary(draft)
    open_ways(draft)
    set_timelines_aside(draft)
    for name in standbys:
        plan_standby(draft, name)
    one_after_the_other(draft)
    restart_primary(draft)
    plan_stream(draft)
    for name in cascade_order(wish):
        register(draft, name)
    check_archive(draft)
    sync_last(draft)
    needless_slots(draft)
    rewind_role_left(draft)
    finish_rotation(draft)
    point_pgbouncers(draft)
    former_nodes(draft, close_ways(draft))
    forget_promotions(draft)
    replaced(draft)
    take_out(draft)
    if draft.steps:
        copied = [name for name in standbys if draft.has(f"{name}.data") and goes_on(draft, name)]
        draft.notes += [note for name in copied for note in half_notes(wish, name)]
        draft.notes += [note for name in wish.topology.names for note in remarks(wish.topology, name, wish.seen(name))]
        draft.notes += keeper_remarks(wish.topology, wish.observed)
    if confirming(wish) or draft.steps:
        draft.notes.insert(0, f"Durability: {durability_in_words(wish.topology)}.")
    if draft.steps:
        draft.notes += [*archive_taken_away(wish), *backup_afterwards(wish.topology, wish.observed)]
        draft.notes += host_notes(wish.topology, wish.observed)
    draft.notes[:0] = [f"{WARNING}{each}." for each in cut_off_restores(wish.topology, wish.observed)]
    draft.notes[:0] = archive_notes(wish.topology, wish.observed)
    if warning := untested(wish.topology.postgresql):
        draft.notes.insert(0, f"{WARNING}{warning}.")
    return Plan(
        primary=wish.primary,
        steps=ordered(draft.steps),
        notes=tuple(draft.notes),
        consequences=single_failures(wish.topology, wish.primary),
        look_again=draft.look_again,
    )
