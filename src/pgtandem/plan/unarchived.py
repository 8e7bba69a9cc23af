"""What a former primary had not archived, before it goes on as a standby: that archives nothing, and recycles WAL that
the primary would have kept until it is archived. Its successor hands in only what it has itself."""

from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.draft import Draft
from pgtandem.postgres.segments import segment_number, segment_of


def archive_rest(draft: Draft, name: NodeName) -> str:
    """The id of the step that archives it; "" where it has nothing that waits, of before its successor went on."""
    node, primary = draft.wish.seen(name), draft.wish.seen(draft.wish.primary).running
    control = node.control
    if control is None or primary is None or not node.unarchived or name == draft.wish.primary:
        return ""
    left = next((switch.at for switch in primary.history if switch.timeline == control.timeline), None)
    if left is None:
        return ""
    size, before = control.wal_segment_bytes, segment_of(left, control.wal_segment_bytes)
    waiting = [
        each for each in node.unarchived if (number := segment_number(each, size)) is not None and number < before
    ]
    if not waiting:
        return ""
    many = f"{len(waiting)} segments wait" if len(waiting) > 1 else "1 segment waits"
    step = f"{name}.archive_rest"
    draft.add(
        Step(
            step,
            StepKind.ARCHIVE_REST,
            name,
            f"archive what {name} had not archived as the primary",
            f"{many} there. A standby archives nothing, and gives them up.",
            Risk.CREATE,
            expects=(Condition("stopped", name),),
            names=(str(control.timeline), str(left), str(size)),
        )
    )
    return step
