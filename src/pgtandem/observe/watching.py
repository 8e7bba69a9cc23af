"""Looking at a cluster again and again: for the exporter, the live view and the report.

Every node is looked at on its own and at most once at a time, so one that does not answer holds up no other. What a
server says is asked anew for every look; the files around it, which cost more and hardly change, less often.
"""

import asyncio
from dataclasses import dataclass, replace

from pgtandem.model.backup import Backups
from pgtandem.model.facts import Fact, Known, Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.observed import NOT_LOOKED, Observed, ObservedNode
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.parts import SERVER
from pgtandem.observe.tls import observe_authority
from pgtandem.ports import World

#: How old a look at a server may be, and one at the files around it.
FRESH_SECONDS, _WHOLE_SECONDS = 1.0, 15.0
#: Base backups change seldom, and are looked at by reading a folder for each.
_BACKUPS_SECONDS = 60.0
#: How long a look is waited for, and how long where the last one found no server that answers.
PATIENCE_SECONDS, _ONCE_BITTEN_SECONDS = 5.0, 0.2
#: For so long the last look is remembered when the next one is waited for.
_REMEMBERED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at one node, and when it began (monotonic seconds)."""

    at: float
    seen: ObservedNode


class Watcher:
    """Looks at the nodes of one topology. Many may ask at once. `close` ends what is still under way."""

    def __init__(self, topology: Topology, world: World, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        self.topology = topology
        self.looks = 0
        self.last_seconds = 0.0
        self._world = world
        self._fresh_seconds = fresh_seconds
        self._last: dict[NodeName, _Look] = {}
        self._whole: dict[NodeName, _Look] = {}
        self._under_way: dict[NodeName, tuple[float, asyncio.Task[ObservedNode]]] = {}
        self._written: Lsn | None = None
        self._backups: Fact[Backups] = NOT_LOOKED
        self._backups_at: float | None = None
        self._looking_at_backups: asyncio.Task[Fact[Backups]] | None = None

    @property
    def last_written(self) -> Lsn | None:
        """Up to where a primary had written WAL when one was seen last."""
        return self._written

    async def look(self, patience_seconds: float = PATIENCE_SECONDS) -> Observed:
        """All nodes, each as fresh as it can be had; one that does not answer in time is Unknown. No host is looked at
        for its own sake, and the archive only through its server."""
        names, began = self.topology.names, self._world.clock.monotonic()
        seen, backups = await asyncio.gather(
            asyncio.gather(*(self._node(name, patience_seconds) for name in names)),
            self._look_at_backups(patience_seconds),
        )
        observed = Observed(
            dict(zip(names, seen, strict=True)),
            authority=observe_authority(self.topology, self._world),
            now=self._world.clock.now(),
            backups=backups,
        )
        primaries = observed.primaries()
        server = observed.nodes[primaries[0]].running if len(primaries) == 1 else None
        self._written = server.current_lsn if server and server.current_lsn else self._written
        self.looks += 1
        self.last_seconds = self._world.clock.monotonic() - began
        return observed

    async def close(self) -> None:
        tasks: list[asyncio.Task[ObservedNode] | asyncio.Task[Fact[Backups]]] = [
            task for _, task in self._under_way.values()
        ]
        tasks += [self._looking_at_backups] if self._looking_at_backups else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_at_backups(self, patience: float) -> Fact[Backups]:
        """The first look is waited for; later ones are not, and show from the next question on."""
        now, task = self._world.clock.monotonic(), self._looking_at_backups
        if task is None and (self._backups_at is None or now - self._backups_at >= _BACKUPS_SECONDS):
            task = self._looking_at_backups = asyncio.create_task(Observer(self.topology, self._world).backups())
        if task is not None:
            if not task.done() and self._backups_at is None:
                await asyncio.wait({task}, timeout=patience)
            self._backups_at = now if self._backups_at is None else self._backups_at
            if task.done() and self._looking_at_backups is task:
                self._looking_at_backups, self._backups, self._backups_at = None, task.result(), now
        return self._backups

    async def _node(self, name: NodeName, patience: float) -> ObservedNode:
        now, last = self._world.clock.monotonic(), self._last.get(name)
        if last is not None and now - last.at < self._fresh_seconds:
            return last.seen
        if name not in self._under_way:
            self._under_way[name] = now, asyncio.create_task(self._look(name, now))
        began, task = self._under_way[name]
        bitten = last is not None and last.seen.running is None and now - last.at < _REMEMBERED_SECONDS
        wait = max(began + (_ONCE_BITTEN_SECONDS if bitten else patience) - now, 0)
        if not task.done():
            # Not cancelled: it has deadlines of its own, and whoever asks next finds its answer.
            await asyncio.wait({task}, timeout=wait)
        if task.done():
            return task.result()
        if bitten and last is not None:
            return last.seen
        late = Unknown(f"it did not answer within {patience:g} seconds")
        return ObservedNode(late, late, late, late, late, late, late, late)

    async def _look(self, name: NodeName, began: float) -> ObservedNode:
        try:
            seen = await self._seen(name, began)
            self._last[name] = _Look(began, seen)
            return seen
        finally:
            del self._under_way[name]

    async def _seen(self, name: NodeName, began: float) -> ObservedNode:
        # A new one each time: it remembers what cannot change within one look.
        observer, whole = Observer(self.topology, self._world), self._whole.get(name)
        if whole is not None and began - whole.at < _WHOLE_SECONDS:
            seen = (await observer.nodes({name: SERVER})).nodes[name]
            if seen.running is not None:
                return replace(whole.seen, postmaster=seen.postmaster, server=seen.server)
            if not isinstance(seen.reachable, Known):
                return seen
        seen = await observer.node(name)
        if seen.running is not None:
            self._whole[name] = _Look(began, seen)
        return seen
