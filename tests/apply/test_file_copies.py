"""Files are copied by a real host's own programs, several side by side."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pgtandem.adapters.clock import SystemClock
from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.apply.file_copies import WORKERS, Pace, Way, copy_files
from pgtandem.ports import Completed


class Counted(LocalHost):
    """With so many processors; counts how many programs run at once."""

    def __init__(self, processors: str) -> None:
        super().__init__()
        self.processors = processors
        self.running = self.most = 0

    async def look(self, argv: Sequence[str]) -> Completed:
        assert argv[-1] == "nproc"
        return Completed(0, self.processors.encode(), b"")

    async def run(self, argv: Sequence[str], **options: Any) -> Completed:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await super().run(argv, **options)
        finally:
            self.running -= 1


def _copied(folder: Path, host: Counted, files: int, size: int) -> int:
    """How many programs copied at once, for files that were so big when they were listed; all of it was copied."""
    source, target = folder / "source", folder / "target"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    source.mkdir()
    contents = {f"{number}": f"{number:8}".encode() for number in range(files)}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    done: list[int] = []
    way = Way(host, str(source), str(target), 0o022)
    sizes = dict.fromkeys(contents, size)
    asyncio.run(copy_files(way, sizes, Pace(SystemClock(), None), done.append))
    assert sum(done) == files * size
    assert {path.name: path.read_bytes() for path in target.iterdir()} == contents
    return host.most


def test_many_small_files_are_copied_by_as_many_programs_as_there_are_processors(open_tmp_path: Path) -> None:
    assert _copied(open_tmp_path, Counted("1\n"), 2000, 8) == 1


def test_where_the_processors_are_not_told_and_where_files_are_big_all_workers_copy(open_tmp_path: Path) -> None:
    untold, big = open_tmp_path / "untold", open_tmp_path / "big"
    for folder in (untold, big):
        folder.mkdir()
    assert _copied(untold, Counted("sh: 1: nproc: not found\n"), 2000, 8) == WORKERS
    assert _copied(big, Counted("1\n"), 6, 48 * 1024 * 1024) == WORKERS
