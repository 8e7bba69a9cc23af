"""The five levels on a cluster as it is."""

from cli import values
from cli.values import DB1, server_of
from pgtandem.model.topology import Durability
from pgtandem.plan.durability_levels import durability_levels

BEYOND = [Durability.REMOTE_WRITE, Durability.ON, Durability.REMOTE_APPLY]


def test_all_five_are_levels_of_their_own_where_a_standby_confirms() -> None:
    levels = durability_levels(server_of(values.CASCADING.nodes[DB1]))
    assert [level.durability for level in levels] == list(Durability)
    assert not any(level.same_as or level.never for level in levels)
    assert len({level.loses for level in levels}) == 5


def test_without_a_standby_that_confirms_the_last_three_are_local() -> None:
    levels = durability_levels(server_of(values.HEALTHY.nodes[DB1]))
    assert [level.durability for level in levels if level.same_as is Durability.LOCAL] == BEYOND
    assert len({level.loses for level in levels[1:]}) == 1, "they lose the same"


def test_where_the_standby_that_must_confirm_is_away_no_commit_would_end() -> None:
    levels = durability_levels(server_of(values.MUCH_IS_WRONG.nodes[DB1]))
    assert [level.durability for level in levels if level.never] == BEYOND
    assert levels[-1].never == "1 standby must confirm and 0 can: no commit would end"
