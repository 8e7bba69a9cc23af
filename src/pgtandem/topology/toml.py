"""TOML texts: read with errors that show the place, and the quoting of keys and strings for writing."""

import re
import tomllib
from typing import Any

from pgtandem.errors import PgtandemError

_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_KEY_TUPLE = re.compile(r"\(('[^']*'(?:, '[^']*')*),?\)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_LONGEST_SHOWN = 100


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The tables and values of a TOML text. Raises PgtandemError PT-1003 where it is not valid TOML."""
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, source) from None
    except RecursionError:
        raise PgtandemError("PT-1003", f"{source} is not valid: its values are nested too deeply") from None
    except ValueError:
        # int() refuses thousands of digits; tomllib lets that through as it is.
        raise PgtandemError("PT-1003", f"{source} is not valid TOML: it has a number of too many digits") from None


def _syntax_error(message: str, text: str, source: str) -> PgtandemError:
    lines = text.replace("\r\n", "\n").split("\n")
    place = _PLACE.search(message)
    words = _PLACE.sub("", message)
    words = words[:1].lower() + words[1:]
    words = _KEY_TUPLE.sub(lambda found: ".".join(re.findall(r"'([^']*)'", found.group(1))), words)
    if place is None:
        return PgtandemError("PT-1003", f"{source} is not valid TOML: {words}")
    if place.group(1):
        number, column = int(place.group(1)), int(place.group(2))
    else:
        while len(lines) > 1 and not lines[-1].strip():
            lines.pop()
        number, column = len(lines), len(lines[-1]) + 1
    line = lines[number - 1] if number <= len(lines) else ""
    return PgtandemError(
        "PT-1003",
        f"{source} is not valid TOML: line {number}, column {column}: {words}",
        why=f"Line {number} reads: {_shown(line.strip()) or '(nothing)'}",
        next_step=_hint(words),
    )


def _hint(words: str) -> str:
    if words.startswith("cannot "):
        return "every key and every table stands only once in the file"
    return "a text stands in double quotes" if words == "invalid value" else ""


def _shown(text: str) -> str:
    """A text of the file on one line of a message: cut when long, control characters escaped."""
    return on_one_line(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "...")


def on_one_line(text: str) -> str:
    """A text with line breaks, control characters and the like as escapes: for messages."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return _ESCAPES.get(char) or (f"\\u{ord(char):04X}" if ord(char) < 0x10000 else f"\\U{ord(char):08X}")


def quote_text(text: str) -> str:
    """A TOML basic string. Letters of all languages stand as they are; control characters are escaped."""
    return '"' + "".join(_escaped(c) if c in _ESCAPES or not c.isprintable() else c for c in text) + '"'


def quote_key(key: str) -> str:
    """A TOML key: bare where it may be."""
    return key if _BARE_KEY.fullmatch(key) else quote_text(key)


def describe(value: object) -> str:
    """A value of the file in the words of a message: a text in quotes, a number, "an array", "a table"."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quote_text(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "...")
        case int():
            return str(value) if -(10**20) < value < 10**20 else "a very large number"
        case float():
            return str(value)
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"
