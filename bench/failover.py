"""Failover by command after kill -9 of the primary's postmaster: from the command's start to the first accepted write.

Ours is `pgtandem failover --yes`: it looks at every node, chooses, fences the old primary, promotes. The other one is
what cannot be left out, typed by hand: psql with pg_promote on the standby. The client is the same, over libpq's URI.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.clusters import running_cluster
from bench.machine import PGTANDEM, BenchmarkFailed, embedded_programs, timed
from bench.pairs import Outcome, run_pairs
from bench.switchover import Pair, wait, writer

#: To reach, as for a switchover. Missed so far: docs/benchmarks.md says by how much, and why.
FAILOVER_TARGET = 1.3


def failover(pairs: int) -> list[Outcome]:
    """From the start of the command to the first accepted write."""
    with running_cluster(1) as (folder, ports):
        cluster = _Failing(folder, ports)
        outcome = run_pairs(
            "failover by command",
            lambda: cluster.time(cluster.by_pgtandem),
            lambda: cluster.time(cluster.by_hand),
            pairs=pairs,
            target=FAILOVER_TARGET,
        )
    return [outcome]


class _Failing(Pair):
    def __init__(self, folder: Path, ports: list[int]) -> None:
        super().__init__(folder, ports)
        self.old = ""

    def by_pgtandem(self) -> None:
        timed([PGTANDEM, "failover", "--yes"], cwd=self.folder)

    def by_hand(self) -> None:
        new = "db2" if self.old == "db1" else "db1"
        uri = f"host=127.0.0.1 port={self.ports[new]} user=postgres dbname=postgres"
        environment = {"PGPASSFILE": str(self.folder / ".pgtandem" / "passfile")}
        psql = [f"{embedded_programs()}/psql", "-XAtq", uri, "-c", "SELECT pg_promote(false)"]
        timed(psql, environment=environment)

    def time(self, change: Callable[[], None]) -> float:
        self.old = self.primary()
        with writer(self.uri) as (moments, errors):
            self._kill()
            wait(lambda: len(errors) > 0)  # the last row before the kill is counted once the client has seen its end
            before = len(moments)
            began = time.monotonic()
            change()
            wait(lambda: len(moments) > before + 5)
            seconds = moments[before] - began
        timed([PGTANDEM, "rejoin", self.old, "--yes"], cwd=self.folder)
        self.settle()
        if seconds < 0:
            raise BenchmarkFailed("a row was accepted before the command began")
        return seconds

    def _kill(self) -> None:
        """kill -9 of the postmaster; its children notice, and are waited for."""
        pid = int((self.folder / "data" / self.old / "postmaster.pid").read_text().split("\n")[0])
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
        family = [pid, *map(int, listed.stdout.split())]
        descriptors = [os.pidfd_open(each) for each in family]
        os.kill(pid, signal.SIGKILL)
        for descriptor in descriptors:
            select.select([descriptor], [], [], 60)
            os.close(descriptor)
