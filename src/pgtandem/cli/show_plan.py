"""A plan in words."""

from pgtandem.cli.prose import wrapped
from pgtandem.cli.show_candidates import candidate_lines
from pgtandem.cli.terminal import Paint
from pgtandem.model.plan import WARNING, Consequence, Plan, Risk, Step

#: Steps that stand out: they take a server away, for a moment or for good.
_STANDS_OUT = (Risk.RESTART, Risk.STOP, Risk.REPLACE, Risk.REMOVE)

#: What a reason is given for even in a short plan: steps that touch what is in use.
_TOUCHES = (Risk.RELOAD, Risk.RESTART, Risk.STOP, Risk.REPLACE)

_VERBS = (
    (Risk.REMOVE, "removes data of"),
    (Risk.REPLACE, "replaces data of"),
    (Risk.STOP, "stops"),
    (Risk.RESTART, "restarts"),
)

#: A column of names is not wider than this: beyond, names stand on lines of their own.
_WIDEST_NAME = 20


def plan_lines(plan: Plan, cluster: str, paint: Paint, columns: int, *, reasons: bool = True) -> list[str]:
    """The whole plan: numbered steps, notes, what single failures would mean.

    With `reasons` every step tells why; without, only those that touch a server in use: what a person reads before
    saying yes should fit on a screen.
    """
    if plan.empty:
        said = [f"{paint.green('converged')}: cluster {cluster} is what the topology file says; nothing to do"]
        warnings = [note for note in plan.notes if note.startswith(WARNING)]
        return said + [line for note in warnings for line in _note(note, columns)]
    count = len(plan.steps)
    summary = f"Plan for cluster {cluster}: {count} step{'s' if count > 1 else ''}{_in_short(plan)}"
    lines = [paint.bold(line) for line in _note(summary, columns)]
    wide = names_width(plan.steps)
    for number, step in enumerate(plan.steps, 1):
        lines += _step_lines(number, step, wide, paint, columns, reasons or step.risk in _TOUCHES)
    lines += candidate_lines(plan.candidates, paint, columns)
    for note in plan.notes:
        lines += _note(note, columns)
    if plan.look_again:
        lines += _note(
            "Some facts can only be seen after these steps: what they show is planned and shown then.", columns
        )
    if plan.consequences:
        together = any(row.several for row in plan.consequences)
        lines.append(paint.bold("If one node, or several at once, fail:" if together else "If one node fails:"))
        for row in plan.consequences:
            lines += _consequence_lines(row, columns)
    return lines


def _note(text: str, columns: int) -> list[str]:
    return wrapped(text, columns, below="  ")


def names_width(steps: tuple[Step, ...]) -> int:
    """The width of the column of names; 0 where names are so long that a column would leave no room."""
    wide = max(len(step.node) for step in steps)
    return wide if wide <= _WIDEST_NAME else 0


def _in_short(plan: Plan) -> str:
    """What it means for those who use the cluster, the gravest first."""
    said = []
    for risk, verb in _VERBS:
        names = list(dict.fromkeys(step.node for step in plan.steps if step.risk is risk))
        if names:
            said.append(f"{verb} {', '.join(names)}")
    return "; " + "; ".join(said) if said else ""


def _step_lines(number: int, step: Step, wide: int, paint: Paint, columns: int, reason: bool) -> list[str]:
    indent = " " * (7 + wide)
    first = f"{number:>3}. {step.node:<{wide}}"
    lines = _filled(f"{first}  ", step.what, indent, columns) if wide else [first]
    if not wide:
        lines += _filled(indent, step.what, indent, columns)
    if step.risk in _STANDS_OUT:
        lines = [paint.yellow(line) for line in lines]
    why = _filled(indent, step.why, indent, columns) if reason else []
    return lines + [paint.dim(line) for line in why]


def _consequence_lines(row: Consequence, columns: int) -> list[str]:
    lost = f"{row.loss} is lost" if row.loss == "nothing" else f"lost: {row.loss}"
    lost = lost.replace("lost: nothing; ", "nothing is lost; ", 1)
    return _filled("  ", f"{row.failure}: writes {row.writes}; {lost}", " " * 6, columns)


def _filled(first: str, text: str, indent: str, columns: int) -> list[str]:
    """Paragraphs; words (paths among them) are never broken. Wrapping leaves what stands before them as it is."""
    wide = max(columns - len(indent), 20)
    lines = []
    for paragraph in text.split("\n"):
        lines += wrapped(paragraph, wide)
    return [(first if number == 0 else indent) + line for number, line in enumerate(lines)]
