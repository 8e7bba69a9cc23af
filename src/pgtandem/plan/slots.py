"""Replication slots: one per direct downstream, none for anybody else."""

from pgtandem.model.names import SLOT_PREFIX, STREAM_NAME, NodeName, slot_name
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.adopting import adopting
from pgtandem.plan.conditions import judge
from pgtandem.plan.draft import Draft
from pgtandem.plan.slot_cap import up_to_the_cap


def before_standbys_move(draft: Draft, name: NodeName) -> tuple[str, ...]:
    """A restart of the node makes room for slots and senders. While a cluster is taken over there is room, and the
    restart waits until the standbys, which need the role and the slot, have been restarted with the higher settings."""
    under_way = any(adopting(draft.wish.seen(other)) for other in draft.wish.topology.names)
    return () if under_way else (f"{name}.restart",)


def slot(draft: Draft, upstream: NodeName, standby: NodeName) -> None:
    """The slot of a standby on its upstream; one that was lost is made anew (the archive has the WAL then)."""
    seen, slot = draft.wish.seen(upstream), slot_name(standby)
    if seen.running is not None and not draft.builds(upstream):
        if judge(Condition("slot_usable", upstream, slot), draft.wish.observed) is True:
            return
    elif not draft.builds(upstream):
        draft.look_again = True
        return
    most = up_to_the_cap(draft.wish.topology.postgresql)
    lost = seen.running is not None and slot in seen.running.slots and not draft.builds(upstream)
    draft.add(
        Step(
            f"{upstream}.slot.{standby}",
            StepKind.CREATE_SLOT,
            upstream,
            f"{'make' if lost else 'create'} the replication slot {slot}{' anew' if lost else ''}",
            ("It no longer holds the WAL that it was to hold. " if lost else "")
            + f"{upstream} then keeps the WAL that {standby} still needs{most}.",
            Risk.CREATE,
            needs=(f"{upstream}.start", f"{upstream}.files", *before_standbys_move(draft, upstream)),
            expects=(Condition("answers", upstream),),
            proves=(Condition("slot_usable", upstream, slot),),
            undo=f"SELECT pg_drop_replication_slot('{slot}')",
            names=(slot,),
        )
    )


def needless_slots(draft: Draft) -> None:
    """Slots of pgtandem that nobody of the topology uses: they would hold WAL for ever."""
    wish = draft.wish
    for name in wish.topology.names:
        server = wish.seen(name).running
        if server is None or draft.builds(name):
            continue
        wanted = wish.slots_of(name)
        for slot in server.slots.values():
            if not slot.name.startswith(SLOT_PREFIX) or slot.kind != "physical" or slot.name in wanted:
                continue
            owner = next((other for other in wish.topology.names if slot_name(other) == slot.name), None)
            draft.add(
                Step(
                    f"{name}.drop.{slot.name}",
                    StepKind.DROP_SLOT,
                    name,
                    f"drop the replication slot {slot.name}",
                    "No node of the topology file streams through it; it would hold WAL for ever.",
                    Risk.RELOAD,
                    needs=(
                        *((f"{owner}.proof",) if owner else ()),
                        *(f"{former.name}.stop" for former in wish.observed.former),
                        f"{name}.files",
                        f"{name}.restart",
                        *(("stream.stop",) if slot.name == STREAM_NAME else ()),
                    ),
                    expects=(Condition("answers", name),),
                    proves=(Condition("slot_gone", name, slot.name),),
                    names=(slot.name,),
                )
            )
