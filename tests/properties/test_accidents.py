"""After accidents pgtandem either puts the cluster right or refuses with a reason; it never makes things worse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.errors import Family, PgtandemError
from pgtandem.model.plan import Risk
from pgtandem.model.topology import Topology
from pgtandem.testing.checkers import complete_copies

from .accidents import ACCIDENTS, write_much_while_it_is_away
from .runs import Simulation, examples, fingerprint, require_right
from .topologies import PAIR, Wanted, data, wanted

TRIO = PAIR.with_changes(ports={"db1": 5001, "db2": 5002, "db-3": 5003}, upstreams={"db-3": "db2"})


def standing(want: Wanted) -> tuple[Simulation, Topology]:
    """A cluster with things of its own people and a row."""
    simulation, topology = Simulation.new(), want.topology()
    simulation.apply(topology)
    simulation.make_own(topology)
    simulation.hand.insert()
    return simulation, topology


def mend(simulation: Simulation, topology: Topology, *, again: bool = False) -> str:
    """Runs pgtandem: "" when the cluster is right then, or the code of the refusal, which changed nothing.

    A step may fail for what no look could tell before, and then the next run goes on or refuses: a full disk, the
    pg_hba.conf of a server that did not run, WAL that turns out to be gone.
    """
    simulation.hand.keep_what_is_left()
    simulation.world.pass_time(1)
    before = fingerprint(simulation.world)
    try:
        simulation.apply(topology)
    except PgtandemError as refused:
        if not again and refused.code.family is Family.APPLY and _could_not_be_seen(refused):
            simulation.world.empty_disk()
            return mend(simulation, topology, again=True)
        assert refused.code.family is Family.PLAN, f"{refused}: {refused.why}"
        assert fingerprint(simulation.world) == before, f"{refused} came after something was changed"
        return refused.code.text
    require_right(simulation, topology)
    return ""


def _could_not_be_seen(failure: PgtandemError) -> bool:
    return failure.code.text == "PT-4012" or any(word in failure.why for word in ("No space left", "pg_hba.conf"))


#: What pgtandem says to each accident, done to the primary and to a standby of a pair with a cascade; "" where it
#: puts the cluster right.
EXPECTED = {
    "edit_settings_file": ("", ""),
    "edit_settings_file_and_reload": ("", ""),
    "set_after_the_include": ("", ""),
    "edit_hba_block": ("", ""),
    "reject_everybody": ("PT-3008", "PT-3008"),
    "remove_hba_block": ("", ""),
    "drop_slot": ("", ""),
    "leave_a_slot": ("", ""),
    "change_password": ("", ""),
    "drop_role": ("", ""),
    "stop": ("", ""),
    "kill": ("", ""),
    "freeze": ("PT-3008", "PT-3008"),
    "power_cut": ("", ""),
    "take_signal_away_while_stopped": ("", ""),
    "start_without_signal": ("", "PT-3001"),
    "promote": ("", "PT-3001"),
    "remove_data_directory": ("PT-3002", ""),
    "put_foreign_data_there": ("PT-3003", "PT-3003"),
    "swap_data_directories": ("", "PT-3003"),
    "alter_system": ("", ""),
    "alter_system_to_less": ("", ""),
    "alter_system_elsewhere": ("", ""),
    "remove_own_files": ("", ""),
    "remove_marker": ("PT-3003", "PT-3003"),
    "remove_control_file": ("PT-3014", "PT-3014"),
    "write_much_while_it_is_away": ("", ""),
    "remove_archive": ("", ""),
    "take_port": ("PT-3007", "PT-3007"),
    "fill_disk": ("", ""),
}


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("victim", ["db1", "db2"])
def test_accident_is_mended_or_refused_for_its_reason(accident: str, victim: str) -> None:
    simulation, topology = standing(TRIO)
    ACCIDENTS[accident](simulation, topology, topology.names[("db1", "db2").index(victim)])
    simulation.checker.forget()
    assert mend(simulation, topology) == EXPECTED[accident][("db1", "db2").index(victim)]


@examples(70)
@given(wanted(), st.lists(st.tuples(st.sampled_from(sorted(ACCIDENTS)), st.integers(0, 4)), min_size=1, max_size=3))
def test_any_accidents_are_mended_or_refused(want: Wanted, accidents: list[tuple[str, int]]) -> None:
    simulation, topology = standing(want)
    for accident, number in accidents:
        ACCIDENTS[accident](simulation, topology, topology.names[number % len(topology.names)])
    simulation.checker.forget()
    copies = complete_copies(simulation.world, simulation.hand)
    if not copies:
        simulation.hand.acknowledged.clear()  # the only copy was destroyed by hand
    mend(simulation, topology)
    assert not copies or complete_copies(simulation.world, simulation.hand)


def test_a_standby_that_was_started_as_a_primary_is_not_followed_where_others_have_more() -> None:
    simulation, topology = standing(PAIR.with_changes(ports={"db1": 5001, "db2": 5002, "db3": 5003}))
    ACCIDENTS["start_without_signal"](simulation, topology, topology.names[2])
    simulation.hand.insert()
    ACCIDENTS["remove_data_directory"](simulation, topology, topology.names[0])
    simulation.checker.forget()
    assert mend(simulation, topology) == "PT-3041"


@pytest.mark.parametrize("keeps_running", [False, True])
@pytest.mark.parametrize("major", [13, 18])
def test_standby_whose_wal_is_nowhere_is_copied_anew(major: int, keeps_running: bool) -> None:
    simulation, topology = standing(TRIO.with_changes(major=major, archive=None))
    before = simulation.world.storage_of(data("db2"))
    write_much_while_it_is_away(simulation, topology, topology.names[1])
    if keeps_running:
        simulation.hand.start(data("db2"), major)
    simulation.checker.forget()
    plan = simulation.plan(topology)
    assert plan.highest_risk is Risk.REPLACE
    assert mend(simulation, topology) == ""
    assert simulation.world.storage_of(data("db2")) is not before
    assert not [name for name in simulation.world.folder("/srv/shop/data").entries if ".pgtandem-" in name]


def test_standby_that_may_have_more_than_the_primary_is_not_copied_anew() -> None:
    """It was started as a primary for a while: nobody knows what was written there."""
    simulation, topology = standing(PAIR.with_changes(archive=None))
    write_much_while_it_is_away(simulation, topology, topology.names[1])
    simulation.world.storage_of(data("db2")).state = "shut down"
    simulation.checker.forget()
    assert mend(simulation, topology) == "PT-3010"


def test_two_primaries_are_never_chosen_between() -> None:
    simulation, topology = standing(PAIR)
    simulation.hand.promote(data("db2"))
    simulation.checker.forget()
    assert mend(simulation, topology) == "PT-3001"
    for path in (data("db1"), data("db2")):
        simulation.world.stop_server(path)
    simulation.checker.forget()
    assert mend(simulation, topology) == "PT-3001"


def test_standby_is_never_made_a_primary_because_the_primary_is_gone() -> None:
    simulation, topology = standing(PAIR)
    simulation.hand.remove(data("db1"))
    simulation.checker.forget()
    assert mend(simulation, topology) == "PT-3002"
    simulation.world.stop_server(data("db2"))
    with pytest.raises(PgtandemError, match="PT-6001"):
        simulation.apply(topology)
    assert mend(simulation, topology) == "PT-3002", "it runs, and is a standby still"


@pytest.mark.parametrize("name", ["db1", "db2"])
def test_foreign_data_is_never_touched(name: str) -> None:
    simulation = Simulation.new()
    simulation.hand.make_file(f"{data(name)}/thesis.txt", "ten years of work")
    assert mend(simulation, PAIR.topology()) == "PT-3003"
    assert not simulation.world.servers


def test_data_of_another_cluster_is_never_taken() -> None:
    simulation, topology = standing(PAIR)
    other, _ = standing(PAIR)
    foreign = other.world.machine.files.folder(data("db2"))
    simulation.hand.remove(data("db2"))
    simulation.world.folder("/srv/shop/data").entries["db2"] = foreign
    simulation.world.storage_of(data("db2")).system_identifier = "7000000000000000001"
    simulation.checker.forget()
    assert mend(simulation, topology) == "PT-3004"
