"""Whom the receiver of the archive's stream takes WAL from: of nobody who may be a primary that was given up."""

from dataclasses import replace

import pytest

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.desired import Wish
from pgtandem.plan.failover import plan_failover
from pgtandem.plan.stream import safe_sources
from pgtandem.postgres.stream_scripts import STARTED
from pgtandem.topology.load import load_topology

from .case import FOLDER
from .healthy import healthy, look

DB1, DB2 = NodeName("db1"), NodeName("db2")
TEXT = """
[cluster]
name = "shop"
postgresql = 18
[nodes.db1]
port = 5432
[nodes.db2]
port = 5433
[replication]
synchronous = "any 1"
[archive]
directory = "/srv/archive"
stream = true
synchronous = true
"""
TOPOLOGY = load_topology(TEXT, folder=FOLDER)
AWAY = Unknown("Connection timed out.")


def seen(primary: NodeName, away: NodeName) -> Observed:
    observed = look(TOPOLOGY, TOPOLOGY, healthy(TOPOLOGY, primary, {}), primary)
    gone = replace(observed.nodes[away], reachable=AWAY, data=AWAY, postmaster=AWAY, server=AWAY)
    return replace(observed, nodes={**observed.nodes, away: gone})


def started_with(observed: Observed) -> str:
    plan = plan_converge(TOPOLOGY, observed)
    (step,) = (step for step in plan.steps if step.id == "stream.start")
    return dict(zip(step.names[::2], step.names[1::2], strict=True))[STARTED]


def test_a_node_that_nobody_can_look_at_is_no_source() -> None:
    assert safe_sources(Wish(TOPOLOGY, seen(DB2, away=DB1), DB2)) == (DB2,)


def test_after_a_failover_it_takes_nothing_of_a_primary_that_is_only_said_to_be_dead() -> None:
    plan = plan_failover(TOPOLOGY, seen(DB1, away=DB1), DB2, dead=True)
    (step,) = (step for step in plan.steps if step.id == "stream.start")
    assert "port=5433 " in step.names[step.names.index(STARTED) + 1]
    assert "db2.promote" in step.needs


def test_one_that_streams_as_it_should_keeps_a_standby_whose_host_is_away() -> None:
    # That is what is said where there is nothing else to do.
    with pytest.raises(PgtandemError, match="could not look at db2"):
        plan_converge(TOPOLOGY, seen(DB1, away=DB2))


def test_one_that_does_not_run_is_started_without_a_node_that_is_away() -> None:
    observed = seen(DB1, away=DB2)
    assert isinstance(observed.stream, Known)
    down = replace(observed, stream=Known(replace(observed.stream.value, running=False)))
    assert "port=5432 " in started_with(down)
