"""Plots of block characters: readable without colour, at any size."""

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_SMALLEST = 1


def bars(values: Sequence[float | None], height: int, top: float) -> list[str]:
    """Lines from top to bottom, a column per value; `top` is the value of a full column. A gap is blank, and whatever
    is more than nothing can be seen."""
    lines = [[" "] * len(values) for _ in range(height)]
    for column, value in enumerate(values):
        if value is None:
            continue
        eighths = 0 if top <= 0 else min(round(value / top * height * 8), height * 8)
        if value > 0:
            eighths = max(eighths, _SMALLEST)
        if eighths == 0:
            lines[-1][column] = "·"
        for row in range(height):
            lines[height - 1 - row][column] = _part(eighths - row * 8, lines[height - 1 - row][column])
    return ["".join(line) for line in lines]


def _part(eighths: int, otherwise: str) -> str:
    return otherwise if eighths <= 0 else _EIGHTHS[min(eighths, 8)]
