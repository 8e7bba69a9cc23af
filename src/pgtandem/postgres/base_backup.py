"""A base backup made file by file: which files of a data directory are copied, and whether they were.

What is left out is what pg_basebackup leaves out (manual, 26.3.4 "Making a Base Backup Using the Low Level API", and
the list at the end of pg_basebackup's own page). Leaving out more than an old version did, as temporary and unlogged
tables before 11, is right for every version: recovery makes those files anew.
"""

import json
import re
from collections.abc import Mapping

from pgtandem.model.value import dataclass

CONTROL_FILE = "global/pg_control"
LABEL_FILE = "backup_label"
TABLESPACE_MAP = "tablespace_map"
MANIFEST = "backup_manifest"

#: What `find -printf` is to print of each file: its kind, mode, size, and its path below where the search begins.
LISTING_FORMAT = r"%y %m %s %P\0"

#: Folders that are copied without what is in them.
_EMPTY = (
    *("pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp"),
    "pg_subtrans",
)
_LEFT_OUT = (
    *("postmaster.pid", "postmaster.opts", "postgresql.auto.conf.tmp", "current_logfiles.tmp"),
    *(LABEL_FILE, TABLESPACE_MAP, MANIFEST, ".DS_Store"),
)
_LEFT_OUT_PREFIXES = ("pgsql_tmp", "pg_internal.init")

_DATABASE_FOLDER = re.compile(r"base/\d+|pg_tblspc/\d+/PG_[^/]+/\d+")
_RELATION = re.compile(r"(\d+)(?:_(init|fsm|vm))?(?:\.\d+)?")
_TEMPORARY = re.compile(r"t\d+_\d+(?:_(?:init|fsm|vm))?(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Tree:
    """What is to be copied of a data directory: folders, parents first, and the size of each file, by relative paths.

    The control file is not among them: it goes last. `elsewhere` are tablespaces, which lie outside of it. `umask` is
    what it takes from the modes of what is made: where its group may read it, the copy's may (manual, 19.2).
    """

    folders: tuple[str, ...]
    files: Mapping[str, int]
    elsewhere: tuple[str, ...] = ()
    umask: int = 0o077

    @property
    def total_bytes(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as `find` shows it: its kind ("f", "d", "l", ...), mode and size."""

    kind: str
    mode: int
    size: int


def parse_listing(output: bytes) -> dict[str, Entry]:
    """What `find -printf LISTING_FORMAT` has printed, by path; "" is the folder itself. Raises ValueError."""
    found = {}
    for record in output.split(b"\0"):
        if record:
            kind, mode, size, path = record.decode("utf-8", "surrogateescape").split(" ", 3)
            found[path] = Entry(kind, int(mode, 8), int(size))
    return found


def file_sizes(output: bytes) -> dict[str, int]:
    """Of such a listing the plain files alone."""
    return {path: entry.size for path, entry in parse_listing(output).items() if entry.kind == "f"}


def tree_of(output: bytes) -> Tree:
    """What of a data directory that is listed so belongs to a base backup. Raises ValueError."""
    entries = parse_listing(output)
    unlogged = {(path.rpartition("/")[0], oid) for path in entries if (oid := _oid_of_init_fork(path))}
    folders, files, elsewhere = [], {}, []
    root = entries.pop("", None)
    for path, entry in entries.items():
        if path == "pg_wal":
            folders += [path, f"{path}/archive_status"]  # itself it may be a link
        elif _is_left_out(path) or path == CONTROL_FILE:
            continue
        elif entry.kind == "d":
            folders.append(path)
        elif entry.kind == "l" and path.startswith("pg_tblspc/"):
            elsewhere.append(path)
        elif entry.kind == "f" and not _is_passing(path, unlogged):
            files[path] = entry.size
    open_to_group = root is not None and root.mode & 0o050 == 0o050
    return Tree(tuple(sorted(folders)), files, tuple(elsewhere), 0o027 if open_to_group else 0o077)


def _is_left_out(path: str) -> bool:
    top, _, below = path.partition("/")
    if top in _EMPTY:
        return bool(below)
    return any(part in _LEFT_OUT or part.startswith(_LEFT_OUT_PREFIXES) for part in path.split("/"))


def _oid_of_init_fork(path: str) -> str:
    folder, _, name = path.rpartition("/")
    found = _RELATION.fullmatch(name)
    return found[1] if found and found[2] == "init" and _DATABASE_FOLDER.fullmatch(folder) else ""


def _is_passing(path: str, unlogged: set[tuple[str, str]]) -> bool:
    """Whether a file is of a temporary table, or of an unlogged one, which recovery makes from its init fork."""
    folder, _, name = path.rpartition("/")
    if not _DATABASE_FOLDER.fullmatch(folder):
        return False
    found = _RELATION.fullmatch(name)
    if found is None:
        return _TEMPORARY.fullmatch(name) is not None
    return found[2] != "init" and (folder, found[1]) in unlogged


def not_copied(before: Mapping[str, int], after: Mapping[str, int], copied: Mapping[str, int]) -> tuple[str, ...]:
    """The files of `before` that the copy does not have as it should: not there though the source has them still, or
    of a size that the source had neither before nor after nor between."""
    wrong = []
    for path, size in before.items():
        now, here = after.get(path), copied.get(path)
        if here is None:
            right = now is None
        else:
            ends = (size, size if now is None else now)
            right = now is None or min(ends) <= here <= max(ends)
        if not right:
            wrong.append(path)
    return tuple(wrong)


def parse_manifest(text: str) -> dict[str, int]:
    """The size of each file in a backup manifest (13 and later), by relative path. Raises ValueError."""
    try:
        return {_path_in(file): int(file["Size"]) for file in json.loads(text)["Files"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no backup manifest: {error!r}") from error


def _path_in(file: Mapping[str, str]) -> str:
    """What is no UTF-8 stands there in hexadecimal digits."""
    return file["Path"] if "Path" in file else bytes.fromhex(file["Encoded-Path"]).decode("utf-8", "surrogateescape")
