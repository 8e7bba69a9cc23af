"""What was done to a cluster, for people: oldest first, so that the last stands where the eye is."""

import textwrap
import time
from collections.abc import Sequence

from pgtandem.apply.history import PastRun, PastStep, Result, run_of
from pgtandem.cli.terminal import Paint
from pgtandem.model.words import duration_in_words
from pgtandem.observe.promotions import Promotion, Promotions

#: Where no host was asked.
NOT_LOOKED = Promotions((), ())

_GOOD = (Result.DONE, Result.DECLINED)
_STEP = 12


def history_lines(
    runs: Sequence[PastRun], left_out: int, paint: Paint, columns: int, promotions: Promotions = NOT_LOOKED
) -> list[str]:
    """A line per run, one per step below it, and why something did not go well; a promotion that no run made stands
    between them at its time. Those that are older than the first run that is shown are left out with the others."""
    lines, shown = [], list(promotions.found)
    if left_out:
        lines.append(paint.dim(f"{left_out} earlier: pgtandem history --last {left_out + len(runs)}"))
        shown = [promotion for promotion in shown if not runs or promotion.at >= runs[0].at]
    rows = [(run.at, _run(run, paint, columns)) for run in runs]
    rows += [(p.at, _promotion(p, paint, columns)) for p in shown if run_of(p, runs) is None]
    for _, row in sorted(rows, key=lambda row: row[0]):
        lines += row
    lines = lines or ["nothing was done yet"]
    for name, why in promotions.unseen:
        lines += _indented("unseen", f"promotions of {name}: {why}", columns)
    return lines


def _promotion(promotion: Promotion, paint: Paint, columns: int) -> list[str]:
    """One that somebody made without pgtandem."""
    text = (
        f"{_moment(promotion.at)}  {promotion.node} was promoted, not by pgtandem: timeline {promotion.timeline} "
        f"begins at {promotion.lsn}, where timeline {promotion.left} was left ({promotion.reason})"
    )
    lines = textwrap.wrap(text, columns, subsequent_indent=" " * 21, break_long_words=False, break_on_hyphens=False)
    return [paint.yellow(line) for line in lines]


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _run(run: PastRun, paint: Paint, columns: int) -> list[str]:
    when = _moment(run.at)
    who = f" by {run.who}" if run.who else ""
    text = f"{when}  {run.command}{who}: {_in_words(run)}"
    heading = textwrap.wrap(text, columns, subsequent_indent=" " * 21, break_long_words=False, break_on_hyphens=False)
    lines = [paint.bold(line) if run.result in _GOOD else paint.red(line) for line in heading]
    for step in run.steps:
        lines += _step(step, paint, columns)
    told = any(step.what_failed == run.what for step in run.steps)
    for text in filter(None, (f"{run.what} [{run.code}]" if run.code and not told else "", run.why, *run.problems)):
        lines += _indented("", text, columns)
    return lines


def _in_words(run: PastRun) -> str:
    if run.result in (Result.REFUSED, Result.DECLINED):
        return str(run.result.value)
    done = sum(step.result is Result.DONE for step in run.steps)
    steps = f"{done} of {len(run.steps)} steps" if done < len(run.steps) else f"{done} step{'' if done == 1 else 's'}"
    seconds = 0.0 if run.ended is None else max(run.ended - run.at, 0.0)
    took = "" if run.ended is None else f" in {seconds:.1f} s" if seconds < 10 else f" in {duration_in_words(seconds)}"
    return f"{run.result.value}, {steps}{took}"


def _step(step: PastStep, paint: Paint, columns: int) -> list[str]:
    took = f" ({step.seconds:.1f} s)" if step.seconds is not None else ""
    remark = f": {step.remark}" if step.remark else ""
    node = f"{step.node}  " if step.node else ""
    lines = _indented(step.result.value, f"{node}{step.what}{remark}{took}", columns)
    if step.result is Result.FAILED:
        failed = f"{step.what_failed} [{step.code}]"
        for text in filter(None, (failed, step.why)):
            lines += _indented("", text, columns)
    return lines if step.result is Result.DONE else [paint.yellow(line) for line in lines]


def _indented(label: str, text: str, columns: int) -> list[str]:
    """Behind the column of results."""
    below = " " * (2 + _STEP)
    first = f"  {label:<{_STEP}}"
    lines = textwrap.wrap(text, max(columns - len(below), 20), break_long_words=False, break_on_hyphens=False)
    return [(first if number == 0 else below) + line for number, line in enumerate(lines)]
