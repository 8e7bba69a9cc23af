"""The benchmarks' own arithmetic, and that the script which pgtandem is measured against really builds a pair."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from bench.clusters import time_plain
from bench.machine import free_ports
from bench.pairs import Outcome, Spread, run_pairs
from bench.table import table_lines

import bench


def test_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_the_medians() -> None:
    outcome = Outcome("x", ours=(1.0, 6.0, 4.0), other=(1.0, 2.0, 8.0))
    assert outcome.ratios == Spread(0.5, 1.0, 3.0)
    assert Spread.of(outcome.ours).median / Spread.of(outcome.other).median == 2.0


def test_median_of_an_even_number_of_figures_lies_between_the_middle_ones() -> None:
    assert Spread.of((4.0, 1.0, 2.0, 3.0)) == Spread(1.0, 2.5, 4.0)


@pytest.mark.parametrize(("target", "missed"), [(None, False), (1.25, False), (1.2, True)])
def test_target_is_missed_only_above_it(target: float | None, missed: bool) -> None:
    outcome = Outcome("x", ours=(1.25, 1.25), other=(1.0, 1.0), target=target)
    assert outcome.missed is missed
    assert ("MISSED" in table_lines([outcome])[1]) is missed


def test_halves_of_a_pair_alternate_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    clock = itertools.count(1.0)

    def run(name: str) -> float:
        order.append(name)
        return next(clock)

    outcome = run_pairs("x", lambda: run("ours"), lambda: run("other"), pairs=2, warm_up=1)
    assert order == ["ours", "other"] * 3
    assert outcome.ours == (3.0, 5.0)
    assert outcome.other == (4.0, 6.0)


@pytest.mark.parametrize(("ours", "other"), [((), ()), ((1.0,), (1.0, 2.0))])
def test_runs_that_are_no_pairs_are_refused(ours: tuple[float, ...], other: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="no pairs"):
        Outcome("x", ours, other)


def test_ports_are_given_once_though_nobody_listens_there_yet() -> None:
    """And not the same to two benchmarks that begin at once, as it was: one of the two pairs could not start."""
    ports = [port for _ in range(20) for port in free_ports(8)]
    assert len(set(ports)) == len(ports)
    asking = [sys.executable, "-c", "from bench.machine import free_ports; print(*free_ports(8))"]
    others = {
        subprocess.run(asking, cwd=Path(bench.__file__).parents[1], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(others) > 1


@pytest.mark.real
@pytest.mark.parametrize("archive", [False, True])
def test_plain_script_builds_a_pair(archive: bool) -> None:
    assert time_plain(archive=archive) > 0
