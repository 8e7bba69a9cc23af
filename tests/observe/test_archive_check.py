"""The files of a real archive compared with their checksums, and old ones taken out."""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.apply.wal_pruning import remove_wal_before
from pgtandem.model.facts import Known
from pgtandem.observe.archive_check import check_files, check_streamed
from pgtandem.postgres.archive_content import prunable, prunable_checksums
from pgtandem.testing.world import SimWorld
from pgtandem.topology.load import load_topology
from support.archiving import MEGABYTE, Archiving, names, segment

from .test_archived import TOPOLOGY


@pytest.fixture
def archiving(open_tmp_path: Path) -> Archiving:
    """Some segments as they are, then compressed ones, over two files of checksums."""
    made = Archiving(open_tmp_path)
    for path in (open_tmp_path, *open_tmp_path.glob("the archive"), made.archive):
        path.chmod(0o755)
    made.finish(*names(range(4092, 4096)))
    made.archive_all()
    made.form = ("zstd", "1")
    made.finish(*names(range(4096, 4100)))
    made.finish("00000002.history", content=b"1\t0/5000000\tbecause\n")
    made.archive_all()
    made.end()
    for path in [made.archive / "checksums", *made.archive.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return made


def check(archiving: Archiving) -> tuple[list[str], list[str], int]:
    read = 0

    def tell(count: int) -> None:
        nonlocal read
        read += count

    found = asyncio.run(check_files(LocalHost(), str(archiving.archive), archiving.stored(), tell))
    return [damage.what for damage in found[0]], found[1], read


def test_what_was_archived_is_found_as_it_was(archiving: Archiving) -> None:
    assert check(archiving) == ([], [], 9)


def test_what_was_changed_since_is_told(archiving: Archiving) -> None:
    flipped, short = (archiving.archive / name for name in archiving.stored()[:2])
    flipped.write_bytes(bytes([flipped.read_bytes()[0] ^ 1]) + flipped.read_bytes()[1:])
    short.write_bytes(short.read_bytes()[:-10])
    (archiving.archive / segment(5000)).write_bytes(b"x" * MEGABYTE)
    (archiving.archive / f"{segment(5001)}.zst").write_bytes(b"garbage")
    for path in archiving.archive.glob("0*"):
        path.chmod(0o644)
    assert check(archiving) == (
        [
            f"{flipped.name} has not the content that was archived",
            f"{short.name} is not as long as it was archived",
            f"{segment(5001)}.zst is damaged: it does not expand",
        ],
        [segment(5000)],
        11,
    )


def test_only_what_is_older_goes_and_no_history(archiving: Archiving) -> None:
    topology = load_topology(TOPOLOGY.replace('"archive"', '"the archive"'), folder=str(archiving.archive.parents[1]))
    world = replace(SimWorld().ports(), hosts={"local": LocalHost()})
    account = asyncio.run(LocalHost().account())
    assert isinstance(account, Known)
    if os.geteuid() == 0:
        for path in [archiving.archive, *archiving.archive.rglob("*")]:
            shutil.chown(path, account.value)
    for _ in range(2):
        asyncio.run(remove_wal_before(topology, world, "7000", 4097, MEGABYTE))
        assert archiving.stored() == [*(f"{name}.zst" for name in names(range(4097, 4100))), "00000002.history"]
    assert sorted(path.name for path in (archiving.archive / "checksums").iterdir()) == [
        "00000001" + "00000001",
        "00000002",
    ]


def test_what_may_be_pruned_is_counted_over_all_timelines() -> None:
    stored = [
        segment(5),
        f"{segment(5, timeline=2)}.lz4",
        f"{segment(6, timeline=3)}.partial.zst",
        "00000002.history",
        f"{segment(4)}.00000028.backup",
        segment(7),
        "backups",
        "checksums",
        "notes.txt",
    ]
    gone = prunable(stored, 7, MEGABYTE)
    assert set(stored) - set(gone) == {"00000002.history", segment(7), "backups", "checksums", "notes.txt"}
    assert prunable(stored, 0, MEGABYTE) == ()
    assert prunable_checksums(["0000000100000000", "0000000100000001", "00000002"], 4096, MEGABYTE) == (
        "0000000100000000",
    )
    assert prunable_checksums(["0000000100000000"], 4095, MEGABYTE) == ()


def test_segments_that_came_both_ways_and_differ_are_told(archiving: Archiving) -> None:
    """As they are stored, and compressed; the same content and what was only streamed is no damage."""
    streamed = archiving.archive / "streamed"
    assert asyncio.run(check_streamed(LocalHost(), str(archiving.archive))) == []
    streamed.mkdir(mode=0o755)
    for number in (4094, 4095, 4097, 4098):
        shutil.copy(archiving.wal(segment(number)), streamed)
    for number in (4095, 4098):
        with (streamed / segment(number)).open("r+b") as file:
            file.write(b"another")
    (streamed / segment(5000)).write_bytes(b"only here")
    (streamed / f"{segment(4096)}.partial").write_bytes(b"a part of it")
    for path in streamed.iterdir():
        path.chmod(0o644)
    found = asyncio.run(check_streamed(LocalHost(), str(archiving.archive)))
    assert [damage.what for damage in found] == [
        f"{segment(number)} has other content than streamed/{segment(number)}" for number in (4095, 4098)
    ]
