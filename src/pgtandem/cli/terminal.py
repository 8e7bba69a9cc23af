"""What the terminal can do: colour, width, questions."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

#: Prose is not wider than this, whatever the terminal's width: the eye loses the line.
_WIDEST = 100

#: How often it is looked for trouble while a question stands there.
_LOOK_SECONDS = 0.2


def has_colour(stream: TextIO) -> bool:
    """NO_COLOR (any value) and TERM=dumb switch it off; a pipe has none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def can_rewrite(stream: TextIO) -> bool:
    """Whether a line can be taken back and written anew: on a terminal that is not dumb."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


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


class Output(io.FileIO):
    """The standard output. With `outlive` set, output that nobody takes any more is thrown away instead of ending the
    command: a change must not stop half way because `head` has seen enough. `refused` is then why."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.outlive = False
        self.refused: OSError | None = None

    def write(self, text: Any, /) -> int:
        try:
            return super().write(text)
        except OSError as refused:
            if not self.outlive or isinstance(refused, BlockingIOError):
                raise
            self.refused = refused
            _drop_output(self.fileno())
            return super().write(text)


def own_output() -> None:
    """Puts an `Output` below sys.stdout."""
    before = sys.stdout
    try:
        below = Output(before.fileno())
    except (OSError, ValueError):
        return
    before.flush()
    buffered = io.BufferedWriter(below)
    on_terminal = before.isatty()
    sys.stdout = io.TextIOWrapper(buffered, before.encoding, "backslashreplace", line_buffering=on_terminal)


def output() -> Output | None:
    """What `own_output` put below sys.stdout."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, Output) else None


def can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str, trouble: Callable[[], Exception | None] | None = None) -> bool:
    """A question that only a clear yes answers with yes. The end of input is a no, Ctrl-C a KeyboardInterrupt. What
    `trouble` returns meanwhile is raised, and the question stands there no more."""
    import select
    import signal

    # Under asyncio the first Ctrl-C only cancels the task, which does not hear it while it waits for the keyboard.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        prompt = f"{question} [y/N] "
        if trouble is not None:
            print(prompt, end="", flush=True)
            prompt = ""
            while not select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]:
                if found := trouble():
                    print()
                    raise found
        answer = input(prompt)
    except KeyboardInterrupt:
        print()
        raise
    except (EOFError, ValueError):  # the end of input, or bytes that are no text
        print()
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return answer.strip().lower() in ("y", "yes")


def width(stream: TextIO) -> int:
    """The columns of the terminal, 80 where there is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def text_width(stream: TextIO) -> int | None:
    """Where prose is wrapped: None (never) where it goes to a file or a pipe, which is searched line by line."""
    return min(width(stream), _WIDEST) if stream.isatty() else None


def can_draw(stream: TextIO) -> bool:
    """Whether lines of a tree can be drawn: not in an encoding that has none."""
    try:
        "└".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def output_refused() -> OSError | None:
    """Why the standard output takes no more (a closed pipe, a full disk), found out by a line break. What Python still
    holds for it is dropped then, so that nothing is said about it at the very end."""
    try:
        print(flush=True)
    except OSError as refused:
        with contextlib.suppress(OSError, ValueError):
            _drop_output(sys.stdout.fileno())
        return refused
    return None


def _drop_output(descriptor: int) -> None:
    """From now on what is written there goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
