"""Tells what apply does, step by step; a long copy shows bytes, rate and time left."""

import sys
import textwrap
import time

from pgtandem.cli.show_plan import names_width
from pgtandem.cli.terminal import Paint, can_rewrite, text_width, width
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Plan, Step
from pgtandem.model.words import duration_in_words, size_in_words

_EVERY_SECONDS_PIPED = 10.0
_EVERY_SECONDS_TERMINAL = 0.2


class Narrator:
    """A line per step that ended. On a terminal, what is under way shares one line that changes."""

    def __init__(self) -> None:
        self._paint = Paint(sys.stdout)
        self._terminal = can_rewrite(sys.stdout)
        self._began: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._totals: dict[str, int] = {}
        self._under_way: dict[str, str] = {}
        self._wide = 0
        self._line = ""

    def round_started(self, plan: Plan, number: int) -> None:
        self._wide = names_width(plan.steps)
        if number > 1:
            count = len(plan.steps)
            self._print(self._paint.dim(f"Looked again: {count} more step{'s' if count > 1 else ''}"))

    def step_started(self, step: Step) -> None:
        self._began[step.id] = time.monotonic()
        self._under_way[step.id] = f"{step.node:<{self._wide}}  {step.what}"
        self._show_under_way(step.id)

    def step_progress(self, step: Step, done_bytes: int, total_bytes: int) -> None:
        now, expected = time.monotonic(), self._totals.setdefault(step.id, total_bytes)
        pause = _EVERY_SECONDS_TERMINAL if self._terminal else _EVERY_SECONDS_PIPED
        if now - self._told.get(step.id, self._began.get(step.id, now)) < pause:
            return
        self._told[step.id] = now
        text = progress_in_words(done_bytes, total_bytes, now - self._began.get(step.id, now), expected)
        self._under_way[step.id] = f"{step.node:<{self._wide}}  copying: {text}"
        if self._terminal:
            self._show_under_way(step.id)
        else:
            self._print(f"...    {self._under_way[step.id]}")

    def step_done(self, step: Step, seconds: float, remark: str) -> None:
        self._under_way.pop(step.id, None)
        self._print_step(self._paint.green("done  "), step, f" {self._paint.dim(f'({seconds:.1f} s)')}", remark)

    def step_failed(self, step: Step, error: PgtandemError) -> None:
        self._under_way.pop(step.id, None)
        self._print_step(self._paint.red("FAILED"), step, "", "")

    def finish(self) -> None:
        self._under_way.clear()
        self._clear()

    def _print_step(self, label: str, step: Step, after: str, remark: str) -> None:
        """One line to a file or a pipe; on a terminal the remark stands below, and words are not cut at its edge."""
        columns = text_width(sys.stdout)
        if columns is None:
            self._print(f"{label} {step.node:<{self._wide}}  {step.what}{f': {remark}' if remark else ''}{after}")
            return
        indent = " " * (9 + self._wide)
        room = max(columns - len(indent), 20)
        joined = f"\n{indent}".join(_wrap(step.what, max(room - 9, 20)))
        self._print(f"{label} {step.node:<{self._wide}}  {joined}{after}", again=not remark)
        if remark:
            self._print("\n".join(self._paint.dim(indent + line) for line in _wrap(remark, room)))

    def _print(self, line: str, *, again: bool = True) -> None:
        self._clear()
        print(line, flush=True)
        if again and self._under_way:
            self._show_under_way(next(iter(self._under_way)))

    def _show_under_way(self, step_id: str) -> None:
        if not self._terminal:
            return
        others = len(self._under_way) - 1
        more = f"  (and {others} more)" if others else ""
        room = width(sys.stdout) - 1
        text = f"...    {self._under_way[step_id]}"
        self._clear()
        self._line = text[: room - len(more)] + more
        print(self._line, end="", flush=True)

    def _clear(self) -> None:
        if self._line:
            print("\r\x1b[K", end="")
            self._line = ""


def _wrap(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)


def progress_in_words(done_bytes: int, total_bytes: int, seconds: float, expected_bytes: int = 0) -> str:
    """ "1.2 GB of 4.0 GB, 85.0 MB/s, 33 s left". `expected_bytes` is what the total was at first: a server that sends a
    backup counts the WAL that follows its data only as it comes, and nobody knows how much of that is left."""
    wal = done_bytes >= total_bytes > expected_bytes > 0
    text = f"{size_in_words(done_bytes)} of {size_in_words(max(total_bytes, done_bytes))}"
    if wal:
        text = f"{size_in_words(done_bytes)} ({size_in_words(expected_bytes)} of data, the rest is WAL)"
    if seconds > 0 and done_bytes:
        rate = done_bytes / seconds
        text += f", {size_in_words(int(rate))}/s"
        left = max(total_bytes - done_bytes, 0) / rate
        text += "" if wal else f", {duration_in_words(left)} left"
    return text
