"""What every Clock does, real or fake. A subclass gives the fixture `clock`, and `run`, which runs a coroutine."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pgtandem.ports.clock import Clock

Run = Callable[[Coroutine[Any, Any, None]], None]


class ClockContract:
    def test_sleep_takes_at_least_as_long_as_asked(self, clock: Clock, run: Run) -> None:
        async def scenario() -> None:
            wall, begun = clock.now(), clock.monotonic()
            await clock.sleep(0.05)
            assert clock.monotonic() - begun >= 0.05
            assert clock.now() > wall

        run(scenario())

    def test_wall_time_is_of_this_century_in_seconds(self, clock: Clock) -> None:
        assert 1_700_000_000 < clock.now() < 5_000_000_000

    def test_monotonic_time_never_goes_back(self, clock: Clock, run: Run) -> None:
        async def scenario() -> None:
            seen = []
            for _ in range(20):
                seen.append(clock.monotonic())
                await clock.sleep(0)
            assert seen == sorted(seen)

        run(scenario())

    def test_who_sleeps_shorter_wakes_earlier(self, clock: Clock, run: Run) -> None:
        async def scenario() -> None:
            woken: list[float] = []

            async def sleeper(seconds: float) -> None:
                await clock.sleep(seconds)
                woken.append(seconds)

            await asyncio.gather(*(sleeper(seconds) for seconds in (0.15, 0.01, 0.08)))
            assert woken == [0.01, 0.08, 0.15]

        run(scenario())

    def test_sleep_counts_in_the_deadlines_of_the_event_loop(self, clock: Clock, run: Run) -> None:
        async def scenario() -> None:
            try:
                async with asyncio.timeout(0.02):
                    await clock.sleep(30)
            except TimeoutError:
                return
            raise AssertionError("the deadline did not end the sleep")

        run(scenario())
