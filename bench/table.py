"""Outcomes as a table of text."""

from collections.abc import Sequence

from bench.pairs import Outcome, Spread

_HEADINGS = ("benchmark", "pairs", "ours, ms", "other, ms", "ratio", "median", "target")


def table_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """A line per benchmark: least / median / greatest of both sides and of the pairs' ratios, and the target."""
    rows = [_HEADINGS, *(_row(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.name,
        str(len(outcome.ours)),
        _milliseconds(Spread.of(outcome.ours)),
        _milliseconds(Spread.of(outcome.other)),
        f"{outcome.ratios.least:.2f} to {outcome.ratios.greatest:.2f}",
        f"{outcome.ratios.median:.2f}",
        _verdict(outcome),
    )


def _milliseconds(spread: Spread) -> str:
    return " / ".join(f"{seconds * 1000:.0f}" for seconds in (spread.least, spread.median, spread.greatest))


def _verdict(outcome: Outcome) -> str:
    if outcome.target is None:
        return "-"
    return f"{outcome.target:g}: {'MISSED' if outcome.missed else 'met'}"
