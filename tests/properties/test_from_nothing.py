"""From nothing to any topology, and from any topology to any other with the same primary."""

from hypothesis import given

from pgtandem.errors import PgtandemError

from .runs import Simulation, examples, require_right
from .topologies import Wanted, changed, wanted


@examples(30)
@given(wanted())
def test_any_topology_is_built_from_nothing_and_then_nothing_is_left_to_do(want: Wanted) -> None:
    simulation, topology = Simulation.new(), want.topology()
    outcome = simulation.apply(topology)
    assert outcome.plan.empty
    require_right(simulation, topology)
    assert simulation.apply(topology).steps_done == 0


@examples(50)
@given(wanted(), wanted())
def test_any_topology_becomes_any_other_with_the_same_primary(before: Wanted, after: Wanted) -> None:
    topology = changed(before, after).topology()
    simulation = Simulation.new()
    simulation.apply(before.topology())
    simulation.make_own(before.topology())
    simulation.hand.insert()
    simulation.apply(topology)
    require_right(simulation, topology)


def test_what_is_taken_out_for_all_and_stays_for_a_standby_does_not_stop_that_one() -> None:
    """The primary comes back to its default, which is more than the standby is to have."""
    common = {"max_connections": "20"}
    before = Wanted(
        *(11, {"db1": 5001, "db2": 5002}, {}, {"db2": "1h"}, "on", "none", None, None),
        pooled=False,
        parameters=common,
        of_nodes={},
    )
    after = before.with_changes(delays={}, synchronous="any 1", parameters={}, of_nodes={"db1": {}, "db2": common})
    simulation = Simulation.new()
    simulation.apply(before.topology())
    simulation.apply(after.topology())
    require_right(simulation, after.topology())


@examples(30)
@given(wanted(), wanted())
def test_ports_are_given_anew_or_that_is_refused(before: Wanted, after: Wanted) -> None:
    topology = changed(before, after, keep_ports=False).topology()
    simulation = Simulation.new()
    simulation.apply(before.topology())
    try:
        simulation.apply(topology)
    except PgtandemError as refused:
        assert refused.code.text == "PT-3007", refused  # by a node that is built or removed in the same step
    else:
        require_right(simulation, topology)
