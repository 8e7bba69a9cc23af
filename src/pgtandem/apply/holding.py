"""The cluster's lock around a piece of work, and how a role change comes before work that can be begun anew.

Two of pgtandem never change a cluster at the same time. A backup, a drill or the copy of a node may take hours, though,
and a failover cannot wait for hours: it asks the holder to let go, and that ends its work as Ctrl-C would
(decision 0048).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from enum import Enum
from typing import Any, TypeVar

from pgtandem.errors import PgtandemError
from pgtandem.ports import LockHolder, World

T = TypeVar("T")

#: Told who holds the lock and gives way; raises where his work is not to be ended.
Overtake = Callable[[LockHolder], Awaitable[None]]

_LOOK_SECONDS = 0.1
#: How long work may take to tidy up before the lock is let go all the same: what it tidies up is its own.
_TIDY_SECONDS = 5.0
_PATIENCE_SECONDS = 20.0


class GivesWay(Enum):
    """When a command lets a role change go first, but for the time in which it waits for a yes."""

    NEVER = "never"
    WHILE_COPYING = "while it only copies nodes"
    ALWAYS = "always"


class Way:
    """Whether the holder of the lock lets go now when it is asked to."""

    def __init__(self, world: World, command: str, gives: GivesWay) -> None:
        self.gives = gives
        self._world = world
        self._command = command
        self._open = False

    def set(self, open_: bool) -> None:
        """With GivesWay.ALWAYS it stays open."""
        open_ = open_ or self.gives is GivesWay.ALWAYS
        if open_ != self._open:
            self._world.workspace.give_way(open_)
            self._open = open_

    def wanted(self) -> PgtandemError | None:
        """What to raise where somebody asks and gets it; None otherwise."""
        if not self._open or (who := self._world.workspace.lock_wanted_by()) is None:
            return None
        return gave_way(self._command, who)


async def hold(
    world: World,
    command: str,
    work: Callable[[Way], Coroutine[Any, Any, T]],
    *,
    gives: GivesWay = GivesWay.NEVER,
    overtake: Overtake | None = None,
) -> T:
    """Does the work with the lock held. A holder that gives way is asked to let go where `overtake` agrees.

    Raises PgtandemError PT-5001 where another one holds the lock, PT-5002 where this one was asked to let go.
    """
    with ExitStack() as lock:
        await _take(world, command, lock, overtake)
        way = Way(world, command, gives)
        way.set(False)
        task = asyncio.ensure_future(work(way))
        pause = None if gives is GivesWay.NEVER else _LOOK_SECONDS
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=pause)
                wanted = None if task.done() else way.wanted()
                if wanted is not None:
                    return await _let_go(task, wanted, lock)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        return task.result()


async def _let_go(task: asyncio.Task[T], wanted: PgtandemError, lock: ExitStack) -> T:
    """Ends the work and frees the lock. Where the work came to its own end meanwhile, that is what counts."""
    task.cancel()
    await asyncio.wait({task}, timeout=_TIDY_SECONDS)
    lock.close()
    await asyncio.wait({task})
    if task.cancelled():
        raise wanted
    return task.result()


async def _take(world: World, command: str, lock: ExitStack, overtake: Overtake | None) -> None:
    try:
        lock.enter_context(world.workspace.lock(command))
        return
    except PgtandemError as held:
        holder = world.workspace.lock_holder() if held.code.text == "PT-5001" else None
        if overtake is None or holder is None or not holder.gives_way:
            raise
    await overtake(holder)
    clock = world.clock
    until = clock.monotonic() + _PATIENCE_SECONDS
    with world.workspace.want_lock(command):
        while True:
            try:
                lock.enter_context(world.workspace.lock(command))
                return
            except PgtandemError as held:
                if held.code.text != "PT-5001" or clock.monotonic() >= until:
                    raise
            await clock.sleep(_LOOK_SECONDS / 5)


def gave_way(command: str, who: LockHolder) -> PgtandemError:
    return PgtandemError(
        "PT-5002",
        f"{command} was ended before its time",
        why=f'"{who.command}" by {who.account} on host {who.machine} (process {who.pid}) goes first. What is whole '
        "stays; what is half done is removed, now or by the next run.",
        next_step="wait until the cluster is well (pgtandem status), then run the same command again",
    )
