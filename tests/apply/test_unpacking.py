"""Tars of a backup that are not what they were: none is ever taken for whole."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from pgtandem.apply.unpacking import FETCH, UNPACK, lost_on_the_way
from pgtandem.postgres.wal_serve import MARK

_NEEDED = ("sh", "cat", "cut", "gzip", "sha256sum", "tail", "tar", "tee", "tr", "wc")


@pytest.fixture(params=["with Python", "without Python"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "with Python":
        return os.environ["PATH"]
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in _NEEDED:
        (folder / name).symlink_to(shutil.which(name) or "")
    return str(folder)


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """Of three files, as pg_basebackup ends them: two empty blocks and no more."""
    made = tmp_path / "base.tar"
    with tarfile.open(made, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("one", "two", "three"):
            (tmp_path / name).write_text(name * 1000)
            archive.add(tmp_path / name, name)
        end = archive.offset
    with made.open("r+b") as file:
        file.truncate(end + 1024)
    return made


def lose_the_last_member(tar: Path, *, ended: bool) -> None:
    with tarfile.open(tar) as archive:
        at = archive.getmember("three").offset
    tar.write_bytes(tar.read_bytes()[:at] + bytes(1024 if ended else 0))


def unpacks(tar: Path, path: str, checksum: str, program: str = "") -> bool:
    into = tar.parent / "into"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    argv = ["sh", "-c", f"give() {{ cat '{tar}'; }}\n{UNPACK}", "sh", checksum, program, str(into)]
    done = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    if done.returncode == 0:
        assert sorted(file.name for file in into.iterdir()) == ["one", "three", "two"]
    else:
        assert done.stderr.rstrip().endswith(("when it was verified", "to its end")), done.stderr
    return done.returncode == 0


def checksum_of(tar: Path) -> str:
    return hashlib.sha256(tar.read_bytes()).hexdigest()


def test_what_is_as_it_was_is_unpacked(tar: Path, path: str) -> None:
    assert unpacks(tar, path, checksum_of(tar))
    packed = tar.with_name("base.tar.gz")
    packed.write_bytes(subprocess.run(["gzip", "-c", tar], capture_output=True, check=True).stdout)
    assert unpacks(packed, path, checksum_of(packed), "gzip -dc")
    assert not unpacks(packed, path, checksum_of(tar), "gzip -dc")


def test_a_valid_shorter_tar_is_refused(tar: Path, path: str) -> None:
    checksum = checksum_of(tar)
    lose_the_last_member(tar, ended=True)
    assert not unpacks(tar, path, checksum)


def test_a_byte_that_changed_is_refused(tar: Path, path: str) -> None:
    checksum, content = checksum_of(tar), bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    assert not unpacks(tar, path, checksum)


def test_a_tar_that_ends_early_is_refused_though_no_checksum_was_noted(tar: Path, path: str) -> None:
    assert unpacks(tar, path, "")
    lose_the_last_member(tar, ended=False)
    assert not unpacks(tar, path, "")


def test_a_compressed_tar_that_ends_early_is_refused_though_no_checksum_was_noted(tar: Path, path: str) -> None:
    packed = tar.with_name("base.tar.gz")
    content = subprocess.run(["gzip", "-c", tar], capture_output=True, check=True).stdout
    packed.write_bytes(content)
    assert unpacks(packed, path, "", "gzip -dc")
    packed.write_bytes(content[: len(content) // 2])
    assert not unpacks(packed, path, "", "gzip -dc")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_without_room_for_one_more_file_is_told_although_everything_was_read(tar: Path, path: str) -> None:
    """tar goes on with the next file then, and reads to the end: what comes has the right checksum."""
    full = tar.parent / "full"
    full.mkdir()
    # The folder itself, the tar, what it is unpacked into, and two of the three files.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=5", "tmpfs", str(full)], check=True)
    try:
        assert not unpacks(Path(shutil.copy(tar, full)), path, checksum_of(tar))
    finally:
        subprocess.run(["umount", str(full)], check=True)


def fetches(tar: Path, ssh: str, into: Path) -> str:
    """What is said where `ssh` is that script."""
    programs = tar.parent / "fake"
    programs.mkdir(exist_ok=True)
    (programs / "ssh").write_text(f"#!/bin/sh\nprintf '\\n%s\\n' '{MARK}'\n{ssh}\n")
    (programs / "ssh").chmod(0o755)
    checksum = hashlib.sha256(tar.read_bytes()).hexdigest()
    words = [str(tar.parent), "20261126T203359Z-full", tar.name, MARK]
    argv = ["sh", "-c", FETCH + UNPACK, "sh", checksum, "", str(into), *words]
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_a_connection_that_ends_in_the_middle_is_told_from_a_damaged_backup(tar: Path) -> None:
    into = tar.parent / "into"
    into.mkdir()
    assert fetches(tar, f"cat '{tar}'", into) == ""
    cut_off = fetches(tar, f"head -c 3000 '{tar}'; exit 255", into)
    assert lost_on_the_way(cut_off), cut_off
    at_the_end = fetches(tar, f"cat '{tar}'; exit 255", into)
    assert at_the_end == "" or lost_on_the_way(at_the_end), at_the_end
    damaged = fetches(tar, f"head -c 3000 '{tar}'", into)
    assert damaged
    assert not lost_on_the_way(damaged), damaged
    # Who cannot unpack ends ssh, too.
    nowhere = fetches(tar, f"cat '{tar}'; exit 255", tar.parent / "not there")
    assert nowhere
    assert not lost_on_the_way(nowhere), nowhere
