"""The fakes, held to the contracts that the real adapters are held to."""

import asyncio
from collections.abc import Callable

import pytest

from pgtandem.apply.engine import carry_out
from pgtandem.apply.report import Silent
from pgtandem.model.names import REPLICATION_ROLE, SUPERUSER, NodeName, PgbouncerName
from pgtandem.model.plan import Plan, Risk
from pgtandem.plan.converge import plan_converge
from pgtandem.ports import SUPERUSER_SECRET, Access, ConsoleAccess
from pgtandem.testing.certificates import SimCertificates
from pgtandem.testing.clock import SimClock
from pgtandem.testing.database import SimSession
from pgtandem.testing.host import SimHost
from pgtandem.testing.pgbouncer import SimConsole, SimPgbouncer, open_console
from pgtandem.testing.probe import Probe
from pgtandem.testing.workspace import MemoryWorkspace
from pgtandem.testing.world import SimWorld
from pgtandem.topology.load import load_topology
from ports.certificates_contract import CertificatesContract, ca  # noqa: F401
from ports.clock_contract import ClockContract, Run
from ports.console_contract import SHOP, ConsoleContract, Hold, Write
from ports.database_contract import SessionContract
from ports.host_contract import HostBasicsContract
from ports.host_files_contract import HostFilesContract
from ports.host_scenarios import finish
from ports.workspace_contract import Reopen, WorkspaceContract

PAIR = """
[cluster]
name = "shop"
postgresql = 16
binaries = "system"
[nodes.db1]
port = 5001
[nodes.db2]
port = 5002
"""


class TestSimClock(ClockContract):
    @pytest.fixture
    def clock(self) -> SimClock:
        return SimClock()

    @pytest.fixture
    def run(self, clock: SimClock) -> Run:
        return clock.run


class TestSimCertificates(CertificatesContract):
    @pytest.fixture
    def certificates(self) -> SimCertificates:
        return SimCertificates()


class TestMemoryWorkspace(WorkspaceContract):
    @pytest.fixture
    def workspace(self) -> MemoryWorkspace:
        return MemoryWorkspace()

    @pytest.fixture
    def reopen(self, workspace: MemoryWorkspace) -> Reopen:
        return lambda: workspace


class TestSimConsole(ConsoleContract):
    @pytest.fixture
    def pgbouncer(self) -> SimPgbouncer:
        world = SimWorld()
        pgbouncer = SimPgbouncer(world.machine, "127.0.0.1", 6432, "/srv/pool.ini")
        world.machine.files.make_directory("/srv", 0o755)
        world.machine.files.write("/srv/pool.ini", SHOP.format(port=5001, dbname="postgres").encode(), 0o644)
        pgbouncer.restart()
        return pgbouncer

    @pytest.fixture
    def console(self, pgbouncer: SimPgbouncer) -> SimConsole:
        access = ConsoleAccess(PgbouncerName("pool1"), "127.0.0.1", 6432, "pgtandem")
        return open_console([pgbouncer], access, Probe())

    @pytest.fixture
    def write(self, pgbouncer: SimPgbouncer) -> Write:
        return lambda lines: pgbouncer.machine.files.write("/srv/pool.ini", lines.encode(), 0o644)

    @pytest.fixture
    def hold(self, pgbouncer: SimPgbouncer) -> Hold:
        def hold() -> Callable[[], None]:
            pgbouncer.busy.add("shop")
            return lambda: pgbouncer.busy.discard("shop")

        return hold


class TestSimHost(HostFilesContract, HostBasicsContract):
    @pytest.fixture
    def host(self) -> SimHost:
        return SimWorld().host

    @pytest.fixture
    def place(self, host: SimHost) -> str:
        finish(host.make_directory("/srv/place"))
        return "/srv/place"


@pytest.fixture
def world() -> SimWorld:
    """A pair that streams, and nothing that pgtandem left in its databases."""
    world, topology = SimWorld(), load_topology(PAIR, folder="/srv/shop")

    async def say_yes(plan: Plan, approved: Risk | None) -> bool:
        return True

    world.run(carry_out(topology, world.ports(), plan_converge, say_yes, Silent(), "up"))
    for _, storage in world.storages():
        storage.content.proof = None
        del storage.content.roles[REPLICATION_ROLE]
    return world


class TestSimSession(SessionContract):
    @pytest.fixture
    def session(self, runner: asyncio.Runner, world: SimWorld) -> SimSession:
        return _session(runner, world, "db1", 5001)

    @pytest.fixture
    def standby_session(self, runner: asyncio.Runner, world: SimWorld) -> SimSession:
        return _session(runner, world, "db2", 5002)


def _session(runner: asyncio.Runner, world: SimWorld, name: str, port: int) -> SimSession:
    password = world.workspace.secret(SUPERUSER_SECRET)
    session = runner.run(world.ports().database.connect(Access(NodeName(name), "127.0.0.1", port, SUPERUSER, password)))
    assert isinstance(session, SimSession)
    return session
