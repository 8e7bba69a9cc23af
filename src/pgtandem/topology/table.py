"""One table of the file, read by the table of keys: types, choices, required and unknown keys."""

from collections.abc import Mapping

from pgtandem.postgres.settings import majors_with
from pgtandem.topology.keys import Key, Kind, keys_of, tables_with
from pgtandem.topology.problems import Path, Problems, did_you_mean, listed, nearest
from pgtandem.topology.toml import describe, quote_key

_TYPES: dict[Kind, type] = {
    Kind.TABLE: dict,
    Kind.SETTINGS: dict,
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.FLAG: bool,
    Kind.LINES: list,
    Kind.TEXTS: dict,
}


class Table:
    """The values of one table. What is wrong is reported once, and read as its default."""

    def __init__(self, problems: Problems, path: Path, values: Mapping[str, object], table: str) -> None:
        self.problems = problems
        self.path = path
        self._values = values
        self._keys = keys_of(table)
        self._misspelt: set[str] = set()
        for name in values.keys() - self._keys.keys():
            self._report_unknown(name)
        for key in self._keys.values():
            self._check(key)

    def _report_unknown(self, name: str) -> None:
        kind = "table" if isinstance(self._values[name], dict) else "key"
        meant = nearest(name, self._keys.keys() - self._values.keys())
        hint = f'did you mean "{meant}"?' if meant else did_you_mean(name, self._keys)
        if meant:
            self._misspelt.add(meant)
            self.problems.doubt((*self.path, meant))
        elif not hint and (others := tables_with(name)):
            hint = "write it under " + listed((f"[{table}]" for table in others), "or")
        elif not hint and majors_with(name):
            hint = "it is a PostgreSQL setting: write it under [parameters]"
        known = "" if hint else f"Known here are {listed(self._keys)}."
        self.problems.add((*self.path, name), f"unknown {kind} {describe(name)}", known, hint)

    def _check(self, key: Key) -> None:
        path = (*self.path, key.name)
        if key.name not in self._values:
            if key.required and key.name not in self._misspelt:
                self.problems.add(path, f"the {_word(key)} is missing", _about(key), _line(key))
            return
        value = self._values[key.name]
        # bool is a subclass of int: type(), not isinstance().
        if type(value) is not _TYPES[key.kind]:
            article = "" if key.kind is Kind.FLAG else "a "
            what = f"{describe(value)} is not {article}{key.kind.value}"
            self.problems.add(path, what, _about(key), _unquoted(key, value))
        elif isinstance(value, str):
            self._check_text(path, key, value)
        elif key.kind is Kind.TEXTS and isinstance(value, dict):
            self._check_texts(path, key, value)
        elif isinstance(value, list):
            for item in value:
                if not isinstance(item, str):
                    self.problems.add(path, f"{describe(item)} is not a text", _about(key))
                elif has_control_characters(item) or not item.strip():
                    self.problems.add(path, f"{describe(item)} is not one line of text", _about(key))

    def _check_texts(self, path: Path, key: Key, values: Mapping[str, object]) -> None:
        for name, item in values.items():
            if not isinstance(item, str):
                self.problems.add(path, f"{describe(item)} ({name}) is not a text", _about(key))
            elif has_control_characters(item + name) or not item.strip() or not name.strip():
                self.problems.add(path, f"{describe(item)} ({describe(name)}) is not one line of text", _about(key))

    def _check_text(self, path: Path, key: Key, value: str) -> None:
        if not value.strip():
            self.problems.add(path, "the text is empty", _about(key))
        elif has_control_characters(value):
            self.problems.add(path, f"{describe(value)} has a control character")
        elif key.choices and value not in key.choices:
            what = f"{describe(value)} is not one of {listed(key.choices, 'or')}"
            self.problems.add(path, what, _about(key), did_you_mean(value, key.choices))

    def given(self, name: str) -> bool:
        """Whether the key stands in the file, right or wrong."""
        return name in self._values

    def misspelt(self, name: str) -> bool:
        """Whether another key of the file was probably meant to be this one."""
        return name in self._misspelt

    def sound(self, name: str) -> bool:
        """Whether nothing was reported about this key."""
        return not self.problems.has(*self.path, name)

    def report(self, name: str, what: str, why: str = "", next_step: str = "") -> None:
        self.problems.add((*self.path, name), what, why, next_step)

    def _value(self, name: str) -> object:
        if self.given(name) and self.sound(name):
            return self._values[name]
        return self._keys[name].default

    def text(self, name: str) -> str | None:
        """The text, or its default, None where it has none."""
        value = self._value(name)
        return value if isinstance(value, str) else None

    def integer(self, name: str) -> int | None:
        """The number, or its default, None where it has none."""
        value = self._value(name)
        return value if isinstance(value, int) else None

    def lines(self, name: str) -> tuple[str, ...]:
        """The texts of a list, none where it is missing or wrong."""
        value = self._value(name)
        return tuple(item.strip() for item in value if isinstance(item, str)) if isinstance(value, list) else ()

    def texts(self, name: str) -> Mapping[str, str]:
        """The texts of an inner table, none where it is missing or wrong."""
        value = self._value(name)
        if not isinstance(value, dict):
            return {}
        return {key: item for key, item in value.items() if isinstance(item, str)}

    def flag(self, name: str) -> bool:
        """The truth value, or its default."""
        return self._value(name) is True

    def values(self, name: str) -> Mapping[str, object] | None:
        """The inner table of a key, None where there is none."""
        value = self._value(name)
        return value if isinstance(value, dict) else None

    def table(self, name: str) -> "Table | None":
        """The inner table, read by the same rules."""
        values = self.values(name)
        return None if values is None else Table(self.problems, (*self.path, name), values, name)


def has_control_characters(text: str) -> bool:
    """Whether a text has a character that no path, label or value on one line may have."""
    return any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or char in "\u2028\u2029" for char in text)


def _word(key: Key) -> str:
    if key.kind is Kind.TABLE:
        return f"table [{key.name}.NAME]" if key.name == "nodes" else f"table [{key.name}]"
    return f'key "{key.name}"'


def _about(key: Key) -> str:
    words = key.meaning[:1].upper() + key.meaning[1:]
    return f"{words}: {key.values_text}." if key.values_text else f"{words}."


def _line(key: Key) -> str:
    if key.name == "nodes":
        return "write a table [nodes.db1]"
    if key.kind is Kind.TABLE:
        first = " and ".join(_line(inner) for inner in keys_of(key.name).values() if inner.required)
        return f"write a table [{key.name}] with {first}"
    return f"{quote_key(key.name)} = {key.example}"


def _unquoted(key: Key, value: object) -> str:
    """The line that was probably meant: a number without quotes, a text with them."""
    if key.kind is Kind.INTEGER and isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
        return f"{key.name} = {int(value)}"
    if key.kind is Kind.FLAG and value in ("true", "false"):
        return f"{key.name} = {value}"
    if key.kind is Kind.TEXT and isinstance(value, int) and not isinstance(value, bool):
        return f'{key.name} = "{describe(value)}"'
    return f"for example {_line(key)}" if key.example else ""
