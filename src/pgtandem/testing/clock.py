"""Virtual time: whoever sleeps wakes at once, in the right order, and the clock says that the time has passed."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_BEGINNING = 1_800_000_000.0


class SimClock:
    """The port Clock. Inside `run` the event loop itself lives in this time: sleeps and deadlines cost nothing."""

    def __init__(self) -> None:
        self._elapsed = 0.0

    def now(self) -> float:
        return _BEGINNING + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        if isinstance(asyncio.get_running_loop(), _VirtualLoop):
            await asyncio.sleep(seconds)
        else:
            self.advance(seconds)
            await asyncio.sleep(0)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end, in virtual time. Raises RuntimeError when everybody waits for nothing."""
        with asyncio.Runner(loop_factory=lambda: _VirtualLoop(self)) as runner:
            return runner.run(coroutine)


class _VirtualLoop(asyncio.SelectorEventLoop):
    """When nothing is ready, the time jumps to the next moment at which something is."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._clock.monotonic()


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: SimClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("nothing will ever happen: everybody waits, and no time is set")
        if timeout > 0:
            self._clock.advance(timeout)
        return []
