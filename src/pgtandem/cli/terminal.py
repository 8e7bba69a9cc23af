"""What the terminal can do: colour, width, questions."""

import os
import sys
from typing import TextIO


def has_colour(stream: TextIO) -> bool:
    """NO_COLOR (any value) and TERM=dumb switch it off; a pipe has none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Paint:
    """Colours a text, or leaves it."""

    def __init__(self, stream: TextIO) -> None:
        self._on = has_colour(stream)

    def _with(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text

    def bold(self, text: str) -> str:
        return self._with("1", text)

    def dim(self, text: str) -> str:
        return self._with("2", text)

    def red(self, text: str) -> str:
        return self._with("1;31", text)

    def green(self, text: str) -> str:
        return self._with("32", text)

    def yellow(self, text: str) -> str:
        return self._with("33", text)


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str) -> bool:
    """A question that only a clear yes answers with yes. The end of input is a no."""
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


def width(stream: TextIO) -> int:
    """The columns of the terminal, 80 where there is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 80
