"""Failures in words: what, why, next, code. Never a traceback, never a secret."""

from pgtandem.cli.invocation import spelled
from pgtandem.cli.prose import wrapped
from pgtandem.cli.terminal import Paint
from pgtandem.errors import PgtandemError, Problem


def error_lines(error: PgtandemError, path: str | None, paint: Paint, columns: int | None) -> list[str]:
    """What happened with its code, every problem, why, what to do next.

    `path` is the topology file of the call: commands in the text are spelled for it. `columns` is where prose is
    wrapped, None for never. What is to be copied is not wrapped.
    """
    error = _printable(error)
    label = "interrupted:" if error.code.text == "PT-4009" else "error:"
    lines = _prose(f"{label} {error.what}   [{error.code.text}]", columns, " " * (len(label) + 1))
    lines[0] = paint.red(label) + lines[0].removeprefix(label)
    for problem in error.problems:
        where = problem.where if problem.where not in problem.what else ""
        text = _prose(f"  - {where}{': ' if where else ''}{problem.what}", columns, "    ")
        if where:
            text[0] = text[0].replace(where, paint.bold(where), 1)
        lines += text
        for line in problem.why.splitlines():
            lines += _prose(f"    {spelled(line, path)}", columns, "    ")
        if problem.next_step:
            lines.append(f"    {paint.dim('->')} {_line(spelled(problem.next_step, path))}")
    for number, line in enumerate(error.why.splitlines()):
        lines += _prose(f"{'why:  ' if number == 0 else '      '} {spelled(line, path)}", columns, " " * 7)
    for number, line in enumerate(error.next_step.splitlines()):
        lines.append(f"{'next: ' if number == 0 else '      '} {_line(spelled(line, path))}")
    return lines


def _printable(error: PgtandemError) -> PgtandemError:
    """The same without anything that would move the cursor or change colours: names and logs can hold all of it."""

    return PgtandemError(
        error.code.text,
        _line(error.what),
        why=_lines(error.why),
        next_step=_lines(error.next_step),
        problems=tuple(
            Problem(_line(p.where), _line(p.what), _lines(p.why), _line(p.next_step)) for p in error.problems
        ),
    )


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _lines(text: str) -> str:
    return "\n".join(_line(line) for line in text.expandtabs(4).splitlines())


def _prose(text: str, columns: int | None, indent: str) -> list[str]:
    if columns is None or len(text) <= columns:
        return [text]
    body = text.lstrip(" ")
    first = text[: len(text) - len(body)]
    return wrapped(body, columns, first, indent)


def defect_error(defect: BaseException) -> PgtandemError:
    """A defect of pgtandem in words; the traceback goes into a private file for a report."""
    path = _written(defect)
    return PgtandemError(
        "PT-9001",
        f"pgtandem has a defect: {type(defect).__name__}",
        why="Nothing is lost: what was done stays, and running the same command again is safe.",
        next_step=f"report it with {path} (read it first: it names your nodes and paths)"
        if path
        else "report it; the details could not be written to a file, since no temporary folder is writable",
    )


def _written(defect: BaseException) -> str | None:
    """The traceback's file, which only its owner can read; None where there is no room for one."""
    import os
    import platform
    import sys
    import tempfile
    import traceback

    from pgtandem import __version__

    try:
        handle, path = tempfile.mkstemp(prefix="pgtandem-defect-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            print(f"pgtandem {__version__}, Python {platform.python_version()}, {sys.platform}\n", file=file)
            traceback.print_exception(defect, file=file)
    except OSError:
        return None
    return path
