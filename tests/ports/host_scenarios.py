"""How tests of hosts run and wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from pgtandem.ports.host import Host

T = TypeVar("T")

ODD_NAMES = [
    "with a blank",
    'it\'s "quoted"',
    "$HOME `id` $(id) ;|&",
    "-rf",
    "日本語 äöü",
    "two\nlines",
    "*?[a]",
    "back\\slash",
]


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end."""
    return asyncio.run(coroutine)


async def becomes_true(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> bool:
    """Waits for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def is_gone(host: Host, pid: int) -> bool:
    async def gone() -> bool:
        return not await host.process_alive(pid)

    return await becomes_true(gone)
