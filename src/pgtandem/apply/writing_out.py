"""While a copy is made, what there is of it is written out: so the sync at its end has little left to do.

The system keeps what is written in memory until there is much of it, and the disk stands still for as long; then the
copy is there, and everybody waits for the disk.
"""

import asyncio
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pgtandem.ports import Host, HostFailure

_PAUSE_SECONDS = 0.5


@asynccontextmanager
async def written_out_meanwhile(host: Host, folder: str) -> AsyncIterator[None]:
    """Syncs the file system of a folder, which need not be there yet, again and again until the body is done. Where it
    cannot be done nobody is told: durable is only what is synced at the end, and that says so."""
    over = asyncio.Event()

    async def write_out() -> None:
        with suppress(HostFailure):
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _PAUSE_SECONDS)
                if over.is_set():
                    return
                await host.sync_tree(posixpath.dirname(folder))

    task = asyncio.create_task(write_out())
    try:
        yield
    except BaseException:
        task.cancel()
        raise
    finally:
        over.set()
        await asyncio.wait({task})
