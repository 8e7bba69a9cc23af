"""Plots of block characters."""

import pytest

from pgtandem.observe.scale import round_top
from pgtandem.tui.bars import bars


def test_a_column_is_as_high_as_its_value() -> None:
    assert bars([0, 1, 4, 8], 1, 8) == ["·▁▄█"]
    assert bars([0, 4, 8, 16], 2, 16) == ["   █", "·▄██"]


def test_a_gap_is_blank_and_little_is_not_nothing() -> None:
    assert bars([None, 0.001], 2, 100) == ["  ", " ▁"]


def test_more_than_the_scale_stays_inside() -> None:
    assert bars([900], 2, 10) == ["█", "█"]


@pytest.mark.parametrize(("most", "top"), [(0, 1000), (999, 1000), (1001, 2000), (2000, 2000), (4_900_000, 5_000_000)])
def test_the_scale_is_a_round_number_that_nothing_exceeds(most: float, top: float) -> None:
    assert round_top([None, most, 0], 1000) == top
