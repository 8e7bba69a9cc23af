"""Plots of block characters: readable without colour, at any size."""

import math
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


def round_top(values: Sequence[float | None], least: float) -> float:
    """A round number (1, 2 or 5 with zeros) that no value is above: the scale stands still while values move."""
    most = max((value for value in values if value is not None), default=0.0)
    most = max(most, least)
    power = 10.0 ** math.floor(math.log10(most))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most * 0.999999)
