"""The dataclass of all values: the standard one, made in a tenth of the time.

A command defines some hundred classes before it does anything, and `dataclasses` compiles six methods for each. Here
equality, hash and representation are the same functions for all of them, and `__init__` is compiled when a class makes
its first value: many make none. That a value is never changed is what the type checker says, not the run.
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
        made = dataclasses.dataclass(init=False, eq=False, repr=False, slots=True)(cls)
        for name, method in (("__eq__", _equal), ("__hash__", _hash), ("__repr__", _show)):
            if name not in cls.__dict__:
                setattr(made, name, method)

        def first(self, *args, **words):
            made.__init__ = _compiled(made)
            made.__init__(self, *args, **words)

        made.__init__ = first
        return made

    def _compiled(cls):
        """What `dataclasses` would have made: a parameter for each field, with its default."""
        place, parameters, lines = {"_ABSENT": dataclasses.MISSING}, [], []
        for each in dataclasses.fields(cls):
            name, default, make = each.name, f"_default_{each.name}", f"_make_{each.name}"
            place[default], place[make] = each.default, each.default_factory
            made_here = each.default_factory is not dataclasses.MISSING
            has_default = made_here or each.default is not dataclasses.MISSING
            if each.init:
                parameters.append(f"{name}={'_ABSENT' if made_here else default}" if has_default else name)
                value = f"{make}() if {name} is _ABSENT else {name}" if made_here else name
                lines.append(f"self.{name} = {value}")
            elif has_default:
                lines.append(f"self.{name} = {make + '()' if made_here else default}")
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        body = "".join(f"    {line}\n" for line in lines or ["pass"])
        exec(f"def __init__({', '.join(['self', *parameters])}):\n{body}", place)
        made = place["__init__"]
        made.__qualname__ = f"{cls.__qualname__}.__init__"
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
