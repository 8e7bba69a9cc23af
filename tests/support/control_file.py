"""A stand-in for pg_controldata, for the server packages that come without it. Only for tests.

The layout of global/pg_control changes with the major version. `fields` says where each field lies, `script` makes of
that a small shell program that prints the lines which pgtandem reads, in the words of the real one. It is held against
the real program where there is one, and against the checksum and the server's own functions everywhere else
(tests/postgres/test_control_file.py).
"""

import struct
from dataclasses import dataclass

#: What pg_controldata calls the states, in the order of their numbers.
STATES = (
    "starting up",
    "shut down",
    "shut down in recovery",
    "shutting down",
    "in crash recovery",
    "in archive recovery",
    "in production",
)

_LSN, _WORD, _TIME, _INT, _BOOL = "Q", "I", "q", "i", "?"


@dataclass(frozen=True)
class Field:
    """A field of the control file: where it begins, and how struct reads it."""

    offset: int
    code: str


def fields(major: int) -> dict[str, Field]:
    """The fields of a 64-bit server's control file (pg_control.h of that version), aligned as C aligns them."""
    found, codes = {}, ""
    for name, code in _members(major):
        end = struct.calcsize(codes + "0" + code)
        found[name] = Field(end, code)
        codes += code
    return found


def _members(major: int) -> list[tuple[str, str]]:
    members = [
        ("system_identifier", _LSN), ("control_version", _WORD), ("catalog_version", _WORD), ("state", _INT),
        ("time", _TIME), ("checkpoint", _LSN),
    ]  # fmt: skip
    members += [("previous_checkpoint", _LSN)] if major < 11 else []
    members += _checkpoint(major)
    members += [
        ("unlogged", _LSN), ("min_recovery", _LSN), ("min_recovery_timeline", _WORD), ("backup_start", _LSN),
        ("backup_end", _LSN), ("backup_end_required", _BOOL), ("wal_level", _INT), ("wal_log_hints", _BOOL),
        ("max_connections", _INT), ("max_worker_processes", _INT),
    ]  # fmt: skip
    members += [("max_wal_senders", _INT)] if major >= 12 else []
    members += [
        ("max_prepared_xacts", _INT), ("max_locks_per_xact", _INT), ("track_commit_timestamp", _BOOL),
        ("max_align", _WORD), ("float_format", "d"), ("block_size", _WORD), ("relation_segment", _WORD),
        ("wal_block_size", _WORD), ("wal_segment_bytes", _WORD), ("name_length", _WORD), ("index_keys", _WORD),
        ("toast_chunk", _WORD), ("large_object_chunk", _WORD),
    ]  # fmt: skip
    members += [("float4_by_value", _BOOL)] if major < 13 else []
    members += [("float8_by_value", _BOOL), ("checksum_version", _WORD)]
    members += [("char_signedness", _BOOL)] if major >= 18 else []
    return [*members, ("nonce", "32s"), ("crc", _WORD)]


def _checkpoint(major: int) -> list[tuple[str, str]]:
    """The copy of the last checkpoint record; its struct ends on a boundary of eight bytes."""
    members = [("redo", _LSN), ("timeline", _WORD), ("previous_timeline", _WORD), ("full_page_writes", _BOOL)]
    members += [("checkpoint_wal_level", _INT)] if major >= 17 else []
    members += [("next_xid", _LSN)] if major >= 12 else [("next_xid_epoch", _WORD), ("next_xid", _WORD)]
    words = (
        "next_oid", "next_multi", "next_multi_offset", "oldest_xid", "oldest_xid_database", "oldest_multi",
        "oldest_multi_database",
    )  # fmt: skip
    members += [(name, _WORD) for name in words]
    members += [("checkpoint_time", _TIME)]
    members += [(name, _WORD) for name in ("oldest_commit_ts_xid", "newest_commit_ts_xid", "oldest_active_xid")]
    return [*members, ("end_of_checkpoint", "0q")]


def crc32c(content: bytes) -> int:
    """Castagnoli's checksum, as the server computes it over all that stands before the field `crc`."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def script(major: int) -> str:
    """The program, a shell script that needs od alone."""
    at = fields(major)

    def word(name: str, half: int = 0) -> str:
        offset = at[name].offset
        assert offset % 4 == 0, name
        return f"${{{offset // 4 + 1 + half}}}"

    def lsn(name: str) -> str:
        return f"$(printf '%X/%X' {word(name, 1)} {word(name)})"

    lines = [
        ("Database system identifier", f"$((({word('system_identifier', 1)} << 32) | {word('system_identifier')}))"),
        ("Database cluster state", '"$state"'),
        ("Latest checkpoint location", lsn("checkpoint")),
        ("Latest checkpoint's TimeLineID", word("timeline")),
        ("Minimum recovery ending location", lsn("min_recovery")),
        ("Min recovery ending loc's timeline", word("min_recovery_timeline")),
        ("max_connections setting", word("max_connections")),
        ("max_worker_processes setting", word("max_worker_processes")),
        *([("max_wal_senders setting", word("max_wal_senders"))] if major >= 12 else []),
        ("max_prepared_xacts setting", word("max_prepared_xacts")),
        ("max_locks_per_xact setting", word("max_locks_per_xact")),
        ("Bytes per WAL segment", word("wal_segment_bytes")),
        ("Data page checksum version", word("checksum_version")),
    ]
    shown = "\n".join(f'printf "%-37s %s\\n" "{title}:" {value}' for title, value in lines)
    words, last = at["crc"].offset // 4 + 1, at["crc"].offset + 4
    states = "\n".join(f"    {number}) state='{name}' ;;" for number, name in enumerate(STATES))
    return f"""\
#!/bin/sh
# Made by pgtandem's tests (support/control_file.py): what pgtandem reads of a control file of PostgreSQL {major}.
file=$1/global/pg_control
fail() {{ echo "pg_controldata: error: could not read file \\"$file\\"" >&2; exit 1; }}
set -f
set -- $(od -A n -v -t u4 -N {last} "$file") || fail
[ "$#" = {words} ] || fail
case {word("state")} in
{states}
    *) state='unrecognized status code' ;;
esac
{shown}
"""
