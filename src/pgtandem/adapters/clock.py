"""The machine's own time."""

import asyncio
import time


class SystemClock:
    """Wall time for people, monotonic time for deadlines."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
