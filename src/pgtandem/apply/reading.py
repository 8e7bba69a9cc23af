"""While a restore or a drill is carried out, the archive says so: nobody prunes what it reads, on whatever machine."""

import asyncio
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Plan, StepKind
from pgtandem.observe.readers import reader_file, remove_old_readers, render_reader

_BEAT_SECONDS = 60.0


@asynccontextmanager
async def said_to_be_read(context: Context, plan: Plan, command: str) -> AsyncIterator[None]:
    """A file beside the backups, as long as this lasts, where the plan restores. An archive that takes no file
    (read-only, full) keeps nobody from restoring: then nothing is said."""
    orders = [step.restore for step in plan.steps if step.kind in (StepKind.RESTORE_DATA, StepKind.RECOVER)]
    if not orders or orders[0] is None:
        yield
        return
    order, workspace = orders[0], context.world.workspace
    keeper = context.world.host(order.backup.host)
    folder = posixpath.dirname(order.backup.folder)
    path = reader_file(folder, workspace.token())
    labels = tuple(backup.label for backup in order.chain)
    text = render_reader(workspace.lock_holder(), command, labels)

    async def say() -> None:
        with suppress(PgtandemError):
            await keeper.write_file(path, text)

    async def go_on_saying() -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            await say()

    async def fall_silent() -> None:
        with suppress(PgtandemError):
            await keeper.remove_file(path)
            await remove_old_readers(keeper, folder)

    await say()
    beat = asyncio.create_task(go_on_saying())
    try:
        yield
    finally:
        beat.cancel()
        await asyncio.wait({beat})
        await asyncio.shield(fall_silent())
