"""The tables [pgbouncers.NAME]."""

import re
from collections.abc import Mapping, Sequence

from pgtandem.model.names import NodeName, PgbouncerName
from pgtandem.model.topology import Pgbouncer
from pgtandem.postgres.pgbouncer import CONSOLE, DATABASE_NAME
from pgtandem.topology.keys import PGBOUNCER
from pgtandem.topology.places import absolute, read_address, read_host
from pgtandem.topology.problems import Problems
from pgtandem.topology.table import Table
from pgtandem.topology.toml import describe, quote_key

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
#: What pgtandem says itself, and what is secret or for PgBouncer's own files.
_NOT_AN_OPTION = re.compile(r"\b(host|port|dbname|user|password)\s*=", re.IGNORECASE)


def read_pgbouncers(
    problems: Problems, values: Mapping[str, object], folder: str, nodes: Sequence[NodeName]
) -> tuple[Pgbouncer, ...]:
    """All of them in the file's order."""
    found = []
    for name, inner in values.items():
        path = ("pgbouncers", name)
        if not isinstance(inner, dict):
            why = "Every PgBouncer has a table of its own."
            problems.add(path, f"{describe(inner)} is not a table", why, f"write [pgbouncers.{quote_key(name)}]")
            continue
        if not _NAME.fullmatch(name):
            why = "A name is 1 to 50 lower-case letters, digits, dashes and underscores and begins with a letter."
            problems.add(path, f"{describe(name)} is not a name of a PgBouncer", why, "for example [pgbouncers.pool1]")
        elif name in nodes:
            problems.add(
                path, f'"{name}" is the name of a node', "In plans both would be called the same.", "rename it"
            )
        found.append(_read(Table(problems, path, inner, PGBOUNCER), PgbouncerName(name), folder))
    return tuple(found)


def _read(table: Table, name: PgbouncerName, folder: str) -> Pgbouncer:
    host = read_host(table)
    port = table.integer("port") or 0
    if table.sound("port") and not 1 <= port <= 65535:
        table.report("port", f"port {describe(port)} is not between 1 and 65535", "", "for example port = 6432")
    file = table.text("file") or ""
    if file and table.sound("file"):
        if not host.is_local and not file.startswith("/"):
            what = f"{describe(file)} is not an absolute path"
            table.report("file", what, "The topology file's folder is not on that host.", "write the whole path")
        elif re.search(r"\s", absolute(file, folder)):
            table.report("file", f"{describe(absolute(file, folder))} has a blank in it", "%include takes none.")
    password_file = table.text("admin_password_file")
    return Pgbouncer(
        name=name,
        file=absolute(file, folder),
        host=host,
        address=read_address(table, host),
        port=port,
        databases=_databases(table, "databases", ()),
        read_only_databases=_databases(table, "read_only_databases", tuple(table.texts("databases"))),
        options=_options(table),
        admin_user=table.text("admin_user") or "",
        admin_password_file=None if password_file is None else absolute(password_file, folder),
    )


def _databases(table: Table, key: str, taken: Sequence[str]) -> Mapping[str, str]:
    databases = table.texts(key)
    for name in databases:
        if name == "*":
            why = "It would also take every database that belongs to nobody here."
            table.report(key, '"*" is not a name of a database', why, "name each database")
        elif name == CONSOLE:
            table.report(key, f'"{name}" is the name of the admin console', "", "name it otherwise")
        elif not DATABASE_NAME.fullmatch(name):
            why = "It has letters, digits, dashes, underscores and dots."
            table.report(key, f"{describe(name)} is not a name that PgBouncer would read", why, "name it otherwise")
        elif name in taken:
            table.report(
                key, f'"{name}" leads to the primary already', "It stands under databases.", "name it otherwise"
            )
    if key == "databases" and not databases and not table.texts("read_only_databases") and table.sound(key):
        table.report(
            key, "there is no database", "It would have nothing to do.", 'for example databases = { shop = "shop" }'
        )
    return databases


def _options(table: Table) -> str:
    options = (table.text("options") or "").strip()
    if table.sound("options") and (found := _NOT_AN_OPTION.search(options)):
        word = found[1].lower()
        why = "Every account of that host may read the file." if word == "password" else "pgtandem says that itself."
        hint = "passwords belong to PgBouncer's auth_file, or its auth_query" if word in ("user", "password") else ""
        table.report("options", f'"{word}" cannot stand here', why, hint or "take it out")
    return options
