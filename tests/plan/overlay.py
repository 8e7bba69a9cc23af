"""Single facts of an Observed value replaced by what a TOML table says, by the names of its fields.

A text "absent" or "unknown: REASON" stands for a fact that is so; in a mapping, "absent" takes the key away.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, is_dataclass, replace
from enum import Enum
from typing import Any

from pgtandem.model.facts import ABSENT, Absent, Known, Unknown
from pgtandem.model.lsn import Lsn, Timeline


def overlaid(value: Any, table: Mapping[str, Any]) -> Any:
    """A dataclass with some of its fields changed. Raises KeyError for a field that it does not have."""
    hints = typing.get_type_hints(type(value))
    return replace(value, **{key: _changed(hints[key], getattr(value, key), wish) for key, wish in table.items()})


def _changed(hint: Any, value: Any, wish: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = typing.get_args(hint)
        if Absent in choices:
            return _fact(typing.get_args(choices[0])[0], value, wish)
        if wish is None:
            return None
        return _changed(choices[0], value, wish)
    if typing.get_origin(hint) is tuple:
        return tuple(_changed(typing.get_args(hint)[0], None, item) for item in wish)
    if isinstance(wish, Mapping):
        if is_dataclass(hint):
            return overlaid(value, wish) if value is not None else _made(hint, wish)
        keys, values = typing.get_args(hint)
        named = {Timeline(int(key)): item for key, item in wish.items()} if keys is Timeline else wish
        return _mapping(values, value, named)
    if hint is Lsn:
        return Lsn.parse(wish)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(wish)
    return wish


def _fact(hint: Any, value: Any, wish: Any) -> Any:
    if wish == "absent":
        return ABSENT
    if isinstance(wish, str) and wish.startswith("unknown: "):
        return Unknown(wish.removeprefix("unknown: "))
    return Known(_changed(hint, value.value if isinstance(value, Known) else None, wish))


def _mapping(hint: Any, value: Mapping[Any, Any] | None, table: Mapping[Any, Any]) -> dict[Any, Any]:
    changed = dict(value or {})
    for key, wish in table.items():
        if wish == "absent":
            del changed[key]
        else:
            named = {"name": key, **wish} if isinstance(wish, Mapping) and "name" in _fields(hint) else wish
            changed[key] = _changed(hint, changed.get(key), named)
    return changed


def _made(hint: Any, table: Mapping[str, Any]) -> Any:
    """A new value; fields without a default that the table leaves out are None."""
    hints = _fields(hint)
    unsaid = {key: None for key, field in hint.__dataclass_fields__.items() if _required(field) and key not in table}
    return hint(**unsaid, **{key: _changed(hints[key], None, wish) for key, wish in table.items()})


def _required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _fields(hint: Any) -> dict[str, Any]:
    return typing.get_type_hints(hint) if is_dataclass(hint) else {}
