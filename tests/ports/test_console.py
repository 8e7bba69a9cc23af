"""The admin console of a real PgBouncer before a real server: the contract, and connecting."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from pgtandem.adapters.console import PgbouncerSession
from pgtandem.adapters.database import PsycopgDatabase
from pgtandem.model.names import PgbouncerName, Secret
from pgtandem.model.pooling import PgbouncerConsole
from pgtandem.ports import ConsoleAccess, DatabaseUnreachable
from pgtandem.postgres.pgbouncer import database_line, render_databases
from support.installations import installations
from support.pgbouncers import ADMIN, ADMIN_PASSWORD, PROGRAM, Pgbouncer
from support.servers import PASSWORD, RealServer

from .console_contract import SHOP, ConsoleContract, Hold, Write

pytestmark = [pytest.mark.real, pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")]


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    with RealServer(max(installations(), key=lambda found: found.major)) as server:
        server.initdb().start()
        yield server


@pytest.fixture
def pool(server: RealServer) -> Iterator[Pgbouncer]:
    number = sum(path.name.startswith("pool") for path in server.base.iterdir())
    owned = server.base / f"pool{number}.ini"
    owned.write_text("[databases]\n" + SHOP.format(port=server.port, dbname="postgres"))
    with Pgbouncer(server.base / f"pool{number}", owned, lambda: PASSWORD) as pool:
        pool.start()
        yield pool


def access(pool: Pgbouncer, password: str = ADMIN_PASSWORD) -> ConsoleAccess:
    return ConsoleAccess(PgbouncerName("pool1"), "127.0.0.1", pool.port, ADMIN, Secret(password))


class TestRealConsole(ConsoleContract):
    @pytest.fixture
    def console(self, runner: asyncio.Runner, pool: Pgbouncer) -> Iterator[PgbouncerSession]:
        console = runner.run(PsycopgDatabase().console(access(pool)))
        yield console
        runner.run(console.close())

    @pytest.fixture
    def write(self, pool: Pgbouncer) -> Write:
        def write(lines: str) -> None:
            pool.owned.write_text("[databases]\n" + lines)

        return write

    @pytest.fixture
    def hold(self, pool: Pgbouncer) -> Hold:
        def hold() -> Callable[[], None]:
            connection = pool.connect()
            connection.execute("BEGIN")
            return connection.close

        return hold


def test_what_is_written_is_what_pgbouncer_reads(server: RealServer) -> None:
    lines = [
        database_line("my-shop.2", "127.0.0.1,127.0.0.2", 5001, "it's one", "pool_size=5"),
        database_line("shop", "db1.example.com", 5002, "shop"),
    ]
    owned = server.base / "written.ini"
    owned.write_text(render_databases("shop", str(owned), lines))

    async def show(pool: Pgbouncer) -> PgbouncerConsole:
        console = await PsycopgDatabase().console(access(pool))
        try:
            return await console.show()
        finally:
            await console.close()

    with Pgbouncer(server.base / "written", owned, lambda: PASSWORD) as pool:
        pool.start()
        databases = asyncio.run(show(pool)).databases
    there = {name: (each.host, each.port, each.dbname) for name, each in databases.items()}
    assert there["my-shop.2"] == ("127.0.0.1,127.0.0.2", 5001, "it's one")
    assert there["shop"] == ("db1.example.com", 5002, "shop")


def test_a_wrong_password_is_told_and_never_shown(pool: Pgbouncer) -> None:
    with pytest.raises(DatabaseUnreachable) as refused:
        asyncio.run(PsycopgDatabase().console(access(pool, "a wrong one")))
    assert "a wrong one" not in refused.value.why
    assert "authentication failed" in refused.value.why


def test_nobody_is_there(pool: Pgbouncer) -> None:
    pool.kill()
    with pytest.raises(DatabaseUnreachable) as refused:
        asyncio.run(PsycopgDatabase().console(access(pool)))
    assert "refused" in refused.value.why
