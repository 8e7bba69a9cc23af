"""The scale of a plot."""

import math
from collections.abc import Sequence


def round_top(values: Sequence[float | None], least: float) -> float:
    """A round number (1, 2 or 5 with zeros) that no value is above: the scale stands still while values move."""
    most = max((value for value in values if value is not None), default=0.0)
    most = max(most, least)
    power = 10.0 ** math.floor(math.log10(most))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most * 0.999999)
