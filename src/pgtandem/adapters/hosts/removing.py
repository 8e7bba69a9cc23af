"""Removing a folder that somebody may still be filling.

Whoever kills pgtandem does not kill what it had started: tar goes on to unpack, pg_basebackup to copy, until the folder
that it works in is gone. The next run removes what they left half made, and meets them at it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from pgtandem.ports.host import Completed

#: rm finds a file in the folder that was not there when it looked. The next look hardly takes a moment.
_FILLED = b"Directory not empty"
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.01


async def removed_while_filled(remove: Callable[[], Awaitable[Completed]]) -> Completed:
    """Runs rm until nobody has put anything into the folder meanwhile. What the last run came to."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        completed = await remove()
        if completed.exit_code == 0 or _FILLED not in completed.stderr or time.monotonic() > until:
            return completed
        await asyncio.sleep(_PAUSE_SECONDS)
