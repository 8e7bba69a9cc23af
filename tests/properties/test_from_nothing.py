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
