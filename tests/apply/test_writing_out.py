"""A copy is written out while it is made, by a real host."""

import asyncio
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.apply.writing_out import written_out_meanwhile
from pgtandem.ports import HostFailure


class Watched(LocalHost):
    """Tells which folders were synced."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.synced: list[str] = []
        self.again = asyncio.Event()
        self.fails = fails

    async def sync_tree(self, path: str) -> None:
        self.synced.append(path)
        if len(self.synced) > 1:
            self.again.set()
        if self.fails:
            raise HostFailure("local", "could not sync", "no space left on device")
        await super().sync_tree(path)


async def _until_twice(host: Watched, folder: Path) -> None:
    async with written_out_meanwhile(host, str(folder / "copy")):
        await asyncio.wait_for(host.again.wait(), 60)


def test_the_file_system_is_synced_again_and_again_while_the_copy_is_made_and_not_after(open_tmp_path: Path) -> None:
    async def body() -> tuple[list[str], int]:
        host = Watched()
        await _until_twice(host, open_tmp_path)
        ended = len(host.synced)
        host.again.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.again.wait(), 1.5)
        return host.synced, ended

    synced, ended = asyncio.run(body())
    assert set(synced) == {str(open_tmp_path)}, "the folder that is there, since the copy's own may not be yet"
    assert len(synced) == ended


def test_a_sync_that_fails_is_told_to_nobody_and_is_not_tried_again(open_tmp_path: Path) -> None:
    async def body() -> int:
        host = Watched(fails=True)
        async with written_out_meanwhile(host, str(open_tmp_path / "copy")):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(host.again.wait(), 1.5)
        return len(host.synced)

    assert asyncio.run(body()) == 1


def test_what_the_copy_fails_with_passes(open_tmp_path: Path) -> None:
    async def body() -> None:
        async with written_out_meanwhile(Watched(), str(open_tmp_path / "copy")):
            raise HostFailure("local", "could not copy", "no space left on device")

    with pytest.raises(HostFailure, match="could not copy"):
        asyncio.run(body())
