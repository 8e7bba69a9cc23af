"""An archive's folder on this machine, looked at through the real port."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.model.archived import ArchivedWal
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.observe.archived import all_archived_wal, observe_archived_wal
from pgtandem.testing.world import SimWorld
from pgtandem.topology.load import load_topology

MEGABYTE = 1024 * 1024
TOPOLOGY = """
[cluster]
name = "shop"
postgresql = 16
[nodes.db1]
port = 5001
[archive]
directory = "archive"
"""


@pytest.fixture
def folder(open_tmp_path: Path) -> Path:
    made = open_tmp_path / "archive" / "7000"
    made.mkdir(parents=True)
    return made


def look(folder: Path, system: str = "7000") -> Fact[ArchivedWal]:
    topology = load_topology(TOPOLOGY, folder=str(folder.parents[1]))
    ports = replace(SimWorld().ports(), hosts={"local": LocalHost()})

    async def run() -> Fact[ArchivedWal]:
        return all_archived_wal(await observe_archived_wal(topology, ports, system, MEGABYTE))

    return asyncio.run(run())


def test_what_the_folder_holds_is_found_with_its_histories(folder: Path) -> None:
    for number in (1, 2):
        (folder / f"00000001{number:016X}").write_bytes(bytes(MEGABYTE))
    (folder / "000000020000000000000002.zst").write_bytes(b"compressed")
    (folder / "00000002.history").write_text("1\t0/2ABCDE\tno recovery target specified\n")
    (folder / "checksums").mkdir()
    found = look(folder)
    assert isinstance(found, Known)
    assert [one.runs for one in found.value.content.timelines] == [((1, 2),), ((2, 2),)]
    assert found.value.histories == {Timeline(2): (TimelineSwitch(Timeline(1), Lsn(0x2ABCDE)),)}
    assert found.value.content.strange == ()


def test_no_folder_is_absent_and_one_that_cannot_be_read_is_unknown(folder: Path) -> None:
    assert look(folder, "7001") == ABSENT
    (folder / "00000002.history").write_text("garbage that is no history\n")
    assert isinstance(look(folder), Unknown)
