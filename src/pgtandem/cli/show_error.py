"""Failures in words: what, why, next, code. Never a traceback, never a secret."""

import os
import sys
import tempfile
import traceback

from pgtandem.cli.terminal import Paint
from pgtandem.errors import PgtandemError


def show_error(error: PgtandemError) -> None:
    """To stderr: what happened with its code, every problem, why, what to do next."""
    paint = Paint(sys.stderr)
    lines = [f"{paint.red('error:')} {error.what}   [{error.code.text}]"]
    for problem in error.problems:
        where = f"{paint.bold(problem.where)}: " if problem.where and problem.where not in problem.what else ""
        lines.append(f"  - {where}{problem.what}")
        if problem.why:
            lines += [f"    {line}" for line in problem.why.splitlines()]
        if problem.next_step:
            lines.append(f"    {paint.dim('->')} {problem.next_step}")
    if error.why:
        lines += _labelled("why:  ", error.why)
    if error.next_step:
        lines += _labelled("next: ", error.next_step)
    print("\n".join(lines), file=sys.stderr)


def _labelled(label: str, text: str) -> list[str]:
    first, *rest = text.splitlines()
    return [f"{label} {first}", *(f"       {line}" for line in rest)]


def show_defect(defect: Exception) -> None:
    """A defect of pgtandem: one line for the user, the traceback into a private file for a report."""
    handle, path = tempfile.mkstemp(prefix="pgtandem-defect-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        traceback.print_exception(defect, file=file)
    show_error(
        PgtandemError(
            "PT-9001",
            f"pgtandem has a defect: {type(defect).__name__}",
            why="Nothing is lost: what was done stays, and running the same command again is safe.",
            next_step=f"report it with {path} (read it first: it names your nodes and paths)",
        )
    )
