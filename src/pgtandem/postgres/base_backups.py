"""Base backups on disk: the names in a backup's folder, what stands in them, and what pg_basebackup says. Pure.

`ARCHIVE/SYSTEM-IDENTIFIER/backups/LABEL/` holds what pg_basebackup wrote in its tar format (`base.tar`, `pg_wal.tar`,
one tar per tablespace by its OID, `backup_manifest` from 13 on), `backup.json` with what pgtandem knows of it,
`SHA256SUMS` of the files, `RESTORE.txt` for who has to do it by hand, and `verified.json` and `drill.json`.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pgtandem.model.backup import Backup, BackupKind, Drill, Verified
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.value import dataclass

FOLDER = "backups"
ABOUT_FILE = "backup.json"
MANIFEST_FILE = "backup_manifest"
SUMS_FILE = "SHA256SUMS"
VERIFIED_FILE = "verified.json"
DRILL_FILE = "drill.json"
HELP_FILE = "RESTORE.txt"
_PART = ".part"

_LABEL = re.compile(r"\d{8}T\d{6}Z-(full|incremental)")
_TAR = re.compile(r"([a-z_]+|\d+)\.tar(\.gz|\.zst|\.lz4)?")
_UNPACK = {"": "", ".gz": "gzip -dc", ".zst": "zstd -dcq", ".lz4": "lz4 -dcq"}
_START = re.compile(r"write-ahead log start point: ([0-9A-F]+/[0-9A-F]+) on timeline (\d+)")
_END = re.compile(r"write-ahead log end point: ([0-9A-F]+/[0-9A-F]+)")


def new_label(now: float, kind: BackupKind) -> str:
    """When it was begun (UTC), and its kind: "20261125T140300Z-full"."""
    return f"{datetime.fromtimestamp(now, UTC).strftime('%Y%m%dT%H%M%SZ')}-{kind.value}"


def is_label(name: str) -> bool:
    return bool(_LABEL.fullmatch(name))


def part_name(label: str) -> str:
    """The folder's name until the backup is whole and proven."""
    return f".{label}{_PART}"


def label_of_part(name: str) -> str | None:
    """The label in the name of a half-made backup's folder; None for another name."""
    label = name.removeprefix(".").removesuffix(_PART)
    return label if name == part_name(label) and is_label(label) else None


@dataclass(frozen=True, slots=True)
class Tar:
    """One tar of a backup: what is in it ("base", "pg_wal", or a tablespace's OID), the file, and the program that
    unpacks it to stdout ("" where it is not compressed)."""

    part: str
    name: str
    unpack: str

    @property
    def prefix(self) -> str:
        """Where its members belong in the data directory."""
        return {"base": "", "pg_wal": "pg_wal/"}.get(self.part, f"pg_tblspc/{self.part}/")


def tars_among(names: tuple[str, ...]) -> tuple[Tar, ...]:
    """The tars among the names of a backup's folder, "base" first."""
    found = [
        Tar(match[1], name, _UNPACK[match[2] or ""])
        for name in names
        if (match := _TAR.fullmatch(name)) and (match[1].isdigit() or match[1] in ("base", "pg_wal"))
    ]
    return tuple(sorted(found, key=lambda tar: (tar.part != "base", tar.part)))


def parse_points(said: str) -> tuple[Lsn, Timeline, Lsn]:
    """Where WAL begins that the backup needs, its timeline, and where it ends, of what `pg_basebackup --verbose` says
    in the C locale. Raises ValueError."""
    start, end = _START.search(said), _END.search(said)
    if not start or not end:
        raise ValueError("pg_basebackup did not say where the backup's WAL begins and ends")
    return Lsn.parse(start[1]), Timeline(int(start[2])), Lsn.parse(end[1])


def render_about(backup: Backup) -> str:
    return (
        json.dumps(
            {
                "made_by": "pgtandem",
                "label": backup.label,
                "kind": backup.kind.value,
                "parent": backup.parent,
                "cluster": backup.cluster,
                "node": backup.node,
                "postgresql": backup.postgresql,
                "system_identifier": backup.system_identifier,
                "timeline": backup.timeline,
                "start_lsn": str(backup.start_lsn),
                "stop_lsn": str(backup.stop_lsn),
                "began": backup.began,
                "ended": backup.ended,
                "wal_segment_bytes": backup.segment_bytes,
                "size_bytes": backup.size_bytes,
                "data_bytes": backup.data_bytes,
                "tablespaces": dict(backup.tablespaces),
            },
            indent=2,
        )
        + "\n"
    )


def parse_about(text: str) -> Backup:
    """Raises ValueError for what is no such file."""
    try:
        value = json.loads(text)
        return Backup(
            label=str(value["label"]),
            kind=BackupKind(value["kind"]),
            node=NodeName(value["node"]),
            cluster=str(value["cluster"]),
            system_identifier=str(value["system_identifier"]),
            postgresql=int(value["postgresql"]),
            timeline=Timeline(int(value["timeline"])),
            start_lsn=Lsn.parse(value["start_lsn"]),
            stop_lsn=Lsn.parse(value["stop_lsn"]),
            began=float(value["began"]),
            ended=float(value["ended"]),
            segment_bytes=int(value["wal_segment_bytes"]),
            parent=value["parent"] and str(value["parent"]),
            tablespaces=tuple((str(oid), str(path)) for oid, path in value["tablespaces"].items()),
            size_bytes=int(value["size_bytes"]),
            data_bytes=int(value.get("data_bytes", 0)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks what every backup has: {error}") from error


def with_proofs(backup: Backup, verified: str | None, drill: str | None) -> Backup:
    """The backup with the content of verified.json and drill.json, None where there is none."""
    return replace(backup, verified=_parse_verified(verified), drill=_parse_drill(drill))


def render_verified(verified: Verified) -> str:
    return json.dumps({"at": verified.at, "trouble": verified.trouble}) + "\n"


def _parse_verified(text: str | None) -> Verified | None:
    try:
        value = json.loads(text or "null")
        return Verified(float(value["at"]), str(value["trouble"]))
    except (ValueError, KeyError, TypeError):
        return None


def render_drill(drill: Drill) -> str:
    value = {
        "at": drill.at,
        "trouble": drill.trouble,
        "restore_seconds": drill.restore_seconds,
        "lost_seconds": drill.lost_seconds,
    }
    return json.dumps(value) + "\n"


def _parse_drill(text: str | None) -> Drill | None:
    try:
        value = json.loads(text or "null")
        lost = value["lost_seconds"]
        return Drill(
            float(value["at"]),
            str(value["trouble"]),
            float(value["restore_seconds"]),
            None if lost is None else float(lost),
        )
    except (ValueError, KeyError, TypeError):
        return None


def parse_sums(text: str) -> Mapping[str, str]:
    """The SHA-256 of the files by their names, of what `sha256sum` printed."""
    return {name: checksum for checksum, mark, name in (line.partition("  ") for line in text.splitlines()) if mark}


def parse_manifest(text: str) -> Mapping[str, str]:
    """The SHA-256 of every file of a backup by its path, of a manifest with such checksums (manual, 70: Backup Manifest
    Format). Raises ValueError for a manifest that is torn, changed, or has other checksums."""
    head, mark, last = text.rpartition('"Manifest-Checksum"')
    found = re.fullmatch(r'\s*:\s*"([0-9a-f]{64})"\s*}\s*', last)
    if not mark or not found or hashlib.sha256(head.encode()).hexdigest() != found[1]:
        raise ValueError("its own checksum does not match: it is torn or was changed")
    sums = {}
    for entry in json.loads(text)["Files"]:
        path = entry.get("Path") or bytes.fromhex(entry["Encoded-Path"]).decode(errors="surrogateescape")
        if entry.get("Checksum-Algorithm") != "SHA256":
            raise ValueError(f"it has no SHA-256 of {path}")
        sums[path] = entry["Checksum"]
    return sums


#: A program for every file is 5 ms a file; where there is Python, one reads them all.
_MEMBERS_BY_PYTHON = """\
import hashlib, sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
    for member in tar:
        if member.isreg():
            file, digest = tar.extractfile(member), hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            line = f"n {member.name}\\n{digest.hexdigest()}\\n"
            sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
"""

#: FOLDER FILE UNPACK: prints, for every file in a tar, a line "n PATH" and one with its SHA-256; for the unpacking
#: program and for what reads the tar a line "s EXIT-CODE".
MEMBERS = f"""\
cd "$1" || exit 1
export LC_ALL=C
read_tar() {{
    if [ "${{4-}}" != tar ] && python3 -I -S -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
        python3 -I -S -c '{_MEMBERS_BY_PYTHON}'
    else
        tar -x -f - --to-command='echo "n $TAR_FILENAME"; exec sha256sum'
    fi
}}
{{ {{ if [ -n "$3" ]; then $3 "$2"; else cat "$2"; fi; echo "s $?" >&3; }} |
    read_tar "$@"; echo "s $?" >&3; }} 3>&1
"""


def parse_members(said: str, prefix: str) -> Mapping[str, str]:
    """Path to SHA-256 of what `MEMBERS` printed. Raises ValueError where the tar could not be read to its end."""
    sums, at, ends = {}, "", []
    for line in said.splitlines():
        word, _, rest = line.partition(" ")
        if word == "n":
            at = prefix + rest.removeprefix("./")
        elif word == "s":
            ends.append(rest)
        elif at and len(word) == 64:
            sums[at] = word
    if ends != ["0", "0"]:
        raise ValueError("it cannot be unpacked to its end")
    return sums


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    """What of a backup is not as its manifest says, in words. WAL is not in a manifest."""
    missing = [f"{path} is missing" for path in wanted if path not in found]
    changed = [
        f"{path} has other content" for path, checksum in wanted.items() if found.get(path, checksum) != checksum
    ]
    known = (*wanted, MANIFEST_FILE)
    more = [f"{path} is not in the manifest" for path in found if path not in known and not path.startswith("pg_wal/")]
    return (*changed, *missing, *more)


def render_help(backup: Backup, names: tuple[str, ...], archive: str) -> str:
    """How to restore it with nothing but tar and PostgreSQL."""
    lines = [
        f"Backup {backup.label} of cluster {backup.cluster}, PostgreSQL {backup.postgresql}, taken by pgtandem.",
        "To restore it by hand, as the account that PostgreSQL runs as, into a new folder DATA:",
        "",
        "    mkdir -m 700 DATA",
    ]
    for tar in tars_among(names):
        unpack = f"{tar.unpack} {tar.name} | tar -xf -" if tar.unpack else f"tar -xf {tar.name}"
        if tar.part.isdigit():
            lines.append(f"    mkdir -m 700 TABLESPACE-{tar.part} && {unpack} -C TABLESPACE-{tar.part}")
            lines.append(f"    (then write that folder's path behind {tar.part} in DATA/tablespace_map)")
        else:
            lines.append(f"    {unpack} -C DATA/{tar.prefix}".rstrip("/"))
    if backup.parent:
        lines += [
            "",
            f"It continues backup {backup.parent}: restore that one too, into a folder of its own, and put them",
            "together, the oldest first: pg_combinebackup DATA-OF-THE-FULL-ONE ... DATA -o NEW-DATA",
        ]
    fetch, folder = f"cp {shlex.quote(archive)}/%f %p", shlex.quote(archive)
    if form := next((tar for tar in tars_among(names) if tar.part == "base" and tar.unpack), None):
        fetch += f" || {form.unpack} {folder}/%f{form.name.removeprefix('base.tar')} > %p"
    fetch = fetch.replace("'", "''")
    if backup.postgresql >= 12:
        recovery = [
            "rm -f DATA/standby.signal; touch DATA/recovery.signal, and write at the end of",
            "DATA/postgresql.auto.conf:",
        ]
    else:
        recovery = ["write into DATA/recovery.conf:"]
    lines += [
        "",
        "Then the WAL archive brings it to the moment you want (leave recovery_target_time out for the last one):",
        *recovery,
        "",
        f"    restore_command = '{fetch}'",
        "    recovery_target_time = '2026-01-31 14:03:00+00'",
        "    recovery_target_timeline = 'latest'",
        "",
        "and so that it disturbs nobody: archive_mode = off, another port, primary_conninfo = ''. What stands there in",
        "another form (.zst, .lz4) has to be unpacked by the restore_command too: ... || zstd -dcq .../%f.zst > %p",
        "",
        "Everything here is secret: it is the whole database, and DATA/pgtandem holds a password.",
    ]
    return "\n".join(lines) + "\n"
