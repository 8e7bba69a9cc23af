"""Configuration files: postgresql.conf and what it includes (manual, 20.1.2). Parse and render."""

import re
from collections.abc import Collection, Mapping

#: The file with pgtandem's settings, relative to the data directory, and the line that makes the server read it.
SETTINGS_FILE = "pgtandem/settings.conf"
RECOVERY_FILE = "recovery.conf"  # up to 11
RECOVERY_DONE = "recovery.done"  # what becomes of it when the recovery ends
INCLUDE_LINE = f"include '{SETTINGS_FILE}'"
_INCLUDE = re.compile(rf"^\s*include\s*=?\s*'{re.escape(SETTINGS_FILE)}'\s*(#.*)?$", re.MULTILINE)
_ASSIGNMENT = re.compile(
    r"""^\s*([A-Za-z_][A-Za-z0-9_.$]*)\s*(?:=\s*|\s+)('(?:[^'\\]|''|\\.)*'|[^\s'#][^\s#]*)\s*(?:\#.*)?$"""
)


def quote_value(value: str) -> str:
    """A value in quotes, as every value may stand. Raises ValueError for a line break, which no value can hold."""
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError("a value of a configuration file cannot hold a line break")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def unquote_value(text: str) -> str:
    """The other way: `'it''s'` to `it's`; a bare value stays as it is."""
    if not text.startswith("'"):
        return text
    inner = text[1:-1]
    return re.sub(r"''|\\(.)", lambda match: match.group(1) or "'", inner)


def render_settings(settings: Mapping[str, str], heading: str) -> str:
    """A configuration file: a comment, then one line per setting, sorted by name."""
    lines = [f"# {line}" for line in heading.splitlines()]
    lines += [f"{name} = {quote_value(value)}" for name, value in sorted(settings.items())]
    return "\n".join(lines) + "\n"


def parse_settings(text: str) -> dict[str, str]:
    """The assignments of a configuration file; a later one wins, names in lower case, includes left out."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match and match.group(1).lower() not in ("include", "include_if_exists", "include_dir"):
            settings[match.group(1).lower()] = unquote_value(match.group(2))
    return settings


def without_settings(text: str, names: Collection[str]) -> str:
    """A configuration file without the assignments of these settings; every other line stays as it is."""
    kept = []
    for line in text.splitlines(keepends=True):
        match = _ASSIGNMENT.match(line.rstrip("\r\n"))
        if match is None or match.group(1).lower() not in names:
            kept.append(line)
    return "".join(kept)


def has_include(text: str) -> bool:
    """Whether a postgresql.conf reads pgtandem's settings last: nothing is assigned after the include line."""
    matches = list(_INCLUDE.finditer(text))
    return bool(matches) and not parse_settings(text[matches[-1].end() :])


def with_include(text: str) -> str:
    """A postgresql.conf that reads pgtandem's settings last; every other line stays as it is."""
    if has_include(text):
        return text
    rest = _INCLUDE.sub("", text)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return f"{rest}{INCLUDE_LINE}\n"
