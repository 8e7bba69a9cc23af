"""What a plan leaves out: standbys whose hosts cannot be reached, and an archive that cannot be looked at.

Only while the primary runs, and only what was part of the cluster: a new node's host must be there, and an archive
that the primary has not used yet. What would be done to them waits, and so does whatever on other nodes had to come
after it. Nothing is guessed about them, so a plan that has nothing else to do is still refused: the cluster is not what
the topology file says.
"""

from pgtandem.model.facts import Unknown
from pgtandem.model.names import NodeName, slot_name
from pgtandem.model.plan import WARNING, StepKind
from pgtandem.plan.desired import Wish, streams
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.drift import drift_of

_OF_THE_ARCHIVE = (StepKind.CREATE_ARCHIVE, StepKind.CHECK_ARCHIVE, StepKind.START_STREAM, StepKind.OPEN_WAL_WAYS)


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


def archive_left_out(wish: Wish) -> bool:
    """Whether the archive cannot be looked at, and the primary has archived there and is to go on as it does."""
    server = wish.seen(wish.primary).running
    if not isinstance(wish.observed.archive, Unknown) or server is None or server.archiver is None:
        return False
    drift = drift_of(wish, wish.primary, keep_sync=True)
    same = not {"archive_mode", "archive_command"} & {*drift.written, *drift.loaded, *drift.shadowed, *drift.pending}
    return same and server.archiver.last_archived_wal is not None


def take_out(draft: Draft) -> None:
    """Takes their steps out of the draft, with what would have to come after those, and says so."""
    wish, left, archive = draft.wish, left_out(draft.wish), archive_left_out(draft.wish)
    if not left and not archive:
        return
    gone = {step.id for step in draft.steps if step.node in left}
    if archive:
        # Those that archive and fetch already go on as they do: nothing of theirs waits.
        draft.steps = [step for step in draft.steps if step.kind not in _OF_THE_ARCHIVE or draft.builds(step.node)]
        # A copy that could not be started then is not begun, and nobody keeps WAL for it.
        for step in [step for step in draft.steps if step.kind is StepKind.OPEN_WAL_WAYS]:
            gone |= {step.id, f"{step.node}.data", f"{wish.upstream(step.node)}.slot.{step.node}"}
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
    what = [*missing, *(["the archive"] if archive else [])]
    if isinstance(wish.observed.archive, Unknown) and archive:
        reason = wish.observed.archive
        draft.notes.append(f"{WARNING}the WAL archive is left out, it cannot be looked at: {reason.sentence}")
    if waiting:
        draft.waiting = "; ".join(f"{step.node}: {step.what}" for step in waiting)
        draft.notes.append(f"{WARNING}what waits for {' and '.join(what)}: {draft.waiting}.")
