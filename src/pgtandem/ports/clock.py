"""Time, so that tests can own it."""

from typing import Protocol


class Clock(Protocol):
    """Wall time in seconds since 1970 for people, monotonic seconds for deadlines."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
