"""Health checks: what a load balancer is told about each node."""

from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from cli import values
from cli.values import DB1, DB2, PAIR, built, node, sender, stopped, topology
from pgtandem.model.facts import Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.topology import Topology
from pgtandem.web.checks import Limits, check_primary, check_standby, parse_limits

NONE = Limits()
LATE = Unknown("it did not answer within 2 seconds")
FROZEN = ObservedNode(LATE, LATE, LATE, LATE, LATE, LATE, LATE, LATE)
WRITTEN = Lsn(0x25000060)


def standby(
    observed: Observed,
    limits: Limits = NONE,
    *,
    written: Lsn | None = None,
    of: Topology = PAIR,
    name: NodeName | None = DB2,
) -> tuple[int, str]:
    answer = check_standby(of, observed, limits, written, name)
    return answer.status, answer.text


def pair(second: ObservedNode, first: ObservedNode | None = None) -> Observed:
    return Observed({DB1: first or built("db1", 5432, primary=True, sends=(sender("db2"),)), DB2: second})


def test_the_primary_is_the_node_that_takes_writes_and_no_other() -> None:
    assert check_primary(PAIR, values.HEALTHY, DB1).status == 200
    answer = check_primary(PAIR, values.HEALTHY, DB2)
    assert (answer.status, answer.text) == (503, "db2 is a standby")
    assert check_primary(PAIR, values.HEALTHY).text == "db1 is the primary"


def test_of_two_primaries_none_is_taken_for_the_one() -> None:
    two = pair(built("db2", 5433, primary=True))
    for name in (DB1, DB2, None):
        answer = check_primary(PAIR, two, name)
        assert answer.status == 503
        assert "2 primaries (db1, db2)" in answer.text


@pytest.mark.parametrize("gone", [stopped("db1", primary=True), FROZEN])
def test_a_primary_that_does_not_answer_is_none(gone: ObservedNode) -> None:
    seen = pair(built("db2", 5433), gone)
    assert check_primary(PAIR, seen, DB1).status == 503
    assert check_primary(PAIR, seen).text == "no primary answers"


def test_a_standby_that_streams_is_fit_to_be_read_from_and_the_primary_is_none() -> None:
    assert standby(values.CAUGHT_UP) == (200, "db2 is a standby, 0 bytes behind")
    assert standby(values.CAUGHT_UP, name=DB1) == (503, "db1 is a primary")
    assert standby(values.CAUGHT_UP, name=None)[0] == 200


def test_limits_hold_in_bytes_and_in_seconds() -> None:
    assert standby(values.HEALTHY, Limits(lag_bytes=1_500_000))[0] == 200
    assert standby(values.HEALTHY, Limits(lag_bytes=1_499_999)) == (
        503,
        "db2 is 1500000 bytes behind, more than 1499999",
    )
    assert standby(values.HEALTHY, Limits(lag_seconds=2.5))[0] == 200
    assert standby(values.HEALTHY, Limits(lag_seconds=2))[0] == 503


def test_an_idle_standby_meets_every_limit() -> None:
    assert standby(values.CAUGHT_UP, Limits(0, 0))[0] == 200


def test_a_standby_that_does_not_stream_from_a_primary_that_runs_is_not_fit() -> None:
    assert standby(pair(built("db2", 5433), built("db1", 5432, primary=True))) == (503, "db2 is not streaming")


def test_without_any_primary_a_standby_is_measured_against_the_last_known_position() -> None:
    seen = pair(built("db2", 5433, lag_bytes=100), stopped("db1", primary=True))
    assert standby(seen)[0] == 200
    assert standby(seen, Limits(lag_bytes=100), written=WRITTEN)[0] == 200
    assert standby(seen, Limits(lag_bytes=99), written=WRITTEN)[0] == 503
    assert standby(seen, Limits(lag_bytes=99)) == (503, "how many bytes db2 is behind is not known")


def test_a_standby_whose_replay_is_paused_is_not_fit_unless_it_has_everything() -> None:
    paused = built("db2", 5433, lag_bytes=8, replay_paused=True)
    assert standby(pair(paused)) == (503, "replay is paused on db2")
    assert standby(pair(built("db2", 5433, replay_paused=True)))[0] == 200


def test_a_standby_that_is_late_on_purpose_is_read_from_by_those_who_say_how_late() -> None:
    assert standby(values.HEALTHY, of=values.DELAYED_PAIR)[0] == 503
    assert standby(values.HEALTHY, Limits(lag_seconds=7200), of=values.DELAYED_PAIR)[0] == 200


def test_a_cascading_standby_may_be_read_from() -> None:
    assert standby(values.CASCADING, of=values.CASCADE, name=values.DB3)[0] == 200


def test_no_standby_is_no() -> None:
    alone = topology(node("db1", 5432))
    assert standby(Observed({DB1: built("db1", 5432, primary=True)}), of=alone, name=None)[0] == 503
    assert standby(replace(values.HEALTHY, nodes={DB1: FROZEN, DB2: FROZEN}), name=None)[0] == 503


def test_parameters_are_two_and_numbers() -> None:
    assert parse_limits(parse_qs("max_lag_bytes=16777216&max_lag_seconds=1.5")) == Limits(16777216, 1.5)
    assert parse_limits({}) == NONE
    for query in ("max_lag=3", "max_lag_bytes=much", "max_lag_seconds=-1", "max_lag_bytes=inf", "max_lag_bytes=nan"):
        with pytest.raises(ValueError, match="max_lag"):
            parse_limits(parse_qs(query))
