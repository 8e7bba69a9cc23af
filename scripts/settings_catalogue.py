#!/usr/bin/env python3
"""Rewrite the catalogue of PostgreSQL settings from real servers.

    settings_catalogue.py [--account NAME] [--output FILE] MAJOR=BINDIR ...

In: directories that hold `initdb` and `postgres`, at least one for every major version without a gap. A major
may be given several times with different builds: their settings and enum values are united, the first build's
other columns win. Out: the file that `pgtandem.postgres.settings` reads (its columns are explained in its own
first lines).

Every server runs in single-user mode in a temporary data directory, so nothing listens and nothing stays.
PostgreSQL refuses to run as root: as root, `--account` names the unprivileged account to use, which must be
able to read BINDIR.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "src/pgtandem/postgres/settings.tsv"

NONE = r"\N"

HEADER = r"""
# PostgreSQL's own settings per major version, as pg_settings shows them. Written by
# scripts/settings_catalogue.py from real servers: do not edit by hand. One line per setting and per run of
# majors in which nothing differs.
#
# Columns: name, majors, kind (pg_settings.vartype), unit, context, min_val, max_val, boot_val, enumvals,
# synonyms. \N is SQL's NULL. A synonym "a=b" is an enum value that is accepted as a and shown as b; most are
# hidden from enumvals, some are shown as themselves. A line of kind "renamed" is an old name that the server
# accepts for the setting in the last column.
#
# What depends on the build:
# - Blocks are taken to be 8 kB. Defaults are those of Linux on 64 bits with TLS.
# - Values that need a library or another platform are listed although a server may lack them: lz4, zstd
#   (wal_compression, default_toast_compression), io_uring (io_method), fsync_writethrough (wal_sync_method).
#   Where they are missing, the server refuses them.
# - The only setting here that a build may lack is trace_sort. Missing here, since only builds for developers
#   of PostgreSQL have them: btree_build_stats, debug_copy_parse_plan_trees,
#   debug_raw_expression_coverage_test, debug_write_read_parse_plan_trees, optimize_bounded_sort,
#   trace_lock_oidmin, trace_lock_table, trace_locks, trace_lwlocks, trace_syncscan, trace_userlocks,
#   debug_deadlocks, wal_debug. The 0 as the maximum of debug_discard_caches is that of ordinary builds.
# - \N stands for a default, minimum and maximum that differ from build to build or with the minor version.
# - A few settings came with a minor version (allow_in_place_tablespaces, restrict_nonsystem_relation_kind,
#   file_extend_method): an older minor of the same major lacks them.
# - Settings that a distribution adds (Debian's extension_destdir), those of extensions (names with a dot) and
#   those that pg_settings hides (role, session_authorization, seed, is_superuser, from 12 on
#   default_with_oids) are left out.
""".strip()

# Paths, versions and sizes chosen when the server was built: their defaults and limits say nothing about
# others.
BUILD_DEPENDENT = frozenset(
    {
        "block_size",
        "krb_server_keyfile",
        "segment_size",
        "server_version",
        "server_version_num",
        "ssl_library",
        "unix_socket_directories",
        "wal_block_size",
    }
)

# (setting, first major): values that some builds or platforms have on top of what the given servers show.
OTHER_BUILDS_VALUES: Mapping[tuple[str, int], tuple[str, ...]] = {
    ("default_toast_compression", 14): ("lz4",),
    ("io_method", 18): ("io_uring",),
    ("wal_compression", 15): ("lz4", "zstd"),
    ("wal_sync_method", 10): ("fsync_writethrough",),
}

# Words tried on every enum setting, besides the values of that setting in any major, to find what enumvals
# hides.
WORDS = (
    *("on", "off", "true", "false", "yes", "no", "1", "0", "t", "f", ""),
    *("archive", "hot_standby", "debug", "info", "fatal", "panic", "none", "default", "auto", "plain"),
    *("any", "all", "try", "pglz"),
)

# Old names and what they became. Each major is asked whether it still takes them (so this list may hold too
# many).
RENAMED = {
    "force_parallel_mode": "debug_parallel_query",
    "sort_mem": "work_mem",
    "ssl_ecdh_curve": "ssl_groups",
    "vacuum_mem": "maintenance_work_mem",
}


@dataclass(frozen=True)
class Row:
    """One setting of one major; every field but the lists is the text of pg_settings, or None for NULL."""

    name: str
    kind: str
    unit: str | None
    context: str | None
    minimum: str | None
    maximum: str | None
    default: str | None
    values: tuple[str, ...] | None
    synonyms: tuple[tuple[str, str], ...] = field(default=())


class Server:
    """A temporary data directory of one installation, removed on leaving the `with` block."""

    def __init__(self, bindir: Path, account: str | None) -> None:
        self._bindir = bindir
        self._account = account
        self._home = Path()

    def __enter__(self) -> Server:
        self._home = Path(tempfile.mkdtemp(prefix="settings-catalogue-"))
        if self._account is not None:
            entry = pwd.getpwnam(self._account)
            os.chown(self._home, entry.pw_uid, entry.pw_gid)
        done = self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        if done.returncode != 0:
            shutil.rmtree(self._home, ignore_errors=True)
            raise SystemExit(f"initdb in {self._bindir} failed: {done.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    def select(self, query: str) -> list[list[str | None]]:
        """The rows of a one-line query. They travel through a file: single-user mode prints for people."""
        target = self._home / "rows"
        done = self._single([f"copy ({query}) to '{target}'"])
        if not target.exists():
            raise SystemExit(f"{self._bindir}: {done.stderr.strip()}")
        text = target.read_text(encoding="utf-8")
        target.unlink()
        return [[None if cell == NONE else cell for cell in line.split("\t")] for line in text.splitlines()]

    def accepted(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those (setting, value) that ALTER SYSTEM takes, which validates in every context."""
        statements = [f"alter system set {name} = '{value}'" for name, value in pairs]
        done = self._single([*statements, "alter system reset all"])
        refused = {line.partition("STATEMENT:")[2].strip() for line in done.stderr.splitlines()}
        return [pair for pair, statement in zip(pairs, statements, strict=True) if statement not in refused]

    def shown(self, name: str, value: str) -> str:
        """How the server shows a value that it takes."""
        done = self._run("postgres", "-C", name, "-c", f"{name}={value}")
        if done.returncode != 0:
            raise SystemExit(f"{self._bindir}: {name} = {value!r}: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")

    def _single(self, statements: Iterable[str]) -> subprocess.CompletedProcess[str]:
        return self._run("postgres", "--single", "-F", lines=statements)

    def _run(self, program: str, *words: str, lines: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
        # "--single" must be the first word, and the database the last.
        first, rest = (words[:1], [*words[1:]]) if "--single" in words else ((), [*words])
        last = ["postgres"] if "--single" in words else []
        command = [str(self._bindir / program), *first, "-D", str(self._home / "data"), *rest, *last]
        environment = {"PATH": os.defpath, "HOME": str(self._home), "LC_ALL": "C", "TZ": "UTC"}
        text = "".join(f"{line}\n" for line in lines)
        if self._account is None:
            return subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                cwd=self._home,
                env=environment,
                check=False,
            )
        entry = pwd.getpwnam(self._account)
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            cwd=self._home,
            env=environment,
            check=False,
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            umask=0o077,
        )


def read_settings(server: Server, major: int) -> dict[str, Row]:
    """All settings of one server, without synonyms."""
    separator = "|"
    rows = server.select(
        "select name, vartype, unit, context, min_val, max_val, boot_val, "
        f"array_to_string(enumvals, '{separator}') from pg_settings where strpos(name, '.') = 0"
    )
    result = {}
    for name, kind, unit, context, minimum, maximum, default, values in rows:
        if name is None or kind is None:
            raise SystemExit(f"PostgreSQL {major}: a setting without name or type")
        row = Row(
            name=name,
            kind=kind,
            unit=unit,
            context=context,
            minimum=minimum,
            maximum=maximum,
            default=default,
            values=None if values is None else tuple(values.split(separator)),
        )
        if name in BUILD_DEPENDENT:
            row = replace(row, minimum=None, maximum=None, default=None)
        result[name] = row
    return result


def with_synonyms(server: Server, rows: Mapping[str, Row], words: Mapping[str, Sequence[str]]) -> dict[str, Row]:
    """The same rows with the enum values that the server takes but hides from enumvals or shows otherwise."""
    pairs = [
        (name, word) for name, row in rows.items() if row.kind == "enum" for word in words[name] if "'" not in word
    ]
    found: dict[str, list[tuple[str, str]]] = {}
    for name, word in server.accepted(pairs):
        shown = server.shown(name, word)
        if shown != word or word not in (rows[name].values or ()):
            found.setdefault(name, []).append((word, shown))
    return {name: replace(row, synonyms=tuple(sorted(found.get(name, ())))) for name, row in rows.items()}


def read_renamed(server: Server, rows: Mapping[str, Row]) -> dict[str, str]:
    """Old name to new name, for those that this server still takes."""
    wanted = [old for old, new in RENAMED.items() if old not in rows and new in rows]
    if not wanted:
        return {}
    names = ", ".join(f"'{old}'" for old in wanted)
    answer = server.select(f"select n from unnest(array[{names}]) n where current_setting(n, true) is not null")
    return {old: RENAMED[old] for (old,) in answer if old is not None}


def united(first: Row, other: Row) -> Row:
    """One setting as two builds of the same major show it: all values of both, otherwise the first."""
    if first.values is None or other.values is None:
        return first
    synonyms = tuple(sorted({*first.synonyms, *other.synonyms}))
    return replace(first, values=tuple(dict.fromkeys((*first.values, *other.values))), synonyms=synonyms)


def with_other_builds(row: Row, major: int) -> Row:
    if row.values is None:
        return row
    extra = [
        value
        for (name, since), values in OTHER_BUILDS_VALUES.items()
        if name == row.name and major >= since
        for value in values
    ]
    return replace(row, values=tuple(dict.fromkeys((*row.values, *extra))))


def cells(row: Row) -> tuple[str, ...]:
    """The columns after the majors."""
    values = None if row.values is None else ",".join(row.values)
    synonyms = ",".join(f"{word}={shown}" for word, shown in row.synonyms) or None
    plain = (row.kind, row.unit, row.context, row.minimum, row.maximum, row.default, values, synonyms)
    for cell in plain:
        if cell is not None and any(mark in cell for mark in "\t\n\\"):
            raise SystemExit(f"{row.name}: the file's form has no room for {cell!r}")
    return tuple(NONE if cell is None else cell for cell in plain)


def runs(majors: Iterable[int]) -> Iterator[str]:
    """10, 11, 12, 15 as "10-12", "15"."""
    for _, group in itertools.groupby(enumerate(sorted(majors)), lambda pair: pair[1] - pair[0]):
        members = [major for _, major in group]
        yield str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}"


def render(catalogue: Mapping[int, Mapping[str, Row]], renamed: Mapping[int, Mapping[str, str]]) -> str:
    """The file: sorted by name without regard to case, then by major."""
    lines: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for major in sorted(catalogue):
        for row in catalogue[major].values():
            lines.setdefault((row.name, cells(row)), []).append(major)
        for old, new in renamed[major].items():
            lines.setdefault((old, ("renamed", *[NONE] * 6, new)), []).append(major)
    body = [
        (name.lower(), int(run.split("-")[0]), "\t".join((name, run, *rest)))
        for (name, rest), majors in lines.items()
        for run in runs(majors)
    ]
    return "\n".join((HEADER, *(line for _, _, line in sorted(body)))) + "\n"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rewrite the catalogue of PostgreSQL settings from real servers.")
    parser.add_argument("--account", help="unprivileged account that runs the servers (needed as root)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="file to write (default: %(default)s)")
    parser.add_argument("servers", nargs="+", metavar="MAJOR=BINDIR", help="directory of initdb and postgres")
    options = parser.parse_args(arguments)
    if os.geteuid() == 0 and options.account is None:
        parser.error("as root, --account must name an unprivileged account")
    if os.geteuid() != 0 and options.account is not None:
        parser.error("--account needs root")
    servers: list[tuple[int, Path]] = []
    for word in options.servers:
        major, equals, bindir = word.partition("=")
        if not equals or not major.isdecimal():
            parser.error(f"expects MAJOR=BINDIR (got {word!r})")
        servers.append((int(major), Path(bindir).resolve()))
    majors = {major for major, _ in servers}
    missing = sorted(set(range(min(majors), max(majors) + 1)) - majors)
    if missing:
        parser.error(f"no server given for {', '.join(map(str, missing))}")
    options.servers = servers
    return options


def main() -> int:
    options = parse_arguments()
    plain = []
    for major, bindir in options.servers:
        with Server(bindir, options.account) as server:
            plain.append((major, bindir, read_settings(server, major)))
    words: dict[str, dict[str, None]] = {}
    for _, _, rows in plain:
        for row in rows.values():
            if row.values is not None:
                words.setdefault(row.name, dict.fromkeys(WORDS)).update(dict.fromkeys(row.values))
    catalogue: dict[int, dict[str, Row]] = {}
    renamed: dict[int, dict[str, str]] = {}
    for major, bindir, rows in plain:
        with Server(bindir, options.account) as server:
            rows = with_synonyms(server, rows, {name: list(found) for name, found in words.items()})
            renamed.setdefault(major, {}).update(read_renamed(server, rows))
        merged = catalogue.setdefault(major, {})
        for name, row in rows.items():
            merged[name] = united(merged[name], row) if name in merged else row
        print(f"{major}: {len(rows)} settings from {bindir}", file=sys.stderr)
    complete = {
        major: {name: with_other_builds(row, major) for name, row in rows.items()} for major, rows in catalogue.items()
    }
    options.output.write_text(render(complete, renamed), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
