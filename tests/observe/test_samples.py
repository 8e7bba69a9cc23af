"""Numbers over time: what a plot gets of many looks."""

from dataclasses import replace

from cli import values
from cli.values import DB2, PAIR
from pgtandem.model.lsn import Lsn
from pgtandem.observe.samples import NodeSample, Sample, Samples, lag_bytes, replay_lag, sample_of, stage_lag, wal_rate


def sample(at: float, written: int | None, lag: int | None = None) -> Sample:
    return Sample(at, None if written is None else Lsn(written), {DB2: NodeSample(None, lag, None)})


def of(*kept: Sample) -> Samples:
    samples = Samples()
    for each in kept:
        samples.add(each)
    return samples


def test_a_look_becomes_numbers_by_stage() -> None:
    taken = sample_of(values.TRIO, replace(values.SLOW, now=7.0))
    assert taken.at == 7
    assert taken.nodes[DB2] == NodeSample((0, 0, 0, 118_000_000), 118_000_000, 2.5)
    assert stage_lag(DB2, 3)(taken, None) == 118_000_000
    assert replay_lag(DB2)(taken, None) == 2.5


def test_what_is_not_known_is_a_gap_and_no_zero() -> None:
    taken = sample_of(PAIR, values.STANDBY_STOPPED)
    assert lag_bytes(DB2)(taken, None) is None
    assert stage_lag(DB2, 0)(taken, None) is None


def test_the_wal_rate_is_per_second_and_needs_two_looks_at_one_primary() -> None:
    assert wal_rate(sample(1, 100), None) is None
    assert wal_rate(sample(3, 1100), sample(1, 100)) == 500
    assert wal_rate(sample(3, 50), sample(1, 100)) is None, "another primary"
    assert wal_rate(sample(3, None), sample(1, 100)) is None


def test_the_latest_is_at_the_right_and_each_column_has_the_greatest() -> None:
    samples = of(*(sample(at, 0, lag) for at, lag in ((0, 1), (1, 5), (2, 2), (3, 3), (4, 9), (5, 4))))
    assert samples.columns(3, 6, lag_bytes(DB2)) == [5, 3, 9]
    assert samples.columns(4, 2, lag_bytes(DB2))[-1] == 4
    assert samples.columns(10, 10, lag_bytes(DB2)) == [None] * 4 + [1, 5, 2, 3, 9, 4]


def test_columns_between_two_looks_are_filled_and_those_of_a_pause_are_not() -> None:
    samples = of(*(sample(at, 0, 7) for at in (0, 2, 4, 6)))
    assert samples.columns(7, 7, lag_bytes(DB2)) == [7] * 7
    samples = of(*(sample(at, 0, lag) for at, lag in ((0, 7), (1, 7), (2, None), (3, None), (4, None), (5, 7))))
    assert samples.columns(6, 6, lag_bytes(DB2)) == [7, 7, None, None, None, 7]


def test_no_look_is_no_plot() -> None:
    assert Samples().columns(3, 60, wal_rate) == [None, None, None]
