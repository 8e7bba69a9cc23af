"""Clusters built in a fresh folder: by pgtandem, and by the plain script beside this file. Both are removed again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.machine import PGTANDEM, embedded_programs, free_ports, fresh_folder, server_account, timed

PLAIN_SCRIPT = Path(__file__).with_name("plain_pair.sh")


def time_pgtandem(*, archive: bool) -> float:
    """The seconds of `pgtandem up --yes`, the whole process. The archive is what a new topology file has by default;
    without it the file is there already when the clock starts."""
    with fresh_folder() as folder:
        if not archive:
            _init(folder, "--no-archive")
        try:
            return timed([PGTANDEM, "up", "--yes"], cwd=folder)
        finally:
            _destroy(folder)


def time_plain(*, archive: bool) -> float:
    """The seconds of the plain shell script, the whole process, as the account that the servers run as."""
    account, programs = server_account(), embedded_programs()
    with fresh_folder() as folder:
        home = folder / "pair"
        home.mkdir()
        if account:
            shutil.chown(home, account, account)
        script = str(shutil.copy(PLAIN_SCRIPT, folder))
        first, second = free_ports(2)
        argv = ["sh", script, str(home), programs, str(first), str(second), *(["archive"] if archive else [])]
        try:
            return timed(argv, cwd=home, account=account)
        finally:
            for name in ("standby", "primary"):
                if (home / name / "postmaster.pid").exists():
                    stop = [f"{programs}/pg_ctl", "-D", str(home / name), "-m", "immediate", "stop"]
                    timed(stop, cwd=home, account=account)


@contextmanager
def running_cluster(standbys: int, *options: str) -> Iterator[tuple[Path, list[int]]]:
    """A cluster built by pgtandem: its folder, and the nodes' ports."""
    with fresh_folder() as folder:
        ports = _init(folder, "--standbys", str(standbys), *options)
        try:
            timed([PGTANDEM, "up", "--yes"], cwd=folder)
            yield folder, ports
        finally:
            _destroy(folder)


def _init(folder: Path, *options: str) -> list[int]:
    """Writes a topology file; returns the ports that its nodes have."""
    first = free_ports(8)[0]
    timed([PGTANDEM, "init", "--binaries", "embedded", "--port", str(first), *options], cwd=folder)
    lines = (folder / "pgtandem.toml").read_text().splitlines()
    return [int(line.split()[2]) for line in lines if line.startswith("port = ")]


def _destroy(folder: Path) -> None:
    if (folder / "pgtandem.toml").exists():
        timed([PGTANDEM, "down", "--destroy", "--yes"], cwd=folder)
