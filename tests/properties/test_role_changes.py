"""Role changes in the simulated world: wherever they are cut off, one primary comes of it, and it has every row."""

import contextlib
import pickle
from functools import cache, partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.apply.engine import Question
from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName, slot_name
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.plan.candidates import Limits
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.failover import choose_for_failover, plan_failover
from pgtandem.plan.rejoin import rejoin_question
from pgtandem.plan.switchover import plan_switchover
from pgtandem.ports import DatabaseRefused
from pgtandem.testing.checkers import rows_of
from pgtandem.testing.pgbouncer import SimPgbouncer
from pgtandem.testing.probe import Call, Killed, Moment

from .runs import TIMES, Simulation, examples, kill_at
from .topologies import OWNED, PAIR

TRIO = PAIR.with_changes(ports={"db1": 5001, "db2": 5002, "db-3": 5003})
CASCADE = TRIO.with_changes(upstreams={"db-3": "db2"})
POOLED = PAIR.with_changes(pooled=True)
CONFIRMED = PAIR.with_changes(confirms=True)
CLUSTERS = {"pooled": POOLED, "trio": TRIO, "cascade": CASCADE, "confirmed": CONFIRMED}
ELEVEN = 11


def switchover(to: str) -> Question:
    return partial(plan_switchover, to=NodeName(to), limits=Limits())


@cache
def _built(cluster: str) -> bytes:
    simulation = Simulation.new()
    topology = CLUSTERS[cluster].topology()
    simulation.apply(topology)
    for _ in range(5):
        simulation.hand.insert()
    simulation.world.pass_time(2)
    if topology.pgbouncers:
        pgbouncer = SimPgbouncer(simulation.world.machine, "127.0.0.1", 6432, OWNED)
        simulation.world.pgbouncers.append(pgbouncer)
        pgbouncer.restart()
    simulation.apply(topology)
    return pickle.dumps(simulation)


def built(cluster: str) -> Simulation:
    simulation: Simulation = pickle.loads(_built(cluster))
    return simulation


def require_sound(simulation: Simulation, topology: Topology, primary: str | None = None) -> None:
    """Nothing is left to do; one server accepts writes, and it has every acknowledged row; the others follow it."""
    simulation.world.pass_time(3)
    plan = simulation.plan(topology)
    assert plan.empty, [f"{step.id}: {step.what}" for step in plan.steps]
    (server,) = [server for server in simulation.world.servers if server.is_primary]
    assert primary is None or server.title == primary
    assert simulation.hand.acknowledged <= rows_of(server.storage)
    for pgbouncer in simulation.world.pgbouncers:
        shop = pgbouncer.databases["shop"]
        assert (shop.port, shop.paused) == (server.port, False)
        assert len(topology.nodes) == 1 or pgbouncer.databases["shop_ro"].port != server.port
    row = simulation.hand.insert()
    simulation.world.pass_time(2)
    for node in topology.nodes:
        there = simulation.world.server(node.data_directory)
        assert there is not None
        assert row in there.storage.content.rows, node.name
        assert there.in_recovery == (there is not server)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_there_and_back(cluster: str) -> None:
    simulation, topology = built(cluster), CLUSTERS[cluster].topology()
    for to in ("db2", "db1", "db2"):
        simulation.apply(topology, question=switchover(to))
        require_sound(simulation, topology, to)


def test_there_and_back_with_recovery_conf() -> None:
    wanted = TRIO.with_changes(major=ELEVEN)
    simulation, topology = Simulation.new(), wanted.topology()
    simulation.apply(topology)
    for to in ("db2", "db-3", "db1"):
        simulation.apply(topology, question=switchover(to))
        require_sound(simulation, topology, to)


def calls_of(cluster: str) -> int:
    """How many changing calls an undisturbed switchover makes."""
    simulation, seen = built(cluster), [0]

    def note(call: Call) -> None:
        seen[0] = max(seen[0], call.change)

    simulation.apply(CLUSTERS[cluster].topology(), note, switchover("db2"))
    return seen[0]


#: Every way to go on is tried in the usual run, each on one cluster; with more examples each on every cluster.
USUAL = [("cascade", "apply"), ("trio", "switchover"), ("pooled", "back"), ("confirmed", "apply")]
ALL = [(cluster, again) for cluster in CLUSTERS for again in ("apply", "switchover", "back")]


@pytest.mark.parametrize(("cluster", "again"), ALL if TIMES > 1 else USUAL)
def test_killed_at_any_effect(cluster: str, again: str) -> None:
    topology = CLUSTERS[cluster].topology()
    for number in range(0, calls_of(cluster) + 1, 1 if TIMES > 1 else 3):
        simulation = built(cluster)
        try:
            simulation.apply(topology, kill_at(number, "after"), switchover("db2"))
        except Killed:
            try:
                _again(simulation, topology, again)
            except Exception as error:
                raise AssertionError(f"killed after effect {number}") from error


def _again(simulation: Simulation, topology: Topology, again: str) -> None:
    if again == "apply":
        simulation.apply(topology)
        require_sound(simulation, topology)
        return
    to = "db2" if again == "switchover" else "db1"
    try:
        simulation.apply(topology, question=switchover(to))
    except PgtandemError as refusal:
        # The opposite way may be refused while this one is half done; apply settles it first.
        assert refusal.code.text == "PT-3042", refusal.what
        assert again == "back"
        simulation.apply(topology)
        simulation.apply(topology, question=switchover(to))
    require_sound(simulation, topology, to)


@examples(80)
@given(
    st.sampled_from(sorted(CLUSTERS)),
    st.lists(
        st.tuples(
            st.sampled_from(["apply", "db1", "db2"]),
            st.integers(1, 260),
            st.sampled_from(["before", "after"]),
            st.sampled_from(["nothing", "power", "kill db1", "kill db2", "stop db1", "stop db2"]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_any_sequence_of_cut_off_commands_and_crashes_ends_with_one_primary_and_every_row(
    cluster: str, runs: list[tuple[str, int, str, str]]
) -> None:
    topology, simulation = CLUSTERS[cluster].topology(), built(cluster)
    for command, number, moment, accident in runs:
        question = plan_converge if command == "apply" else switchover(command)
        with contextlib.suppress(Killed, PgtandemError):
            simulation.apply(topology, kill_at(number, moment, changes_only=False), question)
        _befall(simulation, topology, accident)
    simulation.apply(topology)
    require_sound(simulation, topology)


def _befall(simulation: Simulation, topology: Topology, accident: str) -> None:
    what, _, name = accident.partition(" ")
    if what == "power":
        simulation.world.power_off()
    elif what == "kill":
        simulation.world.kill_server(topology.node(NodeName(name)).data_directory)
    elif what == "stop":
        simulation.world.stop_server(topology.node(NodeName(name)).data_directory)


SYNCHRONOUS = TRIO.with_changes(synchronous="any 1")
#: Commits that wait for others: any of two standbys; one standby or the archive; of three with the archive, any two.
WAITING = {
    "standbys": SYNCHRONOUS,
    "standby or archive": PAIR.with_changes(synchronous="any 1", confirms=True),
    "two of three": TRIO.with_changes(synchronous="any 2", confirms=True),
    "first": TRIO.with_changes(synchronous="first 1", confirms=True),
}


def failover(simulation: Simulation, topology: Topology) -> Question:
    """As the command asks: about the same node in every round."""
    chosen: list[NodeName] = []

    def question(topology: Topology, observed: Observed) -> Plan:
        if not chosen:
            chosen.append(choose_for_failover(topology, observed))
        return plan_failover(topology, observed, chosen[0])

    return question


@cache
def _built_synchronous(waiting: str = "standbys") -> bytes:
    simulation, topology = Simulation.new(), WAITING[waiting].topology()
    simulation.apply(topology)
    for _ in range(3):
        simulation.hand.insert()
        simulation.world.pass_time(1)
    return pickle.dumps(simulation)


def _after_a_kill_of_db1() -> Simulation:
    simulation: Simulation = pickle.loads(_built_synchronous())
    simulation.world.kill_server(SYNCHRONOUS.topology().node(NodeName("db1")).data_directory)
    return simulation


def test_from_its_first_moment_on_a_new_primary_keeps_what_the_standbys_need() -> None:
    simulation, topology, seen = _after_a_kill_of_db1(), SYNCHRONOUS.topology(), set[str]()

    def look(call: Call) -> None:
        for server in simulation.world.servers:
            if server.is_primary:
                (other,) = {"db2", "db-3"} - {server.title}
                assert slot_name(NodeName(other)) in server.storage.slots, call
                seen.add(server.title)

    simulation.apply(topology, look, failover(simulation, topology))
    assert len(seen) == 1


def test_a_slot_that_cannot_be_made_keeps_nobody_from_being_promoted() -> None:
    simulation, topology = _after_a_kill_of_db1(), SYNCHRONOUS.topology()

    def refuse(call: Call) -> None:
        if call.method == "create_slot" and call.moment is Moment.BEFORE:
            raise DatabaseRefused("node db2", "create the slot", "All replication slots are in use.")

    with pytest.raises(DatabaseRefused, match="create the slot"):
        simulation.apply(topology, refuse, failover(simulation, topology))
    (server,) = [server for server in simulation.world.servers if server.is_primary]
    (other,) = {"db2", "db-3"} - {server.title}
    simulation.apply(topology, question=failover(simulation, topology))
    assert slot_name(NodeName(other)) in server.storage.slots


EVENTS = st.one_of(
    st.tuples(st.sampled_from(["kill", "stop", "start", "freeze", "thaw"]), st.sampled_from(["db1", "db2", "db-3"])),
    st.tuples(
        st.sampled_from(["failover", "apply", "rejoin db1", "rejoin db2", "switchover db1", "switchover db2"]),
        st.integers(1, 400),
    ),
    st.tuples(st.sampled_from(["power", "kill receiver", "freeze receiver", "thaw receiver", "boot"]), st.just("")),
)


#: The standby that is back lacks what the other one confirmed.
LACKING: list[tuple[str, str | int]] = [
    ("stop", "db-3"),
    ("kill", "db1"),
    ("stop", "db2"),
    ("start", "db-3"),
    ("failover", 9999),
]
#: The primary hangs, and goes on when another was to be promoted.
FROZEN: list[list[tuple[str, str | int]]] = [
    [
        ("freeze", "db1"),
        ("failover", number),
        ("thaw", "db1"),
        ("failover", 9999),
        ("rejoin db1", 9999),
        ("apply", 9999),
    ]
    for number in (120, 9999)
]
#: The primary comes back while nobody looks, and after a failover that was cut off at any point.
BACK: list[list[tuple[str, str | int]]] = [
    [("kill", "db1"), ("failover", number), ("start", "db1"), ("apply", 9999), ("failover", 9999), ("apply", 9999)]
    for number in range(60, 260, 20)
]


@pytest.mark.parametrize("events", [LACKING, *FROZEN, *BACK])
def test_events_that_would_lose_rows_or_make_two_primaries(events: list[tuple[str, str | int]]) -> None:
    _live_through(events)


@examples(100)
@given(st.sampled_from(sorted(WAITING)), st.lists(EVENTS, min_size=1, max_size=7))
def test_no_sequence_of_failures_and_commands_makes_two_primaries_or_loses_an_acknowledged_commit(
    waiting: str, events: list[tuple[str, str | int]]
) -> None:
    _live_through(events, waiting)


def _live_through(events: list[tuple[str, str | int]], waiting: str = "standbys") -> None:
    topology = WAITING[waiting].topology()
    simulation: Simulation = pickle.loads(_built_synchronous(waiting))
    for what, more in events:
        name = more if isinstance(more, str) else what.partition(" ")[2]
        if name and NodeName(name) not in topology.names:
            continue
        if isinstance(more, int):
            _command(simulation, topology, what, more)
        elif what == "start":
            path = topology.node(NodeName(more)).data_directory
            if simulation.world.server(path) is None:
                simulation.hand.start(path, topology.postgresql)
        elif what in ("freeze", "thaw"):
            simulation.world.freeze_server(topology.node(NodeName(more)).data_directory, what == "freeze")
        elif what == "kill receiver":
            simulation.world.kill_receivers()
        elif what in ("freeze receiver", "thaw receiver"):
            simulation.world.freeze_receivers(what == "freeze receiver")
        elif what == "boot":
            simulation.world.start_receivers()
        else:
            _befall(simulation, topology, f"{what} {more}")
        simulation.hand.insert()
        simulation.world.pass_time(1)
        simulation.hand.hear()
        writable = [server for server in simulation.world.servers if server.is_primary]
        assert len(writable) <= 1, [server.title for server in writable]
        for server in writable:
            lost = simulation.hand.acknowledged - rows_of(server.storage)
            assert not lost, f"{server.title} lacks {lost} after {what} {more}"


def _command(simulation: Simulation, topology: Topology, what: str, number: int) -> None:
    """A command, killed at this call unless it ends before."""
    name, _, node = what.partition(" ")
    questions: dict[str, Question] = {
        "apply": plan_converge,
        "failover": failover(simulation, topology),
        "switchover": switchover(node),
        "rejoin": rejoin_question(NodeName(node), copy=number % 2 == 0),
    }
    with contextlib.suppress(Killed, PgtandemError):
        simulation.apply(topology, kill_at(number, "after", changes_only=False), questions[name])
