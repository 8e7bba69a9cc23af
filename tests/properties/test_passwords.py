"""New passwords in the simulated world: wherever the change is cut off, no standby is left out for good."""

import pickle
from functools import partial

import pytest

from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.observe.passwords import observe_passwords
from pgtandem.plan.passwords import plan_rotation
from pgtandem.plan.rejoin import rejoin_question
from pgtandem.ports import REPLICATION_SECRET, SUPERUSER_SECRET, former_of, next_of
from pgtandem.testing.probe import Call, Killed

from .runs import TIMES, Simulation, kill_at
from .test_role_changes import CLUSTERS, built, failover, require_sound

CASCADE = CLUSTERS["cascade"].topology()


def rotation(simulation: Simulation) -> "partial[object]":
    return partial(plan_rotation, before=which(simulation))


def which(simulation: Simulation) -> str:
    return observe_passwords(simulation.world.ports().workspace).which


def require_changed(simulation: Simulation, before: str) -> None:
    """The passwords are new, nothing old is left, and every standby comes back after its connection broke."""
    workspace = simulation.world.ports().workspace
    assert which(simulation) != before
    for name in (SUPERUSER_SECRET, REPLICATION_SECRET):
        assert workspace.secret(name) is not None
        assert workspace.secret(next_of(name)) is None
        assert workspace.secret(former_of(name)) is None
    for server in simulation.world.servers:
        if server.in_recovery:
            server.hang_up()
    require_sound(simulation, CASCADE)


def calls() -> int:
    simulation, seen = built("cascade"), [0]

    def note(call: Call) -> None:
        seen[0] = max(seen[0], call.change)

    before = which(simulation)
    simulation.apply(CASCADE, note, rotation(simulation))
    require_changed(simulation, before)
    return seen[0]


def test_killed_at_any_effect_apply_completes_it() -> None:
    start = pickle.dumps(built("cascade"))
    for number in range(0, calls() + 1, 1 if TIMES > 1 else 3):
        for moment in ("before", "after") if TIMES > 1 else ("after",):
            simulation: Simulation = pickle.loads(start)
            before = which(simulation)
            with pytest.raises(Killed) if number else pytest.raises((Killed, AssertionError)):
                simulation.apply(CASCADE, kill_at(number, moment), rotation(simulation))
                raise AssertionError("it was not killed")
            begun = which(simulation) != before or simulation.world.ports().workspace.secret(
                next_of(REPLICATION_SECRET)
            )
            # Standbys that lose their connection right then find a way back.
            for server in simulation.world.servers:
                if server.in_recovery:
                    server.hang_up()
            simulation.apply(CASCADE)
            if begun:
                require_changed(simulation, before)
            else:
                require_sound(simulation, CASCADE)


def test_a_primary_that_dies_in_the_middle_leaves_a_cluster_that_is_completed() -> None:
    for number in range(1, calls() + 1, 1 if TIMES > 1 else 5):
        simulation = built("cascade")
        before = which(simulation)
        with pytest.raises(Killed):
            simulation.apply(CASCADE, kill_at(number, "after"), rotation(simulation))
        simulation.world.kill_server(CASCADE.node(NodeName("db1")).data_directory)
        begun = which(simulation) != before or simulation.world.ports().workspace.secret(next_of(REPLICATION_SECRET))
        try:
            simulation.apply(CASCADE, question=failover(simulation, CASCADE))
        except PgtandemError:
            continue  # nobody is seen to have everything; others test that
        simulation.apply(CASCADE, question=rejoin_question(NodeName("db1"), copy=True))
        simulation.apply(CASCADE)
        if begun:
            require_changed(simulation, before)
