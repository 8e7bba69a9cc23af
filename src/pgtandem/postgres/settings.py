"""PostgreSQL's own settings per major version, and the text that pg_settings shows for what a file says.

In: a major version, a name, a value as a configuration file has it (without the quotes around it). Out: what
pg_settings says of the setting, and the value as pg_settings.setting will show it, so that wanted and found
values compare as texts. The facts stand in settings.tsv, taken from servers of every major
(scripts/settings_catalogue.py); its first lines say what it leaves out and what depends on the build.

Not known here: what a server makes of a value later. It replaces some by computed ones at start (wal_buffers
= -1), shows archive_command as "(disabled)" while archive_mode is off, writes DateStyle, TimeZone and
client_encoding its own way, and refuses strings and combinations by rules of its own.
"""

from __future__ import annotations

import math
import re
import sys
from functools import cache
from typing import Literal, TypeAlias, cast

from pgtandem.model.value import dataclass, field
from pgtandem.postgres.conninfo import mask_passwords

Kind: TypeAlias = Literal["bool", "integer", "real", "string", "enum"]

#: When a setting can change, from "never" to "by anybody at any time" (manual: pg_settings.context).
Context: TypeAlias = Literal["internal", "postmaster", "sighup", "superuser-backend", "backend", "superuser", "user"]

SUPPORTED_MAJORS: tuple[int, ...] = tuple(range(10, 19))

_NONE = r"\N"
_INTEGER_LIMIT = 2**31 - 1

#: These are shown as four octal digits, and nothing else is.
_OCTAL = frozenset({"data_directory_mode", "log_file_mode", "unix_socket_permissions"})

#: Buffers of the caches of transaction data come in banks of 16 (check_slru_buffers, from 17 on).
_BANKED = frozenset(
    {
        *("commit_timestamp_buffers", "multixact_member_buffers", "multixact_offset_buffers"),
        *("notify_buffers", "serializable_buffers", "subtransaction_buffers", "transaction_buffers"),
    }
)

# C's isspace() without its locale.
_SPACE = " \t\n\v\f\r"
_WHOLE = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[ \t\n\v\f\r]*([+-]?)((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_HEXADECIMAL = re.compile(
    r"[ \t\n\v\f\r]*([+-]?)(0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?)"
)

# Per base unit what other units are worth in it, the greatest first; the order decides how fractions are
# rounded. The divisions are written as in PostgreSQL's tables, so that the same doubles come out.
_UNITS: dict[str, tuple[tuple[str, float], ...]] = {
    "B": (("TB", 1024.0**4), ("GB", 1024.0**3), ("MB", 1024.0**2), ("kB", 1024.0), ("B", 1.0)),
    "kB": (("TB", 1024.0**3), ("GB", 1024.0**2), ("MB", 1024.0), ("kB", 1.0), ("B", 1.0 / 1024.0)),
    "8kB": (
        *(("TB", 1024.0**3 / 8), ("GB", 1024.0**2 / 8), ("MB", 1024.0 / 8)),
        *(("kB", 1.0 / 8), ("B", 1.0 / 8192.0)),
    ),
    "MB": (("TB", 1024.0**2), ("GB", 1024.0), ("MB", 1.0), ("kB", 1.0 / 1024.0), ("B", 1.0 / 1024.0**2)),
    "ms": (
        *(("d", 86400e3), ("h", 3600e3), ("min", 60e3), ("s", 1000.0)),
        *(("ms", 1.0), ("us", 1.0 / 1000.0)),
    ),
    "s": (
        *(("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)),
        *(("ms", 1.0 / 1000.0), ("us", 1.0 / 1e6)),
    ),
    "min": (
        *(("d", 1440.0), ("h", 60.0), ("min", 1.0)),
        *(("s", 1.0 / 60.0), ("ms", 1.0 / 60e3), ("us", 1.0 / 60e6)),
    ),
}
_MEMORY_UNITS = frozenset({"B", "kB", "8kB", "MB"})


@dataclass(frozen=True, slots=True)
class SettingSpec:
    """What pg_settings of one major version says of one setting.

    `name` is spelled as the server spells it ("DateStyle"). `unit` is the base unit of `minimum`, `maximum`,
    `default` and of what `canonical` returns ("8kB", "kB", "MB", "B", "ms", "s", "min"), or None for plain
    numbers and everything else. `minimum` and `maximum` are None for other kinds than numbers, and where they
    depend on the build. `enum_values` has everything that some build shows (a server without lz4 refuses
    "lz4"), and is empty for other kinds. `default` is pg_settings.boot_val word for word (a file mode is
    decimal there, and octal in `canonical`); None where there is none or where it depends on the build. It is
    what the server starts from, not what initdb writes into postgresql.conf nor what the server computes from
    it.
    """

    name: str
    kind: Kind
    unit: str | None
    context: Context
    minimum: float | None
    maximum: float | None
    enum_values: tuple[str, ...]
    default: str | None
    # Enum values that are taken as the first and shown as the second text.
    _synonyms: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    # The rules for numbers are those of this major.
    _major: int = field(default=SUPPORTED_MAJORS[-1], repr=False)

    @property
    def needs_restart(self) -> bool:
        """Whether only a restart of the server brings a new value into force."""
        return self.context == "postmaster"

    @property
    def changeable(self) -> bool:
        """Whether it can be set at all; the others report what initdb or the build decided."""
        return self.context != "internal"


def setting_spec(major: int, name: str) -> SettingSpec | None:
    """The setting that a server of this major knows by this name, in any case; None if it knows none.

    An old name that the server still accepts finds the setting under its present name ("sort_mem" finds
    "work_mem", on 18 "ssl_ecdh_curve" finds "ssl_groups"). Names with a dot belong to extensions: None.
    A newer major than the catalogue has is taken for the newest one. Raises ValueError for one that is too old.
    """
    return _specs(_checked(major)).get(name.lower())


def setting_names(major: int) -> frozenset[str]:
    """The names of all settings that pg_settings of this major shows, spelled as there, without old names.

    A newer major than the catalogue has is taken for the newest one. Raises ValueError for one that is too old.
    """
    return frozenset(spec.name for spec in _specs(_checked(major)).values())


def majors_with(name: str) -> tuple[int, ...]:
    """The major versions in which `setting_spec` finds this name, in rising order."""
    return tuple(major for major in SUPPORTED_MAJORS if name.lower() in _specs(major))


def canonical(spec: SettingSpec, text: str) -> str:
    """The text that pg_settings.setting shows after a configuration file has set `spec` to `text`.

    Integers and reals come in the setting's base unit and without it, booleans as "on" or "off", enum values
    as the server spells them, strings unchanged. Raises ValueError with what is expected instead, in one
    line. The rules are those of the server (guc.c: parse_bool, parse_int, parse_real, convert_to_base_unit).
    Up to 11 numbers had no fractions, a smaller unit than the base unit dropped the rest, and microseconds
    (in 10 also bytes) were unknown. Of the hooks that settings have on top of that, those with a fixed rule
    for numbers are kept (wal_buffers, autovacuum_work_mem, vacuum_buffer_usage_limit, io_max_concurrency, the
    caches of transaction data).
    """
    if "\0" in text:
        raise ValueError("expects text without null characters")
    if spec.kind == "string":
        return text
    shown: str | None
    if spec.kind == "bool":
        shown = _boolean(text)
    elif spec.kind == "enum":
        shown = _enum(spec, text)
    elif spec.kind == "integer":
        shown = _integer(spec, text)
    else:
        shown = _real(spec, text)
    if shown is None:
        raise ValueError(f"expects {_expected(spec)} (got {_quoted(text)})")
    return shown


def readable(major: int, name: str, value: str) -> str:
    """A value of pg_settings as people write it: 16384 blocks are 128MB. Passwords in connection strings are masked."""
    spec = setting_spec(major, name)
    if spec is not None and spec.unit and _NUMBER.fullmatch(value) and not value.startswith("-"):
        # What is in no greater unit whole is shown as it is.
        for unit, factor in _UNITS.get(spec.unit, ()):
            number = float(value) / factor
            if number >= 1 and number == int(number):
                return f"{int(number)}{unit}"
        return value if float(value) == 0 else f"{value} {spec.unit}"
    return mask_passwords(value)


_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _checked(major: int) -> int:
    first, last = SUPPORTED_MAJORS[0], SUPPORTED_MAJORS[-1]
    if major < first:
        raise ValueError(f"expects a major version from {first} on (got {major})")
    return min(major, last)


# Reading the file


@cache
def _lines() -> tuple[tuple[int, int, tuple[str, ...]], ...]:
    """Of every line the first and the last major, and all columns."""
    from importlib import resources  # costs more than everything else here, and only the first call needs it

    text = resources.files(__package__).joinpath("settings.tsv").read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            columns = tuple(line.split("\t"))
            first, _, last = columns[1].partition("-")
            lines.append((int(first), int(last or first), columns))
    return tuple(lines)


@cache
def _specs(major: int) -> dict[str, SettingSpec]:
    """By name in lower case, old names included."""
    here = [columns for first, last, columns in _lines() if first <= major <= last]
    specs = {columns[0].lower(): _spec(major, columns) for columns in here if columns[2] != "renamed"}
    specs |= {columns[0].lower(): specs[columns[9]] for columns in here if columns[2] == "renamed"}
    return specs


def _spec(major: int, columns: tuple[str, ...]) -> SettingSpec:
    name, _, kind, unit, context, minimum, maximum, default, values, synonyms = columns
    return SettingSpec(
        name=name,
        kind=cast(Kind, kind),
        unit=None if unit == _NONE else unit,
        context=cast(Context, context),
        minimum=_limit(minimum),
        maximum=_limit(maximum),
        enum_values=() if values == _NONE else tuple(values.split(",")),
        default=None if default == _NONE else default,
        _synonyms=() if synonyms == _NONE else tuple(_pair(text) for text in synonyms.split(",")),
        _major=major,
    )


def _limit(text: str) -> float | None:
    if text == _NONE:
        return None
    # pg_settings shows six digits of DBL_MAX, which is a little less than it.
    return sys.float_info.max if text == "1.79769e+308" else float(text)


def _pair(text: str) -> tuple[str, str]:
    word, _, shown = text.partition("=")
    return word, shown


# Values


def _boolean(text: str) -> str | None:
    """Any unique beginning of true, false, yes, no, on, off; or 1, 0. Spaces around it are refused."""
    word = _ascii_lower(text)
    if word in ("", "o"):
        return None
    if word == "1" or any(full.startswith(word) for full in ("true", "yes", "on")):
        return "on"
    if word == "0" or any(full.startswith(word) for full in ("false", "no", "off")):
        return "off"
    return None


def _enum(spec: SettingSpec, text: str) -> str | None:
    word = _ascii_lower(text)
    for accepted, shown in spec._synonyms:
        if _ascii_lower(accepted) == word:
            return shown
    for value in spec.enum_values:
        if _ascii_lower(value) == word:
            return value
    return None


def _integer(spec: SettingSpec, text: str) -> str | None:
    number = _old_whole(spec, text) if spec._major < 12 else _whole(spec, text)
    if number is None or not _in_range(spec, number):
        return None
    if _exception(spec) is not None and not _obeys_exception(spec, number):
        return None
    if number >= 0:
        number = max(number, _raised_to(spec))
    return f"{number:04o}" if spec.name in _OCTAL else str(number)


def _whole(spec: SettingSpec, text: str) -> int | None:
    """parse_int from 12 on: a whole number (also octal, hexadecimal) or fraction or exponent, then a unit."""
    match = _WHOLE.match(text)
    end = match.end() if match else 0
    value: float | None
    if match is None or text[end : end + 1] in (".", "e", "E"):
        # What has no digits before the point must begin with the point itself: " .5" and "-.5" are refused.
        if text[end : end + 1] not in (".", "e", "E"):
            return None
        value, end = _floating(text)
    else:
        value = _digits(match)
    if value is None:
        return None
    value = _in_base_unit(spec, value, text[end:])
    if value is None or not -_INTEGER_LIMIT - 1 <= _rint(value) <= _INTEGER_LIMIT:
        return None
    return round(value)


def _old_whole(spec: SettingSpec, text: str) -> int | None:
    """parse_int up to 11: a whole number, spaces, a unit; what is left after a division is dropped."""
    match = _WHOLE.match(text)
    if match is None:
        return None
    value = _digits(match)
    unit = text[match.end() :].strip(_SPACE)
    if value is None or not -_INTEGER_LIMIT - 1 <= value <= _INTEGER_LIMIT:
        return None
    if unit:
        factor = dict(_UNITS.get(spec.unit or "", ())).get(unit)
        if factor is None or unit == "us" or (unit == "B" and spec._major == 10):
            return None
        value = value * round(factor) if factor >= 1 else int(value / round(1 / factor))
    return value if -_INTEGER_LIMIT - 1 <= value <= _INTEGER_LIMIT else None


def _real(spec: SettingSpec, text: str) -> str | None:
    value, end = _floating(text)
    if value is None:
        return None
    rest = text[end:]
    if spec._major >= 12:
        value = _in_base_unit(spec, value, rest)
    elif rest.strip(_SPACE):
        return None
    if value is None or not _in_range(spec, value):
        return None
    return f"{value:g}"


def _in_base_unit(spec: SettingSpec, value: float, rest: str) -> float | None:
    """convert_to_base_unit from 12 on: fractions round to whole multiples of the next smaller unit."""
    unit = rest.strip(_SPACE)
    if not unit:
        return value
    units = _UNITS.get(spec.unit or "", ())
    for position, (name, factor) in enumerate(units):
        if name == unit:
            converted = value * factor
            if position + 1 < len(units):
                smaller = units[position + 1][1]
                converted = _rint(converted / smaller) * smaller
            return converted
    return None


def _rint(value: float) -> float:
    """C's rint: to the nearest whole number, halves to the even one, keeping the sign of zero."""
    return math.copysign(round(value), value) if abs(value) < 2**53 else value


def _digits(match: re.Match[str]) -> int | None:
    """strtol with base 0; None for what is too long for any setting in any unit."""
    sign, digits = match.groups()
    if len(digits.lstrip("0xX")) > 30:
        return None
    if digits[:2] in ("0x", "0X"):
        number = int(digits, 16)
    else:
        number = int(digits, 8) if digits.startswith("0") else int(digits)
    return -number if sign == "-" else number


def _floating(text: str) -> tuple[float | None, int]:
    """strtod: the number at the beginning of a text and where it ends; None if there is none that fits.

    Infinity and NaN, which strtod knows too, are left out: no setting takes them.
    """
    for pattern in (_HEXADECIMAL, _DECIMAL):
        match = pattern.match(text)
        if match is None:
            continue
        sign, digits = match.groups()
        try:
            number = float.fromhex(digits) if pattern is _HEXADECIMAL else float(digits)
        except OverflowError:
            return None, match.end()
        if number == float("inf") or (number < sys.float_info.min and _has_digits(pattern, digits)):
            return None, match.end()
        return (-number if sign == "-" else number), match.end()
    return None, 0


def _has_digits(pattern: re.Pattern[str], digits: str) -> bool:
    """Whether a number that came out as nearly zero was meant to be something else."""
    if pattern is _HEXADECIMAL:
        return any(digit not in "0." for digit in digits[2:].lower().partition("p")[0])
    return any(digit not in "0." for digit in digits.lower().partition("e")[0])


def _raised_to(spec: SettingSpec) -> int:
    """Values from 0 on below this become it without a word (check_autovacuum_work_mem, check_wal_buffers)."""
    if spec.name == "autovacuum_work_mem":
        return 1024 if spec._major < 17 else 64
    return 4 if spec.name == "wal_buffers" else 0


def _exception(spec: SettingSpec) -> str | None:
    """What the server demands of a number besides the range."""
    if spec.name in _BANKED:
        return "in multiples of 128kB"
    if spec.name == "vacuum_buffer_usage_limit":
        return "but not below 128kB unless 0"
    return "but not 0" if spec.name == "io_max_concurrency" else None


def _obeys_exception(spec: SettingSpec, number: int) -> bool:
    if spec.name in _BANKED:
        return number % 16 == 0
    if spec.name == "vacuum_buffer_usage_limit":
        return number == 0 or number >= 128
    return number != 0


def _in_range(spec: SettingSpec, value: float) -> bool:
    too_small = spec.minimum is not None and value < spec.minimum
    too_great = spec.maximum is not None and value > spec.maximum
    return not (too_small or too_great)


def _ascii_lower(text: str) -> str:
    return "".join(chr(ord(mark) + 32) if "A" <= mark <= "Z" else mark for mark in text)


# What is expected, for people


def _expected(spec: SettingSpec) -> str:
    if spec.kind == "bool":
        return "on or off"
    if spec.kind == "enum":
        return f"one of {', '.join(value or 'an empty text' for value in spec.enum_values)}"
    if spec.unit in _UNITS:
        what = "a memory size" if spec.unit in _MEMORY_UNITS else "a time"
    else:
        what = "a whole number" if spec.kind == "integer" else "a number"
    special = spec.minimum == -1
    least = 0.0 if special else spec.minimum
    if least is not None and spec.maximum is not None:
        if spec.maximum >= sys.float_info.max:
            what += f" of {_human(spec, least)} or more"
        else:
            what += f" between {_human(spec, least)} and {_human(spec, spec.maximum)}"
    if special:
        what += ", or -1"
    exception = _exception(spec)
    if exception is not None:
        what += f", {exception}"
    example = next((text for text in _examples(spec) if _fits(spec, text)), None)
    return what if example is None else f"{what}, such as '{example}'"


def _examples(spec: SettingSpec) -> tuple[str, ...]:
    if spec.unit in _MEMORY_UNITS:
        return ("1GB", "64MB", "1MB", "256kB", "1kB")
    if spec.unit == "min":
        return ("1h",)
    return () if spec.unit is None else ("30s", "1min", "1s", "50ms", "1ms")


def _fits(spec: SettingSpec, text: str) -> bool:
    return (_integer(spec, text) if spec.kind == "integer" else _real(spec, text)) is not None


def _human(spec: SettingSpec, value: float) -> str:
    """A limit in the greatest unit that leaves at least 1, four digits of it: 16 blocks are 128kB."""
    if value == 0:
        return "0"
    for name, factor in _UNITS.get(spec.unit or "", ()):
        # Limits such as 2^31 - 1 kB are meant as 2TB.
        if value / factor > 0.9999:
            return f"{value / factor:.4g}{name}" if value / factor < 9999.5 else f"{value / factor:.0f}{name}"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:g}"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
