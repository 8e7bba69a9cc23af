"""The dataclass of all values: the standard one, made in a quarter of the time.

A command defines some ninety classes before it does anything, and `dataclasses` compiles six methods for each. Here it
compiles `__init__` alone; equality, hash and representation are the same functions for all of them. That a value is
never changed is what the type checker says, not the run.
"""

from typing import TYPE_CHECKING

__all__ = ["dataclass", "field"]

from dataclasses import field

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses
    from operator import attrgetter

    def dataclass(*, frozen, slots):
        """`frozen` and `slots` are what type checkers read."""
        return _make

    def _make(cls):
        made = dataclasses.dataclass(eq=False, repr=False, slots=True)(cls)
        for name, method in (("__eq__", _equal), ("__hash__", _hash), ("__repr__", _show)):
            if name not in cls.__dict__:
                setattr(made, name, method)
        return made

    def _compared(cls):
        """What gives the values of a value's fields that count, as a tuple; made when it is first needed."""
        names = [each.name for each in dataclasses.fields(cls) if each.compare]
        get = attrgetter(*names) if len(names) > 1 else lambda value: tuple(getattr(value, name) for name in names)
        cls._compared = staticmethod(get)
        return get

    def _values(value):
        cls = type(value)
        get = cls.__dict__.get("_compared")
        return (get.__func__ if get else _compared(cls))(value)

    def _equal(self, other):
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self is other or _values(self) == _values(other)

    def _hash(self):
        return hash(_values(self))

    def _show(self):
        shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
        return f"{type(self).__qualname__}({shown})"
