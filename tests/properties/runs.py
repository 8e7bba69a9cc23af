"""Runs of the real engine in the simulated world, and what must be true afterwards."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, settings

from pgtandem.apply.engine import Outcome, Question, carry_out
from pgtandem.apply.report import Silent
from pgtandem.model.names import REPLICATION_ROLE, slot_name
from pgtandem.model.plan import Plan, Risk
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.plan.converge import plan_converge
from pgtandem.postgres.settings import canonical, setting_spec
from pgtandem.postgres.versions import STANDBY_FLOOR
from pgtandem.testing.checkers import Checker, Violation, rows_of
from pgtandem.testing.hand import Hand
from pgtandem.testing.probe import Call, Hook, Killed
from pgtandem.testing.world import SimWorld

#: How many times the usual number of examples are tried. More than 1 means new examples at every run (make simulate);
#: otherwise they are the same at every run, so that a failure is never a matter of luck.
TIMES = int(os.environ.get("PGTANDEM_SIMULATE", "1"))


def examples(count: int) -> settings:
    """The settings of a property that tries so many examples in the usual test run."""
    return settings(
        derandomize=TIMES <= 1,
        deadline=None,
        database=None,
        max_examples=count * TIMES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        print_blob=TIMES > 1,
    )


_WRONG_PASSWORD = 'password authentication failed for user "postgres"'
_OWN_SLOT, _OWN_ROLE = "backup_tool", "app"


async def say_yes(plan: Plan, approved: Risk | None) -> bool:
    return True


@dataclass
class Simulation:
    """A world with an application that writes, and a checker that watches every change."""

    world: SimWorld
    hand: Hand
    checker: Checker

    @classmethod
    def new(cls, *, disk_bytes: int = 8 * 1024**3, addresses: tuple[str, ...] = ()) -> "Simulation":
        world = SimWorld(disk_bytes=disk_bytes, addresses=addresses)
        hand = Hand(world)
        simulation = cls(world, hand, Checker(world, hand))
        world.probe.watchers.append(simulation._write_sometimes)
        return simulation

    def _write_sometimes(self, call: Call) -> None:
        if call.change % 17 == 0:
            self.hand.insert()

    def apply(self, topology: Topology, hook: Hook | None = None, question: Question = plan_converge) -> Outcome:
        """One run of pgtandem. Raises what it raises, Killed where the hook killed it, Violation."""
        ports = self.world.ports()
        self.checker.leaving = {server.title for server in self.world.servers} - set(topology.names)
        self.world.probe.hook = hook
        try:
            return self.world.run(carry_out(topology, ports, question, say_yes, Silent(), "apply"))
        finally:
            self.world.probe.hook = None
            self.checker.require_nothing_found()

    def plan(self, topology: Topology) -> Plan:
        """A fresh process's plan, without carrying it out."""
        return plan_converge(topology, self.world.run(Observer(topology, self.world.ports()).cluster()))

    def make_own(self, topology: Topology) -> None:
        """People make a slot, a role, a file and a line in pg_hba.conf of their own on the primary."""
        path = topology.nodes[0].data_directory
        self.hand.make_slot(path, _OWN_SLOT)
        self.hand.make_role(path, _OWN_ROLE)
        self.hand.make_file(f"{path}/server.crt", "a certificate")
        self.hand.make_file("/srv/shop/data/notes.txt", "somebody's notes")
        self.hand.add_hba_line(path, "host all app 10.0.0.0/8 scram-sha-256")


def require_right(simulation: Simulation, topology: Topology) -> None:
    """The cluster is what the topology says, judged without the planner's own rules; and its plan is empty."""
    primary = topology.nodes[0].name
    plan = simulation.plan(topology)
    assert plan.empty, [f"{step.id}: {step.what}" for step in plan.steps]
    world = simulation.world
    for node in topology.nodes:
        server = world.server(node.data_directory)
        assert server is not None, f"{node.name} does not run"
        assert server.answers
        assert server.port == node.port
        assert server.in_recovery == (node.name != primary)
        for name, text in {**topology.parameters, **node.parameters}.items():
            spec = setting_spec(server.major, name)
            assert spec is not None
            setting = server.settings[spec.name]
            wish = canonical(spec, text)
            if name in STANDBY_FLOOR and server.in_recovery:
                wish = str(max(int(wish), int(_value(world, topology, name))))
            assert (setting.value, setting.pending_restart) == (wish, False), (node.name, name)
        wanted = {slot_name(below) for below in topology.standbys_of(node.name, primary)}
        assert {name for name in server.storage.slots if name != _OWN_SLOT} == wanted, node.name
        upstream = topology.upstream_of(node.name, primary)
        if upstream is not None:
            assert server.upstream is world.server(topology.node(upstream).data_directory), node.name
            assert server.slot == slot_name(node.name)
            # A connection that was made while there was TLS may stay.
            assert server.encrypted or topology.tls is None, node.name
        assert (server.certificate is not None) == (topology.tls is not None), node.name
        lets_plain_in = world.network.refusal(server, world.machine, "postgres", "postgres", "") == _WRONG_PASSWORD
        assert lets_plain_in == (topology.tls is None or not topology.tls.required), node.name
    first = world.server(topology.nodes[0].data_directory)
    assert first is not None
    assert first.storage.content.roles[REPLICATION_ROLE].replication
    assert first.value("synchronous_commit") == topology.replication.durability.value
    for path, folder in ((node.data_directory, world.folder(node.data_directory)) for node in topology.nodes):
        assert all(file.durable for _, file in folder.files()), path
    leftovers = [name for name in world.folder("/srv/shop/data").entries if ".pgtandem-new." in name]
    assert not leftovers
    _row_arrives(simulation, topology)


def fingerprint(world: SimWorld) -> object:
    """Everything that a change would change: files, what the servers have and who lives. Logs and WAL of clients and
    checkpoints go on by themselves."""
    files = {
        path: (file.content, file.mode)
        for path, file in world.machine.files.root.files()
        if not path.endswith((".log", "postmaster.pid"))
    }
    servers = sorted((server.path, server.pid) for server in world.servers)
    stores = {
        path: (sorted(storage.slots), sorted(storage.content.roles), storage.timeline, storage.system_identifier)
        for path, storage in world.storages()
    }
    return files, servers, stores


def _value(world: SimWorld, topology: Topology, name: str) -> str:
    """What the primary has of a setting: no standby may have less."""
    server = world.server(topology.nodes[0].data_directory)
    assert server is not None
    return server.value(name)


def _row_arrives(simulation: Simulation, topology: Topology) -> None:
    row = simulation.hand.insert()
    simulation.world.pass_time(2)
    simulation.hand.hear()
    assert row in simulation.hand.acknowledged, "the commit waits"
    for node in topology.nodes:
        server = simulation.world.server(node.data_directory)
        assert server is not None
        assert simulation.hand.acknowledged <= rows_of(server.storage), f"{node.name} lacks rows"


def kill_at(number: int, moment: str, *, changes_only: bool = True) -> Hook:
    """A hook that kills pgtandem at the n-th call."""

    def hook(call: Call) -> None:
        if (call.change if changes_only else call.number) == number and call.moment.value == moment:
            if changes_only and not call.changes:
                return
            raise Killed

    return hook


def fail_at(number: int, error: Callable[[], Exception], moment: str = "before") -> Hook:
    """A hook that makes the n-th effect fail, once."""

    def hook(call: Call) -> None:
        if call.changes and call.change == number and call.moment.value == moment:
            raise error()

    return hook


__all__ = ["Simulation", "Violation", "examples", "fail_at", "kill_at", "require_right", "say_yes"]
