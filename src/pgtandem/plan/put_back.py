"""A restored server takes a node's place: the whole cluster goes back to that moment.

What was restored stands beside the node, promoted and looked at, before anything of the cluster is touched. Then every
server stops, whoever could come up as a primary is fenced, the node's data is set aside and never removed by pgtandem,
and the restored data gets its name. The others have gone another way: `rejoin` copies them anew.
"""

from collections.abc import Iterator

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import WARNING, Condition, Plan, Risk, Step, StepKind
from pgtandem.model.restore import RestoreOrder
from pgtandem.model.topology import Topology
from pgtandem.plan.desired import Wish, desired_files
from pgtandem.plan.draft import Draft
from pgtandem.plan.fencing import fence
from pgtandem.plan.order import ordered
from pgtandem.plan.outside import immovable
from pgtandem.plan.packaged import service_of
from pgtandem.plan.recovery import RESTORE_FILE, in_place_of, same_target
from pgtandem.plan.refusals import refuse_foreign
from pgtandem.plan.rejoin import Apart, how_apart, plan_rejoin
from pgtandem.plan.room import no_room


def put_back_done(observed: Observed, order: RestoreOrder) -> bool:
    """Whether the node has the restored data already."""
    data = observed.nodes[order.like].directory
    note = data.files.get(RESTORE_FILE) if data is not None else None
    return same_target(note, order) and in_place_of(note, order.like)


def plan_put_back(topology: Topology, observed: Observed, order: RestoreOrder, aside: str) -> Plan:
    """The plan that gives the restored data to the node that it was restored like, and starts it as the primary; empty
    once it runs. `aside` is where the node's present data goes.

    Raises PgtandemError PT-3008 for a node that cannot be looked at.
    """
    refuse_foreign(topology, observed)
    name = order.like
    _refuse_unseen(topology, observed)
    draft = Draft(Wish(topology, observed, name))
    done = put_back_done(observed, order)
    running = observed.nodes[name].running
    if done and running is not None and not running.in_recovery:
        return Plan(primary=name)
    stops = _stop_everybody(draft, topology, observed, keep=name if done else None)
    if not done:
        draft.add(
            Step(
                f"{name}.data",
                StepKind.PUT_BACK,
                name,
                f"give the restored data to {name}; what it has now is kept in {aside}",
                f"The cluster goes back to {order.target}. What came after stays in the archive, on its timeline.",
                Risk.REPLACE,
                needs=stops,
                expects=tuple(Condition("stopped", other) for other in topology.names),
                proves=(Condition("data_is_ours", name, name),),
                undo=f"stop everything, and put {aside} back",
                files=desired_files(draft.wish, name, keep_sync=True),
                names=(aside,),
                restore=order,
            )
        )
    draft.add(
        Step(
            f"{name}.start",
            StepKind.START,
            name,
            f"start {name} as the primary",
            "It begins a timeline of its own.",
            Risk.CREATE,
            needs=(f"{name}.data", *stops),
            expects=(Condition("port_free", name),),
            proves=(Condition("is_primary", name),),
            service=service_of(observed.nodes[name]),
        )
    )
    others = [other for other in topology.names if other != name]
    notes = [f"Afterwards {' and '.join(others)} will be copied anew from {name}."] if others else []
    notes += [] if done else _without_room(draft.wish, order, others)
    data = observed.nodes[name].directory
    if not done and data is not None and data.outside:
        places = ", ".join(sorted(set(data.outside.values())))
        notes.insert(0, f"What is in {places} is kept too, in folders with the same ending beside them.")
    return Plan(primary=name, steps=ordered(draft.steps), notes=tuple(notes))


def _without_room(wish: Wish, order: RestoreOrder, others: list[NodeName]) -> Iterator[str]:
    """A primary is worth more than its standbys, so that this refuses nothing before one of them is copied."""
    size = sum(backup.data_bytes or backup.size_bytes for backup in order.chain)
    for other in others:
        for _, problem in no_room(wish, (other,), size):
            yield f"{WARNING}{problem.what}: make room there before {other} is copied."
        for _, problem in immovable(wish, other):
            yield f"{WARNING}{problem.what}: a disk is mounted there, and what is in it has to be moved by hand."


def plan_follow(topology: Topology, observed: Observed, order: RestoreOrder, name: NodeName) -> Plan:
    """The plan by which another node follows: copied anew while it holds what the cluster went back from."""
    top = observed.nodes[order.like].running
    apart = None if top is None else how_apart(topology, observed, order.like, name)
    return plan_rejoin(topology, observed, name, copy=isinstance(apart, Apart))


def plan_forget_restore(topology: Topology, observed: Observed, order: RestoreOrder) -> Plan:
    """Once every other node follows: nothing is left to go on with."""
    if not put_back_done(observed, order):
        return Plan(primary=order.like)
    step = Step(
        f"{order.like}.forget_restore",
        StepKind.FORGET_RESTORE,
        order.like,
        "note that the restore is complete",
        "The same command again would begin a new one.",
        Risk.CREATE,
        restore=order,
    )
    return Plan(primary=order.like, steps=(step,))


def _stop_everybody(draft: Draft, topology: Topology, observed: Observed, *, keep: NodeName | None) -> tuple[str, ...]:
    """Fences first, then the primary stops before its standbys. Returns the steps' ids."""
    ids: list[str] = []
    name = draft.wish.primary
    for other in topology.names:
        data = observed.nodes[other].directory
        if other != name and data is not None and not data.standby_signal:
            ids.append(fence(draft, other, name))
    primaries = observed.primaries()
    for other in sorted(topology.names, key=lambda each: each not in primaries):
        if other == keep or not isinstance(observed.nodes[other].postmaster, Known):
            continue
        stop = Step(
            f"{other}.stop",
            StepKind.STOP,
            other,
            f"stop {other}",
            "What it has is not what the cluster goes back to.",
            Risk.STOP,
            needs=tuple(ids),
            proves=(Condition("stopped", other),),
            service=service_of(observed.nodes[other]),
        )
        draft.add(stop)
        ids.append(stop.id)
    return tuple(ids)


def _refuse_unseen(topology: Topology, observed: Observed) -> None:
    for other in topology.names:
        node = observed.nodes[other]
        for fact in (node.reachable, node.data, node.postmaster):
            if isinstance(fact, Unknown):
                raise PgtandemError(
                    "PT-3008",
                    f"could not look at {other}",
                    why=f"{fact.sentence} While it may run as a primary, no other one is made.",
                    next_step="mend that, then run the same command again",
                )
