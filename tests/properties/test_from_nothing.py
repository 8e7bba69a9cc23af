"""From nothing to any topology, and from any topology to any other with the same primary."""

from hypothesis import given, settings

from .runs import Simulation, require_right
from .topologies import Wanted, wanted


@given(wanted())
def test_any_topology_is_built_from_nothing_and_then_nothing_is_left_to_do(want: Wanted) -> None:
    simulation, topology = Simulation.new(), want.topology()
    outcome = simulation.apply(topology)
    assert outcome.plan.empty
    require_right(simulation, topology)
    assert simulation.apply(topology).steps_done == 0


@settings(max_examples=100)
@given(wanted(majors=(11, 13, 16, 18)), wanted())
def test_any_topology_becomes_any_other_with_the_same_primary(before: Wanted, after: Wanted) -> None:
    after = after.with_changes(
        major=before.major,
        parameters=_known(before.major, after.parameters),
        of_nodes={name: _known(before.major, values) for name, values in after.of_nodes.items()},
    )
    simulation = Simulation.new()
    simulation.apply(before.topology())
    simulation.make_own(before.topology())
    simulation.hand.insert()
    simulation.apply(after.topology())
    require_right(simulation, after.topology())


def _known(major: int, parameters: dict[str, str]) -> dict[str, str]:
    from .topologies import PARAMETERS

    return {name: value for name, value in parameters.items() if PARAMETERS[name][0] <= major}
