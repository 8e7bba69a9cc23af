"""Keeping a node from ever coming up as a primary again: the one step that every role change begins with."""

from dataclasses import replace

from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.desired import desired_files
from pgtandem.plan.draft import Draft


def fence(
    draft: Draft,
    name: NodeName,
    upstream: NodeName,
    *,
    needs: tuple[str, ...] = (),
    expects: tuple[Condition, ...] = (),
    undo: str = "",
) -> str:
    """Writes what makes the node a standby, whoever starts it next. Returns the step's id."""
    step_id = f"{name}.fence"
    control = draft.wish.seen(name).control
    files = desired_files(draft.wish, name)
    draft.add(
        Step(
            step_id,
            StepKind.FENCE,
            name,
            f"write what makes {name} a standby of {upstream} at its next start",
            "Whatever starts it from now on starts a standby, never a second primary.",
            Risk.RELOAD,
            needs=needs,
            expects=(*expects, Condition("data_is_ours", name, name)),
            undo=undo,
            files=replace(files, system_identifier=control.system_identifier) if control else files,
        )
    )
    return step_id
