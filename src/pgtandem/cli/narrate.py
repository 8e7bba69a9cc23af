"""Tells what apply does, step by step; a long copy shows bytes, rate and time left."""

import sys
import time

from pgtandem.cli.terminal import Paint
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Plan, Step

_EVERY_SECONDS_PIPED = 10.0
_EVERY_SECONDS_TERMINAL = 0.2


class Narrator:
    """A line per step that ended. On a terminal, copies under way share one line that changes."""

    def __init__(self) -> None:
        self._paint = Paint(sys.stdout)
        self._terminal = sys.stdout.isatty()
        self._began: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._line = ""

    def round_started(self, plan: Plan, number: int) -> None:
        if number > 1:
            count = len(plan.steps)
            self._print(self._paint.dim(f"Looked again: {count} more step{'s' if count > 1 else ''}"))

    def step_started(self, step: Step) -> None:
        self._began[step.id] = time.monotonic()
        self._change(f"  ... {step.node} {step.what}")

    def step_progress(self, step: Step, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        pause = _EVERY_SECONDS_TERMINAL if self._terminal else _EVERY_SECONDS_PIPED
        if now - self._told.get(step.id, self._began.get(step.id, now)) < pause:
            return
        self._told[step.id] = now
        text = progress_in_words(done_bytes, total_bytes, now - self._began.get(step.id, now))
        line = f"  ... {step.node} copying: {text}"
        if self._terminal:
            self._change(line)
        else:
            self._print(line)

    def step_done(self, step: Step, seconds: float, remark: str) -> None:
        text = f"{self._paint.green('done')}  {step.node} {step.what}"
        if remark:
            text += f": {remark}"
        self._print(f"{text} {self._paint.dim(f'({seconds:.1f} s)')}")

    def step_failed(self, step: Step, error: PgtandemError) -> None:
        self._print(f"{self._paint.red('FAILED')} {step.node} {step.what}")

    def finish(self) -> None:
        self._clear()

    def _print(self, line: str) -> None:
        self._clear()
        print(line, flush=True)

    def _change(self, line: str) -> None:
        if self._terminal:
            self._clear()
            self._line = line[:78]
            print(self._line, end="", flush=True)

    def _clear(self) -> None:
        if self._line:
            print("\r\x1b[K", end="")
            self._line = ""


def progress_in_words(done_bytes: int, total_bytes: int, seconds: float) -> str:
    """ "1.2 of 4.0 GB, 85 MB/s, 33 s left" """
    text = f"{size_in_words(done_bytes)} of {size_in_words(max(total_bytes, done_bytes))}"
    if seconds > 0 and done_bytes:
        rate = done_bytes / seconds
        text += f", {size_in_words(int(rate))}/s"
        left = max(total_bytes - done_bytes, 0) / rate
        text += f", {duration_in_words(left)} left"
    return text


def size_in_words(count: int) -> str:
    """Bytes with a unit that fits: 512 B, 16.0 MB, 1.2 GB (powers of 1000)."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_in_words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
