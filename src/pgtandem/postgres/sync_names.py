"""synchronous_standby_names (manual, 20.6.2)."""

import re
from collections.abc import Sequence

_COUNT = re.compile(r"\s*(?:(?:any|first)\s+)?(\d+)\s*\(", re.IGNORECASE)


def render_sync_names(method: str, count: int, names: Sequence[str]) -> str:
    """ "ANY 1 ("db2", "db3")"; the empty text where nobody has to confirm or nobody could.

    Names are always quoted, so that a dash or a capital letter in one cannot make it match nothing.
    """
    if method == "none" or not names:
        return ""
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    return f"{method.upper()} {count} ({quoted})"


def confirmations(value: str) -> int:
    """How many standbys must confirm a commit by a server's synchronous_standby_names: 0 where it is empty, 1 where it
    is a plain list of names."""
    counted = _COUNT.match(value)
    return int(counted.group(1)) if counted else int(bool(value.strip()))


_NAME = re.compile(r'"((?:[^"]|"")*)"|([^\s,()"]+)')


def listed_names(value: str) -> tuple[str, ...]:
    """The names in a server's synchronous_standby_names, without quotes; "*" for any. Names are compared without regard
    to capitals."""
    counted = _COUNT.match(value)
    inner = value[counted.end() :] if counted else value
    return tuple((quoted.replace('""', '"') if quoted else bare) for quoted, bare in _NAME.findall(inner))
