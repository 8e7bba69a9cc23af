"""What every Console does, real or fake: to be run by a subclass that provides the fixtures.

`console` is a connection to a PgBouncer with the database "shop", which leads to port 5001 of 127.0.0.1; `write` writes
the file that it includes anew; `hold` begins a transaction on "shop" and returns what ends it.
"""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from pgtandem.ports import Console, DatabaseRefused, DatabaseUnreachable

Write = Callable[[str], None]
Hold = Callable[[], Callable[[], None]]

SHOP = "shop = host=127.0.0.1 port={port} dbname={dbname}\n"


class ConsoleContract:
    @pytest.fixture
    def runner(self) -> Iterator[asyncio.Runner]:
        with asyncio.Runner() as runner:
            yield runner

    @pytest.fixture
    def console(self, runner: asyncio.Runner) -> Console:
        raise NotImplementedError

    @pytest.fixture
    def write(self) -> Write:
        raise NotImplementedError

    @pytest.fixture
    def hold(self) -> Hold:
        raise NotImplementedError

    def test_it_tells_where_its_databases_lead(self, runner: asyncio.Runner, console: Console) -> None:
        shown = runner.run(console.show())
        assert shown.version.startswith("1.")
        assert shown.pool_mode == "transaction"
        shop = shown.databases["shop"]
        assert (shop.host, shop.dbname, shop.paused) == ("127.0.0.1", "postgres", False)
        assert shop.port > 0

    def test_a_pause_is_seen_is_kept_over_a_reload_and_ends(
        self, runner: asyncio.Runner, console: Console, write: Write
    ) -> None:
        runner.run(console.pause("shop"))
        runner.run(console.pause("shop"))
        write(SHOP.format(port=5999, dbname="other"))
        assert runner.run(console.show()).databases["shop"].port != 5999, "a file is read at a reload only"
        runner.run(console.reload())
        shop = runner.run(console.show()).databases["shop"]
        assert (shop.port, shop.dbname, shop.paused) == (5999, "other", True)
        runner.run(console.resume("shop"))
        runner.run(console.resume("shop"))
        assert not runner.run(console.show()).databases["shop"].paused

    def test_a_pause_waits_for_transactions_and_may_be_given_up(
        self, runner: asyncio.Runner, console: Console, hold: Hold
    ) -> None:
        end = hold()

        async def give_up() -> None:
            async with asyncio.timeout(0.3):
                await console.pause("shop")

        with pytest.raises(TimeoutError):
            runner.run(give_up())
        with pytest.raises(DatabaseUnreachable):
            runner.run(console.show())
        end()

    def test_a_database_that_is_not_there_is_refused(self, runner: asyncio.Runner, console: Console) -> None:
        with pytest.raises(DatabaseRefused):
            runner.run(console.pause("nothing"))
        assert "shop" in runner.run(console.show()).databases, "the connection goes on"

    def test_a_closed_connection_is_told(self, runner: asyncio.Runner, console: Console) -> None:
        runner.run(console.close())
        with pytest.raises(DatabaseUnreachable):
            runner.run(console.show())
