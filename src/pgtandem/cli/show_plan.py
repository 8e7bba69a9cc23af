"""A plan in words."""

import textwrap

from pgtandem.cli.terminal import Paint
from pgtandem.model.plan import Plan, Risk, Step

_MARK = {Risk.RESTART: "restarts the server", Risk.STOP: "stops the server", Risk.REMOVE: "removes data"}


def plan_lines(plan: Plan, cluster: str, paint: Paint, columns: int) -> list[str]:
    """The whole plan: numbered steps with their reasons, notes, what single failures would mean."""
    if plan.empty:
        return [f"{paint.green('converged')}: cluster {cluster} is what the topology file says; nothing to do"]
    count = len(plan.steps)
    lines = [paint.bold(f"Plan for cluster {cluster}: {count} step{'s' if count > 1 else ''}")]
    wide = max(len(step.node) for step in plan.steps)
    for number, step in enumerate(plan.steps, 1):
        lines += _step_lines(number, step, wide, paint, columns)
    for note in plan.notes:
        lines += textwrap.wrap(note, columns, initial_indent="", subsequent_indent="  ")
    if plan.look_again:
        lines += textwrap.wrap(
            "Some facts can only be seen after these steps; what they show is planned then.", columns
        )
    if plan.consequences:
        lines.append(paint.bold("If one node fails:"))
        for row in plan.consequences:
            text = f"{row.failure}: writes {row.writes}; lost: {row.loss}"
            lines += textwrap.wrap(text, columns, initial_indent="  ", subsequent_indent="      ")
    return lines


def _step_lines(number: int, step: Step, wide: int, paint: Paint, columns: int) -> list[str]:
    indent = " " * (6 + wide)
    head = f"{number:>3}. {step.node:<{wide}} {step.what}"
    mark = _MARK.get(step.risk)
    if mark:
        head += f" ({mark})"
    lines = textwrap.wrap(head, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    if mark:
        lines = [paint.yellow(line) for line in lines]
    why = textwrap.wrap(step.why, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return lines + [paint.dim(line) for line in why]
