"""Who comes first where two want the cluster's lock."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pgtandem.adapters.clock import SystemClock
from pgtandem.apply.holding import GivesWay, Way, hold
from pgtandem.errors import PgtandemError
from pgtandem.ports import LockHolder, World
from pgtandem.testing.world import SimWorld

Work = Callable[[Way], Awaitable[str]]


@pytest.fixture
def world() -> World:
    ports = SimWorld().ports()
    return World(ports.hosts, ports.database, ports.workspace, SystemClock(), ports.certificates)


class Long:
    """Work that ends when it is cancelled alone. What it did is in `said`."""

    def __init__(self, *, gives: GivesWay, tidies: asyncio.Event | None = None) -> None:
        self.gives = gives
        self.begun = asyncio.Event()
        self.said: list[str] = []
        self._tidies = tidies
        self.way: Way | None = None

    async def __call__(self, way: Way) -> str:
        self.way = way
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            if self._tidies is not None:
                await self._tidies.wait()
            self.said.append("tidied up")
        return ""

    async def start(self, world: World, command: str = "backup") -> "asyncio.Task[str]":
        task = asyncio.create_task(hold(world, command, self, gives=self.gives))
        await self.begun.wait()
        return task


async def agreed(_: LockHolder) -> None:
    pass


async def quick(_: Way) -> str:
    return "done"


def test_a_role_change_ends_what_gives_way(world: World) -> None:
    async def run() -> None:
        long = Long(gives=GivesWay.ALWAYS)
        task = await long.start(world)
        assert await hold(world, "failover", quick, overtake=agreed) == "done"
        with pytest.raises(PgtandemError) as caught:
            await task
        assert caught.value.code.text == "PT-5002"
        assert '"failover" by' in caught.value.why
        assert long.said == ["tidied up"]
        assert world.workspace.lock_holder() is None

    asyncio.run(run())


def test_others_wait_for_it_and_so_does_who_is_told_no(world: World) -> None:
    async def run() -> None:
        long = Long(gives=GivesWay.ALWAYS)
        task = await long.start(world)
        with pytest.raises(PgtandemError) as caught:
            await hold(world, "apply", quick)
        assert caught.value.code.text == "PT-5001"

        async def refused(holder: LockHolder) -> None:
            assert holder.command == "backup"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await hold(world, "failover", quick, overtake=refused)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert long.said == ["tidied up"]

    asyncio.run(run())


def test_what_does_not_give_way_is_not_asked(world: World) -> None:
    async def run() -> None:
        long = Long(gives=GivesWay.WHILE_COPYING)
        task = await long.start(world, "apply")
        with pytest.raises(PgtandemError) as caught:
            await hold(world, "failover", quick, overtake=agreed)
        assert caught.value.code.text == "PT-5001"
        assert long.way is not None
        long.way.set(True)
        assert await hold(world, "failover", quick, overtake=agreed) == "done"
        with pytest.raises(PgtandemError):
            await task

    asyncio.run(run())


def test_the_lock_is_let_go_though_the_tidying_up_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not answer any more must not keep a failover waiting."""
    monkeypatch.setattr("pgtandem.apply.holding._TIDY_SECONDS", 0.05)

    async def run() -> None:
        answers = asyncio.Event()
        long = Long(gives=GivesWay.ALWAYS, tidies=answers)
        task = await long.start(world)
        assert await hold(world, "failover", quick, overtake=agreed) == "done"
        assert not task.done()
        answers.set()
        with pytest.raises(PgtandemError) as caught:
            await task
        assert caught.value.code.text == "PT-5002"

    asyncio.run(run())


def test_who_never_lets_go_is_named_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgtandem.apply.holding._PATIENCE_SECONDS", 0.1)

    async def run() -> None:
        with world.workspace.lock("backup"):
            world.workspace.give_way(True)
            with pytest.raises(PgtandemError) as caught:
                await hold(world, "failover", quick, overtake=agreed)
            assert caught.value.code.text == "PT-5001"
            assert world.workspace.lock_wanted_by() is None

    asyncio.run(run())
