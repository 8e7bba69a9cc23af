"""What PgBouncer reads: the file with its databases (pgbouncer.ini(5), section [databases]). Pure: names to texts."""

import re
from collections.abc import Mapping, Sequence

#: The names of databases that can stand in the file: PgBouncer 1.18 reads none in quotes, and starts with no file that
#: has one.
DATABASE_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.,:/-]+")

#: The name of the admin console, which can be no database's.
CONSOLE = "pgbouncer"

_HEAD = """\
; Written by pgtandem for the cluster {cluster}: it changes with every role change, and what is written here by hand is
; lost then. Include it from pgbouncer.ini:  %include {path}
[databases]
"""


def render_databases(cluster: str, path: str, lines: Sequence[str]) -> str:
    """The whole file."""
    return _HEAD.format(cluster=cluster, path=path) + "".join(f"{line}\n" for line in lines)


def database_line(name: str, host: str, port: int, dbname: str, options: str = "") -> str:
    """One database. `host` may be several, with commas: PgBouncer takes them in turn."""
    words = {"host": host, "port": str(port), "dbname": dbname}
    return f"{name} = {_words(words)}{f' {options}' if options else ''}"


def _words(words: Mapping[str, str]) -> str:
    return " ".join(f"{key}={_quoted(value)}" for key, value in words.items())


def _quoted(value: str) -> str:
    return value if _PLAIN_VALUE.fullmatch(value) else "'" + value.replace("'", "''") + "'"
