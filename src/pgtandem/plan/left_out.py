"""Standbys that a plan leaves out: their hosts cannot be reached, and the cluster goes on without them.

Only while the primary runs, and only those that were part of the cluster: a new node's host must be there. What would
be done to them waits, and so does whatever on other nodes had to come after it. Nothing is guessed about them, so a
plan that has nothing else to do is still refused: the cluster is not what the topology file says.
"""

from pgtandem.model.facts import Unknown
from pgtandem.model.names import NodeName, slot_name
from pgtandem.model.plan import WARNING
from pgtandem.plan.desired import Wish, streams
from pgtandem.plan.draft import Draft, cascade_order


def out_of_reach(wish: Wish) -> tuple[NodeName, ...]:
    """The standbys whose hosts cannot be reached, and whose slots say that they were part of the cluster."""
    if wish.seen(wish.primary).running is None:
        return ()
    slots = {slot for node in wish.observed.nodes.values() if node.running for slot in node.running.slots}
    return tuple(
        name
        for name in wish.topology.names
        if isinstance(wish.seen(name).reachable, Unknown) and slot_name(name) in slots
    )


def left_out(wish: Wish) -> tuple[NodeName, ...]:
    """They, and every standby below one of them: it can be neither copied nor seen to stream."""
    left = list(out_of_reach(wish))
    for name in cascade_order(wish):  # every upstream before those below it
        if wish.upstream(name) in left and name not in left:
            left.append(name)
    return tuple(left)


def take_out(draft: Draft) -> None:
    """Takes their steps out of the draft, with what would have to come after those, and says so."""
    wish, left = draft.wish, left_out(draft.wish)
    if not left:
        return
    gone = {step.id for step in draft.steps if step.node in left}
    # One that streams is cut off from here only. A primary that restarts with a higher limit than it has would stop it.
    gone |= {f"{name}.restart" for name in left if streams(wish, name)}
    while after := {step.id for step in draft.steps if step.id not in gone and gone.intersection(step.needs)}:
        gone |= after
    waiting = [step for step in draft.steps if step.id in gone and step.node not in left]
    draft.steps = [step for step in draft.steps if step.id not in gone]
    missing = out_of_reach(wish)
    for name in missing:
        reason = wish.seen(name).reachable
        assert isinstance(reason, Unknown)
        draft.notes.append(f"{WARNING}{name} is left out, its host cannot be asked: {reason.sentence}")
    below = [name for name in left if name not in missing]
    if below:
        draft.notes.append(f"{WARNING}{', '.join(below)} below it: left out too.")
    if waiting:
        draft.waiting = "; ".join(f"{step.node}: {step.what}" for step in waiting)
        draft.notes.append(f"{WARNING}what waits for {' and '.join(missing)}: {draft.waiting}.")
