"""Cut off anywhere and run again: kill -9 of pgtandem, a power cut, an effect that fails."""

import contextlib
import pickle
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.errors import PgtandemError
from pgtandem.model.topology import Topology
from pgtandem.ports import DatabaseRefused, DatabaseUnreachable, HostFailure
from pgtandem.testing.probe import Call, Killed

from .accidents import write_much_while_it_is_away
from .runs import TIMES, Simulation, examples, kill_at, require_right
from .topologies import PAIR, Wanted, changed, wanted

CASCADE = PAIR.with_changes(
    ports={"db1": 5001, "db2": 5002, "db-3": 5003},
    upstreams={"db-3": "db2"},
    durability="remote_apply",
    parameters={"max_connections": "50", "work_mem": "8MB", "max_worker_processes": "16"},
)
#: A change of everything at once: a standby less, another moved and one more, settings up, down and for a restart.
SCENARIOS: dict[str, tuple[Wanted | None, Wanted]] = {
    "a pair from nothing": (None, PAIR),
    "a pair becomes a cascade, settings go up and down": (
        PAIR.with_changes(parameters={"max_connections": "200", "max_worker_processes": "8"}),
        CASCADE,
    ),
    "a cascade loses its middle": (CASCADE, PAIR.with_changes(ports={"db1": 5001, "db-3": 5003}, archive=None)),
    "two standbys swap their ports": (
        CASCADE,
        CASCADE.with_changes(ports={"db1": 5001, "db2": 5003, "db-3": 5002}),
    ),
}


_LOOKING = ("pg_controldata", "tail -n", "head -q", "--version")


@cache
def _built(before: Wanted) -> bytes:
    simulation = Simulation.new()
    simulation.apply(before.topology())
    simulation.make_own(before.topology())
    return pickle.dumps(simulation)


def built(before: Wanted | None) -> Simulation:
    """A world in which a cluster of this topology stands already, or none."""
    if before is None:
        return Simulation.new()
    simulation: Simulation = pickle.loads(_built(before))
    return simulation


def moments_of(before: Wanted | None, after: Wanted, moment: str) -> list[int]:
    """The numbers of the effects of an undisturbed run that have such a moment."""
    seen: list[int] = []
    built(before).apply(after.topology(), _note(moment, seen))
    return seen


def _note(moment: str, seen: list[int]) -> Callable[[Call], None]:
    def note(call: Call) -> None:
        # The journal is for people, and programs that only look change nothing: cut off there is cut off before it.
        looks = call.method == "record" or any(program in call.subject for program in _LOOKING)
        if call.changes and call.moment.value == moment and not looks:
            seen.append(call.change)

    return note


def every_other(numbers: list[int], first: int) -> list[int]:
    """Half of the effects, for what differs little from a kill at each of them; make simulate takes all."""
    return numbers if TIMES > 1 else numbers[first::2]


def run_again(simulation: Simulation, topology: Topology) -> None:
    simulation.apply(topology)
    require_right(simulation, topology)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("moment", ["middle", "after"])
def test_killed_at_any_effect_the_next_run_converges(scenario: str, moment: str) -> None:
    before, after = SCENARIOS[scenario]
    topology = after.topology()
    for number in moments_of(before, after, moment):
        simulation = built(before)
        try:
            simulation.apply(topology, kill_at(number, moment))
        except Killed:
            try:
                run_again(simulation, topology)
            except Exception as error:
                raise AssertionError(f"killed {moment} effect {number}") from error


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_power_cut_at_any_effect_the_next_run_converges(scenario: str) -> None:
    before, after = SCENARIOS[scenario]
    topology = after.topology()
    for number in every_other(moments_of(before, after, "after"), 0):
        simulation = built(before)
        try:
            simulation.apply(topology, kill_at(number, "after"))
        except Killed:
            simulation.world.power_off()
            simulation.checker.forget()
            try:
                run_again(simulation, topology)
            except Exception as error:
                raise AssertionError(f"power cut after effect {number}") from error


@cache
def _astray() -> bytes:
    """A cascade whose first standby was away for so long that its WAL is nowhere any more."""
    simulation, topology = built(CASCADE.with_changes(archive=None)), CASCADE.with_changes(archive=None).topology()
    write_much_while_it_is_away(simulation, topology, topology.names[1])
    simulation.checker.forget()
    return pickle.dumps(simulation)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_copying_anew_may_be_cut_off_at_any_effect(power: bool) -> None:
    topology = CASCADE.with_changes(archive=None).topology()
    seen: list[int] = []
    pickle.loads(_astray()).apply(topology, _note("after", seen))
    for number in seen:
        simulation: Simulation = pickle.loads(_astray())
        with contextlib.suppress(Killed):
            simulation.apply(topology, kill_at(number, "after"))
        if power:
            simulation.world.power_off()
            simulation.checker.forget()
        try:
            run_again(simulation, topology)
        except Exception as error:
            raise AssertionError(f"cut off after effect {number}") from error


def _failure(call: Call) -> PgtandemError:
    """What the port of this call may raise."""
    if call.port.startswith("host"):
        return HostFailure("this machine", f"could not {call.method} {call.subject[:40]}", "Input/output error")
    if call.port.startswith("session"):
        return DatabaseRefused("node db1", call.method, "Out of shared memory.")
    if call.port == "database":
        return DatabaseUnreachable("node db1", "Connection refused.")
    return PgtandemError("PT-1008", "could not write the journal", why="No space left on device.")


def _fail(number: int, moment: str) -> Callable[[Call], None]:
    def hook(call: Call) -> None:
        if call.changes and call.change == number and call.moment.value == moment and call.port != "program":
            raise _failure(call)

    return hook


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_any_effect_may_fail_and_the_next_run_converges(scenario: str, moment: str) -> None:
    before, after = SCENARIOS[scenario]
    topology = after.topology()
    for number in every_other(moments_of(before, after, moment), ("before", "after").index(moment)):
        simulation = built(before)
        with contextlib.suppress(PgtandemError):
            simulation.apply(topology, _fail(number, moment))
        try:
            run_again(simulation, topology)
        except Exception as error:
            raise AssertionError(f"effect {number} failed {moment}") from error


@examples(40)
@given(wanted(), wanted(), st.booleans(), st.integers(1, 2500), st.sampled_from(["before", "after"]), st.booleans())
def test_killed_at_any_call_of_any_change_the_next_run_converges(
    before: Wanted, after: Wanted, from_nothing: bool, number: int, moment: str, power: bool
) -> None:
    after = changed(before, after)
    simulation = built(None if from_nothing else before)
    topology = after.topology()
    try:
        simulation.apply(topology, kill_at(number, moment, changes_only=False))
    except Killed:
        if power:
            simulation.world.power_off()
            simulation.checker.forget()
        run_again(simulation, topology)
