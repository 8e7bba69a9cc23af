"""A client at the control seat that writes all the time, through the URI of `pgtandem uri`: see `write_rows`."""

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from support.remote import RemoteCluster
from support.servers import wait_until


class RemoteWriter:
    """Use it as a context manager: it writes from the beginning of the block to its end."""

    def __init__(self, cluster: RemoteCluster, primary: str) -> None:
        self._cluster = cluster
        cluster.psql(primary, "CREATE TABLE IF NOT EXISTS written (id bigint PRIMARY KEY)")
        first = cluster.psql(primary, "SELECT coalesce(max(id), 0) + 1000000 FROM written")
        script = Path(__file__).with_name("write_rows.py")
        argv = cluster.hosts.at_control([sys.executable, str(script), cluster.ok("uri").out.strip(), first])
        self.acknowledged: dict[int, float] = {}
        self.warned: list[int] = []
        self.errors: list[str] = []
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "RemoteWriter":
        self._reader.start()
        self.goes_on(50)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, _, rest = line.strip().partition(" ")
            if kind == "A":
                number, moment = rest.split()
                self.acknowledged[int(number)] = float(moment)
            elif kind == "W":
                self.warned.append(int(rest))
            else:
                self.errors.append(rest)

    def goes_on(self, rows: int = 20, seconds: float = 60) -> None:
        """Waits until more rows are acknowledged."""
        wanted = len(self.acknowledged) + rows
        wait_until(
            lambda: len(self.acknowledged) >= wanted, f"{rows} more rows are acknowledged: {self.errors[-3:]}", seconds
        )

    def missing(self, node: str) -> list[int]:
        """The acknowledged rows that a node does not show."""
        acknowledged = list(self.acknowledged)  # before the rows are read: more come while they are
        there = set(map(int, self._cluster.psql(node, "SELECT id FROM written").split()))
        return [number for number in acknowledged if number not in there]

    def everything_is_on(self, *nodes: str) -> None:
        for node in nodes:
            wait_until(lambda node=node: not self.missing(node), f"{node} has every acknowledged row", 60)
