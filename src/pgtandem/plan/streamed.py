"""A failover where the archive's stream may have confirmed a commit alone: the successor gets all that was streamed.

The receiver ends first, whether the old primary is seen to be down or only said to be: from then on nothing more is
confirmed there, and what was streamed stays as it is. The successor is promoted once its own WAL is seen to have all of
it. Then the receiver streams from there: the successor's commits may have nobody else to wait for. docs/decisions/0044.
"""

from pgtandem.model.facts import Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.draft import Draft
from pgtandem.plan.keeper import unit_of
from pgtandem.plan.stream import receiver_files, safe_sources, start_stream


def take_what_was_streamed(draft: Draft, to: NodeName) -> None:
    before = tuple(step.id for step in draft.steps)
    draft.add(
        Step(
            "stream.stop",
            StepKind.STOP_STREAM,
            to,
            "end the stream of the archive",
            "From here on the archive confirms nothing more to the old primary.",
            Risk.CREATE,
            undo="pgtandem apply",
        )
    )
    draft.add(
        Step(
            f"{to}.streamed",
            StepKind.CONFIRM_STREAMED,
            to,
            f"see that {to} has all that was streamed to the archive",
            "The archive alone may have confirmed the last commits; it fetches what it lacks.",
            Risk.READ,
            needs=(*before, "stream.stop"),
            expects=(Condition("is_standby", to),),
            undo="pgtandem apply",
        )
    )


def stream_from_successor(draft: Draft, to: NodeName, lost: tuple[NodeName, ...]) -> None:
    """Also where nothing of it was needed, but the old primary may live: it would go on streaming from that."""
    stream = draft.wish.observed.stream
    if not draft.wish.topology.streams_to_archive or not isinstance(stream, Known):
        return
    if isinstance(stream.value.program, Known):
        fenced = [name for name in lost if draft.has(f"{name}.fence")]
        sources = (to, *safe_sources(draft.wish), *fenced)
        apart = [name for name in lost if name not in sources]
        why = f"Not of {' or '.join(apart)}, which may go on after all." if apart else "Commits may wait for that."
        files = receiver_files(draft.wish, stream.value.program.value, sources)
        unit, what = unit_of(draft, stream.value), f"stream WAL of {to} to the archive"
        start_stream(draft, files, what, why, unit=unit, after=(f"{to}.promote",))
