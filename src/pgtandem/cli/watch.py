"""The same view again and again: drawn over itself on a terminal, one block after the other where nobody can redraw."""

import shutil
import time
from collections.abc import Sequence
from typing import TextIO

from pgtandem.cli.terminal import can_rewrite

_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_CLEAR_ALL = "\x1b[2J"


class Screen:
    """Shows views; `close` leaves the last one standing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._redraws = can_rewrite(stream)
        self._shown = False

    def show(self, lines: Sequence[str], now: float, seconds: float) -> None:
        """One view, taken at `now` (seconds since 1970)."""
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        if self._redraws:
            self._redraw([f"{clock}, every {seconds:g} s; Ctrl-C ends", *lines])
        else:
            self._stream.write("\n".join([*([""] if self._shown else []), clock, *lines]) + "\n")
        self._stream.flush()
        self._shown = True

    def close(self) -> None:
        if self._redraws and self._shown:
            self._stream.write("\n")
            self._stream.flush()

    def _redraw(self, lines: list[str]) -> None:
        # A view that is higher than the terminal would scroll, and the next one would be drawn below its head.
        room = max(shutil.get_terminal_size().lines - 2, 5)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"... {len(lines) - room + 1} more lines"]
        drawn = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
        self._stream.write((_HOME if self._shown else _CLEAR_ALL + _HOME) + drawn + _CLEAR_BELOW)
