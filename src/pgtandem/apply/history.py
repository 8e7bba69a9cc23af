"""What was done to a cluster, and what was refused: the journal read back, and whose each promotion was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pgtandem.observe.promotions import Promotion


class Result(Enum):
    """What became of a command or a step. UNFINISHED is one that was cut off (kill -9, a host that went away), or is
    still at work; NOT_BEGUN is a step that an earlier one's failure left out."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNFINISHED = "unfinished"
    NOT_BEGUN = "not begun"
    REFUSED = "refused"
    DECLINED = "declined"


@dataclass(slots=True)
class PastStep:
    """A step of a plan; `node` is "" for one that never began. `code`, `what_failed` and `why` tell of its failure."""

    id: str
    what: str
    node: str = ""
    result: Result = Result.NOT_BEGUN
    seconds: float | None = None
    remark: str = ""
    code: str = ""
    what_failed: str = ""
    why: str = ""


@dataclass(slots=True)
class PastRun:
    """A plan that was carried out, or a command that was refused or answered with no. `at` is when it began (seconds
    since 1970), `who` None in entries of older versions. `code`, `what`, `why` and `problems` tell of a failure or a
    refusal."""

    at: float
    command: str
    who: str | None
    result: Result
    ended: float | None = None
    code: str = ""
    what: str = ""
    why: str = ""
    problems: tuple[str, ...] = ()
    steps: list[PastStep] = field(default_factory=list)


def read_history(journal: Iterable[Mapping[str, Any]]) -> list[PastRun]:
    """Oldest first. Entries that say nothing to this version are passed over."""
    runs: list[PastRun] = []
    open_run: PastRun | None = None
    for entry in journal:
        event, at = entry.get("event"), float(entry.get("at") or 0)
        if event == "plan":
            open_run = _run(entry, at, Result.UNFINISHED)
            open_run.steps = [_planned(text) for text in entry.get("steps") or ()]
            runs.append(open_run)
        elif event in ("refused", "declined"):
            runs.append(_run(entry, at, Result(event)))
        elif open_run is not None:
            _go_on(open_run, str(event), entry, at)
    return runs


#: How far the clock of a node's host may be from the one of the journal.
_CLOCKS_APART_SECONDS = 30.0


def run_of(promotion: Promotion, runs: Iterable[PastRun]) -> PastRun | None:
    """The run that promoted: it had a step for that on this node, at that time. None where none did: somebody else."""
    for run in runs:
        begun = {step.node or step.id.partition(".")[0] for step in run.steps if step.id.endswith(".promote")}
        ended = run.ended if run.ended is not None else run.at + 3600
        if promotion.node in begun and run.at - _CLOCKS_APART_SECONDS <= promotion.at <= ended + _CLOCKS_APART_SECONDS:
            return run
    return None


def _run(entry: Mapping[str, Any], at: float, result: Result) -> PastRun:
    return PastRun(
        at=at,
        command=str(entry.get("command") or ""),
        who=entry.get("who"),
        result=result,
        code=str(entry.get("code") or ""),
        what=str(entry.get("what") or ""),
        why=str(entry.get("why") or ""),
        problems=tuple(map(str, entry.get("problems") or ())),
    )


def _planned(text: str) -> PastStep:
    id, _, what = str(text).partition(": ")
    return PastStep(id, what)


_ENDS = {"plan done": Result.DONE, "plan failed": Result.FAILED, "interrupted": Result.INTERRUPTED}


def _go_on(run: PastRun, event: str, entry: Mapping[str, Any], at: float) -> None:
    if event in _ENDS:
        run.result, run.ended = _ENDS[event], at
        run.code, run.what = str(entry.get("code") or ""), str(entry.get("what") or "")
        if event == "interrupted":
            for begun in run.steps:
                begun.result = Result.INTERRUPTED if begun.result is Result.UNFINISHED else begun.result
        return
    step = next((step for step in run.steps if step.id == entry.get("step")), None)
    if step is None:
        return
    if event == "step":
        step.node, step.result = str(entry.get("node") or ""), Result.UNFINISHED
    elif event == "step done":
        step.result, step.seconds = Result.DONE, entry.get("seconds")
        step.remark = str(entry.get("remark") or "")
    elif event == "step failed":
        step.result, step.code = Result.FAILED, str(entry.get("code") or "")
        step.what_failed, step.why = str(entry.get("what") or ""), str(entry.get("why") or "")
