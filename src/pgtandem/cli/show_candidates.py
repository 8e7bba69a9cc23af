"""Who could become the primary: a table with a row for each rule and a column for each standby."""

import textwrap
from collections.abc import Sequence

from pgtandem.cli.terminal import Paint
from pgtandem.model.candidates import Candidate, Check, Verdict

_LABEL, _NEEDED, _NARROWEST = 14, 20, 18


def candidate_lines(candidates: Sequence[Candidate], paint: Paint, columns: int) -> list[str]:
    """As many standbys beside each other as there is room for, the best one first; the others below."""
    beside = max((columns - _LABEL - _NEEDED - 4) // (_NARROWEST + 2), 1)
    lines = []
    for first in range(0, len(candidates), beside):
        lines += _block(candidates[first : first + beside], paint, columns)
    return lines


def _block(candidates: Sequence[Candidate], paint: Paint, columns: int) -> list[str]:
    wide = min((columns - _LABEL - _NEEDED - 4) // len(candidates) - 2, 30)
    widths = (_LABEL, _NEEDED, *[wide] * len(candidates))
    lines = [paint.bold(line) for line in _row(["standby", "needed", *(each.name for each in candidates)], widths)]
    rules = dict.fromkeys(check.rule for candidate in candidates for check in candidate.checks)
    for rule in rules:
        found = [_check(candidate, rule) for candidate in candidates]
        needed = next((check.threshold for check in found if check and check.threshold), "")
        row = _row([rule, needed, *map(_value, found)], widths)
        bad = any(check and check.verdict is not Verdict.GOOD for check in found)
        lines += [paint.yellow(line) for line in row] if bad else row
    verdicts = ["yes" if candidate.fit else "no" for candidate in candidates]
    return lines + [paint.bold(line) for line in _row(["can take over", "", *verdicts], widths)]


def _check(candidate: Candidate, rule: str) -> Check | None:
    return next((check for check in candidate.checks if check.rule == rule), None)


def _value(check: Check | None) -> str:
    if check is None:
        return "-"
    return check.value if check.verdict is Verdict.GOOD else f"{check.value} ({check.verdict.value})"


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Cells that are too long go on in the next line."""
    wrapped = [textwrap.wrap(cell, wide) or [""] for cell, wide in zip(cells, widths, strict=True)]
    lines = []
    for number in range(max(map(len, wrapped))):
        parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
        filled = (f"{part:<{wide}}" for part, wide in zip(parts, widths, strict=True))
        lines.append("  " + "  ".join(filled).rstrip())
    return lines
