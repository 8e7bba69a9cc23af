"""Network cuts between three hosts and the seat that pgtandem runs on, one way and both ways, among other failures."""

import contextlib
import pickle
from collections.abc import Iterable
from functools import cache, partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.apply.engine import Question
from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.plan.candidates import Limits
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.failover import choose_for_failover, plan_failover
from pgtandem.plan.rejoin import rejoin_question
from pgtandem.plan.switchover import plan_switchover
from pgtandem.testing.checkers import rows_of
from pgtandem.testing.network import CONTROL
from pgtandem.testing.probe import Call, Killed, Moment
from pgtandem.topology.load import load_topology

from .runs import Simulation, examples

HOSTS = {"db1": "10.0.0.1", "db2": "10.0.0.2", "db-3": "10.0.0.3"}
ARCHIVE = "archive"
ADDRESSES = {**HOSTS, ARCHIVE: "10.0.0.9"}
ENDS = (CONTROL, *ADDRESSES)
COMMANDS = ("failover", "failover, dead", "apply", "rejoin", "switchover")
#: What, to whom; and with a command what befalls the cluster at which of its calls, from 1 on (0: nothing).
Event = tuple[str, str, int, tuple[str, str]]
NOTHING = (0, ("", ""))


def topology_of(synchronous: str) -> Topology:
    """Three nodes; with "+ archive" two, and an archive on a host of its own that confirms, too."""
    synchronous, _, archive = synchronous.partition(" + ")
    nodes = "".join(
        f'[nodes.{name}]\nhost = "ssh://{address}"\nport = 5001\ndata_directory = "/srv/data/{name}"\n'
        for name, address in HOSTS.items()
        if not archive or name != "db-3"
    )
    if archive:
        nodes += f'[archive]\nhost = "ssh://{ADDRESSES[ARCHIVE]}"\ndirectory = "/srv/archive"\n'
        nodes += "stream = true\nsynchronous = true\n"
    text = f'[cluster]\nname = "shop"\npostgresql = 16\nbinaries = "system"\n{nodes}'
    return load_topology(f'{text}[replication]\nsynchronous = "{synchronous}"\n', folder="/srv/shop")


@cache
def _built(synchronous: str) -> bytes:
    simulation = Simulation.new(addresses=tuple(ADDRESSES.values()))
    if "archive" in synchronous:
        machine = simulation.world.network.machine_at(ADDRESSES[ARCHIVE])
        assert machine is not None
        simulation.world.network.archive_over_ssh = (machine, "/srv/archive")
    simulation.apply(topology_of(synchronous))
    for _ in range(3):
        simulation.hand.insert()
        simulation.world.pass_time(1)
    return pickle.dumps(simulation)


def url(end: str) -> str:
    return CONTROL if end == CONTROL else f"ssh://{ADDRESSES[end]}"


class Life:
    """What befalls one cluster, and what must be true all along."""

    def __init__(self, synchronous: str) -> None:
        self.topology = topology_of(synchronous)
        self.simulation: Simulation = pickle.loads(_built(synchronous))
        self.world = self.simulation.world
        #: Somebody said that a primary is dead, and it may not be.
        self.said_dead = False

    def path(self, name: str) -> str:
        return self.topology.node(NodeName(name)).data_directory

    def happens(self, event: Event) -> None:
        what, whom, number, meanwhile = event
        if what in COMMANDS:
            self._command(what, whom, number, meanwhile)
        else:
            self._befalls(what, whom)
        self.goes_on()
        self.holds(event)

    def _befalls(self, what: str, whom: str) -> None:
        if what == "cut":
            self.world.cut(*(url(end) for end in whom.split(" > ")))
        elif what == "isolate":
            for end in ENDS:
                self.world.cut(url(end), url(whom))
                self.world.cut(url(whom), url(end))
        elif what == "heal":
            self.world.heal()
        elif whom == ARCHIVE:
            self._befalls_archive(what)
        elif NodeName(whom) not in self.topology.names:
            return
        elif what == "kill":
            self.world.kill_server(self.path(whom))
        elif what == "start":
            if self.world.server(self.path(whom)) is None:
                self.simulation.hand.start(self.path(whom), self.topology.postgresql)
        else:
            self.world.freeze_server(self.path(whom), what == "freeze")

    def _befalls_archive(self, what: str) -> None:
        """Its host is killed and comes back with what starts there, or hangs."""
        if what == "kill":
            self.world.kill_receivers()
        elif what == "start":
            self.world.start_receivers()
        else:
            self.world.freeze_receivers(what == "freeze")

    def goes_on(self) -> None:
        """Clients write wherever somebody accepts that; nobody tells them who is the right one."""
        for server in self.world.servers:
            if server.is_primary and server.answers:
                self.simulation.hand.insert_into(server)
        self.world.pass_time(1)
        self.simulation.hand.hear()

    def holds(self, event: Event) -> None:
        writable = [server for server in self.world.servers if server.is_primary]
        assert len(writable) <= 1 or self.said_dead, f"{[server.title for server in writable]} after {event}"
        acknowledged, latest = self.simulation.hand.acknowledged, self._latest()
        there = [storage for _, storage in self.world.storages() if storage.timeline == latest]
        lost = acknowledged - set().union(*map(rows_of, there))
        assert not lost, f"nobody on timeline {latest} has {lost} after {event}"
        for server in writable:
            lost = acknowledged - rows_of(server.storage) if server.storage.timeline == latest else set()
            assert not lost, f"{server.title} lacks {lost} after {event}"

    def _latest(self) -> int:
        return max(storage.timeline for _, storage in self.world.storages())

    def _command(self, what: str, whom: str, number: int, meanwhile: tuple[str, str]) -> None:
        if NodeName(whom) not in self.topology.names and what in ("switchover", "rejoin"):
            return
        questions: dict[str, Question] = {
            "apply": plan_converge,
            "failover": _failover(dead=False),
            "failover, dead": _failover(dead=True),
            "switchover": partial(plan_switchover, to=NodeName(whom), limits=Limits()),
            "rejoin": rejoin_question(NodeName(whom), copy=number % 2 == 0),
        }
        if what == "rejoin" and self.said_dead and self.world.storage_of(self.path(whom)).timeline == self._latest():
            return  # a person's choice to take back what the newer primary has: that is lost as asked for
        self.said_dead |= what == "failover, dead"
        self.simulation.checker.two_allowed = self.said_dead

        def hook(call: Call) -> None:
            if call.number == number and call.moment is Moment.AFTER:
                if meanwhile[0] == "pgtandem is killed":
                    raise Killed
                self._befalls(*meanwhile)

        with contextlib.suppress(Killed, PgtandemError):
            self.simulation.apply(self.topology, hook, questions[what])


def _failover(*, dead: bool) -> Question:
    chosen: list[NodeName] = []

    def question(topology: Topology, observed: Observed) -> Plan:
        if not chosen:
            chosen.append(choose_for_failover(topology, observed))
        return plan_failover(topology, observed, chosen[0], dead=dead)

    return question


def live_through(events: Iterable[Event], synchronous: str = "any 1") -> Life:
    life = Life(synchronous)
    for event in events:
        life.happens(event)
    return life


def primaries(life: Life) -> list[str]:
    return [server.title for server in life.world.servers if server.is_primary]


def test_a_primary_that_only_its_standbys_see_is_not_failed_over() -> None:
    for way in (f"{CONTROL} > db1", f"db1 > {CONTROL}"):
        life = live_through([("cut", way, *NOTHING), ("failover", "", *NOTHING)])
        assert primaries(life) == ["db1"]


def test_a_primary_that_is_said_to_be_dead_and_is_not_gets_no_commit_confirmed_any_more() -> None:
    """Its standbys stream from it all along: those that are not promoted leave it first."""
    life = live_through([("cut", f"db1 > {CONTROL}", *NOTHING), ("failover, dead", "", *NOTHING)])
    assert primaries(life) == ["db1", "db2"]
    before = set(life.simulation.hand.acknowledged)
    old = next(server for server in life.world.servers if server.title == "db1")
    row = life.simulation.hand.insert_into(old)
    life.world.pass_time(5)
    life.simulation.hand.hear()
    assert row not in life.simulation.hand.acknowledged
    life.goes_on()
    assert life.simulation.hand.acknowledged > before, "commits on the new one are confirmed"


def test_a_standby_that_got_more_meanwhile_keeps_the_other_from_being_promoted() -> None:
    """db2 is chosen; then nothing comes from db1 to it any more, and db-3 alone confirms a commit."""
    life, cut = Life("any 1"), {(url("db1"), url("db2"))}
    life.happens(("cut", f"db1 > {CONTROL}", *NOTHING))

    def before_they_leave(call: Call) -> None:
        if call.method == "write_file" and not life.world.network.cuts & cut:
            life.world.network.cuts |= cut
            life.simulation.hand.insert()
            life.world.pass_time(0.2)

    life.simulation.checker.two_allowed = life.said_dead = True
    with pytest.raises(PgtandemError) as refused:
        life.simulation.apply(life.topology, before_they_leave, _failover(dead=True))
    assert "db2: has received all of db-3" in refused.value.why
    assert primaries(life) == ["db1"]
    life.happens(("failover, dead", "", *NOTHING))
    assert primaries(life) == ["db1", "db-3"]


SYNCHRONOUS = ("any 1", "any 2", "first 1", "any 1 + archive", "any 2 + archive", "first 1 + archive")


def confirmed_by_the_archive_alone(life: Life) -> None:
    """db2 hangs meanwhile."""
    life.happens(("freeze", "db2", *NOTHING))
    before = set(life.simulation.hand.acknowledged)
    life.goes_on()
    assert life.simulation.hand.acknowledged > before


def test_who_cannot_get_what_the_archive_alone_confirmed_is_not_promoted() -> None:
    life = Life("any 1 + archive")
    confirmed_by_the_archive_alone(life)
    for event in [("isolate", "db1"), ("cut", "db2 > archive"), ("thaw", "db2"), ("failover, dead", "")]:
        life.happens((*event, *NOTHING))
    assert primaries(life) == ["db1"]
    life.world.network.cuts.discard((url("db2"), url(ARCHIVE)))
    life.happens(("failover, dead", "", *NOTHING))
    assert primaries(life) == ["db1", "db2"]


@pytest.mark.parametrize("how", ["cut", "isolate"])
def test_the_archive_confirms_nothing_more_to_a_primary_that_is_said_to_be_dead(how: str) -> None:
    """What it alone had confirmed the successor has."""
    life = Life("any 1 + archive")
    confirmed_by_the_archive_alone(life)
    life.happens(("cut", f"{CONTROL} > db1", *NOTHING) if how == "cut" else ("isolate", "db1", *NOTHING))
    life.happens(("thaw", "db2", *NOTHING))
    life.happens(("failover, dead", "", *NOTHING))
    assert "db2" in primaries(life)
    old = next(server for server in life.world.servers if server.title == "db1")
    row = life.simulation.hand.insert_into(old)
    life.world.pass_time(5)
    life.simulation.hand.hear()
    assert row not in life.simulation.hand.acknowledged
    before = set(life.simulation.hand.acknowledged)
    life.goes_on()
    assert life.simulation.hand.acknowledged > before, "commits on the new one are confirmed"


CUTS = st.tuples(st.just("cut"), st.sampled_from([f"{one} > {end}" for one in ENDS for end in ENDS if one != end]))
FAILURES = CUTS | st.tuples(
    st.sampled_from(["isolate", "heal", "kill", "start", "freeze", "thaw"]), st.sampled_from([*HOSTS, ARCHIVE])
)
EVENTS = FAILURES.map(lambda failure: (*failure, *NOTHING)) | st.tuples(
    st.sampled_from(COMMANDS),
    st.sampled_from(list(HOSTS)),
    st.just(0) | st.integers(1, 400),
    st.just(("pgtandem is killed", "")) | FAILURES,
)


@examples(60)
@given(st.sampled_from(SYNCHRONOUS), st.lists(EVENTS, min_size=1, max_size=8))
def test_no_sequence_of_cuts_and_commands_makes_two_primaries_or_loses_an_acknowledged_commit(
    synchronous: str, events: list[Event]
) -> None:
    live_through(events, synchronous)
