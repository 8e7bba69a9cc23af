"""The place where every call crosses a port: counted, watched, and made to fail where a test wants that."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from enum import Enum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar


class Killed(BaseException):
    """kill -9 of pgtandem. From then on no call has an effect, until `SimWorld.ports` begins a new process."""


class Moment(Enum):
    """Before a call has its effect, after it had, or half way through a program that takes its time."""

    BEFORE = "before"
    MIDDLE = "middle"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a port: its number since the last reset (from 1 on; among those that change something only, in
    `change`), the port, the method, what it is about, and whether it may change something outside."""

    number: int
    change: int
    port: str
    method: str
    subject: str
    changes: bool
    moment: Moment = Moment.BEFORE

    def __str__(self) -> str:
        return f"{self.moment.value} call {self.number} ({self.port}.{self.method} {self.subject})"


#: Sees every call at every moment; may raise what the port may raise, or Killed.
Hook = Callable[[Call], None]


class Probe:
    """Counts the calls of one world, and passes each to the hook (which may raise) and to the watchers."""

    def __init__(self) -> None:
        self.hook: Hook | None = None
        self.time_passes: Callable[[], None] = lambda: None
        self.watchers: list[Hook] = []
        self.calls = 0
        self.changes = 0
        self.dead = False

    def reset(self) -> None:
        """Counts from 1 again, with a living process and no hook."""
        self.calls = self.changes = 0
        self.dead = False
        self.hook = None

    def begin(self, port: str, method: str, subject: str, *, changes: bool) -> Call:
        if self.dead:
            raise Killed
        self.time_passes()
        self.calls += 1
        self.changes += changes
        call = Call(self.calls, self.changes, port, method, subject, changes)
        self._ask(call)
        return call

    def at(self, call: Call, moment: Moment) -> None:
        if self.dead:
            raise Killed
        call = replace(call, moment=moment)
        if call.changes:
            for watch in self.watchers:
                watch(call)
        self._ask(call)

    def _ask(self, call: Call) -> None:
        try:
            if self.hook is not None:
                self.hook(call)
        except Killed:
            self.dead = True
            raise


class Probed(Protocol):
    """A fake whose calls are counted."""

    @property
    def probe(self) -> Probe: ...

    @property
    def title(self) -> str:
        """The port's name, and whose it is."""
        ...


S = TypeVar("S", bound=Probed)
P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def port_call(*, changes: bool) -> Callable[[Method[S, P, T]], Method[S, P, T]]:
    """Makes a method of a fake pass the probe before and after; others may run before it begins, as in real life."""

    def decorate(method: Method[S, P, T]) -> Method[S, P, T]:
        name = method.__name__

        @wraps(method)
        async def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            await asyncio.sleep(0)
            call = self.probe.begin(self.title, name, _subject(args), changes=changes)
            try:
                result = await method(self, *args, **kwargs)
            finally:
                if self.probe.dead:
                    raise Killed
            self.probe.at(call, Moment.AFTER)
            answer: Callable[[], Coroutine[Any, Any, None]] | None = getattr(self, "answer", None)
            if answer is not None:  # what was done is done, whether anybody hears of it or not
                await answer()
            return result

        return guarded

    return decorate


def _subject(args: tuple[object, ...]) -> str:
    first = args[0] if args else ""
    return " ".join(map(str, first)) if isinstance(first, list | tuple) else str(first)
