"""What stands in a backup's folder, and how its tars are read."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from cli.values import BACKUPS, backup
from pgtandem.model.backup import BackupKind, Drill, Verified
from pgtandem.postgres import base_backups as written

SAID = """\
pg_basebackup: initiating base backup, waiting for checkpoint to complete
pg_basebackup: checkpoint completed
pg_basebackup: write-ahead log start point: 0/2000028 on timeline 3
pg_basebackup: starting background WAL receiver
23000/23000 kB (100%), 1/1 tablespace
pg_basebackup: write-ahead log end point: 0/2000100
"""


def manifest(files: dict[str, bytes], algorithm: str = "SHA256") -> str:
    entries = [
        {"Path": path, "Size": len(content), "Checksum-Algorithm": algorithm,
         "Checksum": hashlib.sha256(content).hexdigest()}
        for path, content in files.items()
    ]  # fmt: skip
    head = json.dumps({"PostgreSQL-Backup-Manifest-Version": 2, "Files": entries})[:-1] + ",\n"
    return f'{head}"Manifest-Checksum": "{hashlib.sha256(head.encode()).hexdigest()}"}}\n'


def make_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def members(folder: Path, name: str, unpack: str = "", way: str = "") -> str:
    argv = ["sh", "-c", written.MEMBERS, "sh", str(folder), name, unpack, way]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout


FILES = {"PG_VERSION": b"18\n", "base/1/1259": b"x" * 3_000_000, "global/pg_control": b"\0" * 8192}


@pytest.mark.parametrize("made", BACKUPS.found, ids=lambda made: made.label)
def test_what_is_known_of_a_backup_is_read_back(made: written.Backup) -> None:
    verified = written.render_verified(made.verified) if made.verified else None
    drill = written.render_drill(made.drill) if made.drill else None
    again = written.with_proofs(written.parse_about(written.render_about(made)), verified, drill)
    assert (again.label, again.stop_lsn, again.parent, again.ended) == (
        made.label, made.stop_lsn, made.parent, made.ended,
    )  # fmt: skip
    assert (again.verified, again.drill) == (made.verified, made.drill)


@pytest.mark.parametrize("text", ["", "null", "{}", "[]", '{"label": 1}', "torn {"])
def test_what_is_no_backup_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        written.parse_about(text)
    assert written.with_proofs(BACKUPS.found[0], text, text).verified is None


def test_labels_sort_by_time_and_half_made_ones_are_told_apart() -> None:
    label = written.new_label(1_799_900_000.0, BackupKind.FULL)
    assert label < written.new_label(1_799_900_060.0, BackupKind.INCREMENTAL)
    assert written.is_label(label)
    part = written.part_name(label)
    assert not written.is_label(part)
    assert written.label_of_part(part) == label
    for other in (label, ".x.part", f"{label}.part", ".part", ""):
        assert written.label_of_part(other) is None


def test_the_points_of_pg_basebackup_are_read() -> None:
    start, timeline, stop = written.parse_points(SAID)
    assert (str(start), timeline, str(stop)) == ("0/2000028", 3, "0/2000100")
    with pytest.raises(ValueError, match="did not say"):
        written.parse_points(SAID.partition("write-ahead log end")[0])


def test_a_manifest_that_was_changed_or_torn_is_not_believed() -> None:
    text = manifest(FILES)
    assert set(written.parse_manifest(text)) == set(FILES)
    for bad in (text.replace("base/1", "base/2"), text[:-40], "", "{}"):
        with pytest.raises(ValueError, match="own checksum"):
            written.parse_manifest(bad)
    with pytest.raises(ValueError, match="no SHA-256"):
        written.parse_manifest(manifest(FILES, "CRC32C"))


@pytest.mark.parametrize("way", ["", "tar"])
def test_every_file_of_a_tar_is_read_with_and_without_python(tmp_path: Path, way: str) -> None:
    make_tar(tmp_path / "base.tar", FILES)
    found = written.parse_members(members(tmp_path, "base.tar", "", way), "")
    assert written.differences(written.parse_manifest(manifest(FILES)), found) == ()


@pytest.mark.parametrize("way", ["", "tar"])
def test_a_flipped_bit_and_a_missing_file_are_named(tmp_path: Path, way: str) -> None:
    wanted = written.parse_manifest(manifest(FILES))
    make_tar(tmp_path / "base.tar", {**FILES, "base/1/1259": b"y" * 3_000_000})
    found = written.parse_members(members(tmp_path, "base.tar", "", way), "")
    assert written.differences(wanted, found) == ("base/1/1259 has other content",)
    make_tar(tmp_path / "base.tar", {"PG_VERSION": b"18\n", "more": b""})
    found = written.parse_members(members(tmp_path, "base.tar", "", way), "")
    assert set(written.differences(wanted, found)) == {
        "base/1/1259 is missing", "global/pg_control is missing", "more is not in the manifest",
    }  # fmt: skip


@pytest.mark.parametrize("way", ["", "tar"])
def test_a_tar_that_ends_early_is_noticed_compressed_or_not(tmp_path: Path, way: str) -> None:
    make_tar(tmp_path / "base.tar", FILES)
    subprocess.run(["gzip", "-k", str(tmp_path / "base.tar")], check=True)
    whole = written.parse_members(members(tmp_path, "base.tar.gz", "gzip -dc", way), "")
    assert set(whole) == set(FILES)
    for name, unpack in (("base.tar", ""), ("base.tar.gz", "gzip -dc")):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match="to its end"):
            written.parse_members(members(tmp_path, name, unpack, way), "")
    with pytest.raises(ValueError, match="to its end"):
        written.parse_members(members(tmp_path, "not-there.tar", "", way), "")


def test_the_members_of_a_tablespace_lie_where_the_manifest_has_them() -> None:
    base, space, wal = written.tars_among(("16400.tar.zst", "backup_manifest", "pg_wal.tar", "base.tar", "x.tar"))
    assert (base.prefix, wal.prefix, space.prefix) == ("", "pg_wal/", "pg_tblspc/16400/")
    assert (base.unpack, space.unpack) == ("", "zstd -dcq")


def test_the_help_names_every_tar_and_what_an_incremental_one_continues() -> None:
    names = ("base.tar", "pg_wal.tar", "16400.tar.gz")
    text = written.render_help(
        backup("20270115T031320Z-incremental", 0.0, parent="20270114T031320Z-full"), names, "/a b"
    )
    for words in (
        "tar -xf base.tar -C DATA",
        "DATA/pg_wal",
        "gzip -dc 16400.tar.gz",
        "20270114T031320Z-full",
        "''/a b''/%f",
    ):
        assert words in text


def test_proofs_are_read_back() -> None:
    made = written.with_proofs(
        BACKUPS.found[0],
        written.render_verified(Verified(5.0, "bad")),
        written.render_drill(Drill(6.0, "", 1.5, None)),
    )
    assert made.verified == Verified(5.0, "bad")
    assert made.drill == Drill(6.0, "", 1.5, None)
