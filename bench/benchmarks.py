"""The benchmarks, by name: each runs its pairs and returns their outcomes."""

import sys
from collections.abc import Callable, Mapping
from functools import partial

from bench.archiving import archiving
from bench.catching_up import catching_up
from bench.clusters import running_cluster, time_pgtandem, time_plain
from bench.copying import copy_of_big_files, copy_of_small_files
from bench.failover import failover
from bench.hosts_copying import copies_between_hosts
from bench.machine import PGTANDEM, timed
from bench.many_hosts import many_hosts
from bench.pairs import Outcome, run_pairs
from bench.pooled import pooled_switchover
from bench.switchover import confirmed_switchover, switchover
from bench.wal_between_hosts import wal_between_hosts

#: From nothing to streaming may take at most this many times what a plain shell script takes.
BUILD_TARGET = 1.25

#: The status of a cluster may take at most this many times what a bare connection to each node takes.
STATUS_TARGET = 2.0

#: What a client does that only wants to know whether each server answers.
_CONNECT = """
import sys
import psycopg
for port in sys.argv[1:]:
    with psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres") as connection:
        connection.execute("SELECT 1").fetchone()
"""


def build(pairs: int) -> list[Outcome]:
    """From nothing to a verified pair, against the same steps in plain_pair.sh; with and without the WAL archive."""
    return [
        run_pairs(
            f"from nothing to streaming, {'with' if archive else 'without'} WAL archive",
            partial(time_pgtandem, archive=archive),
            partial(time_plain, archive=archive),
            pairs=pairs,
            target=BUILD_TARGET,
        )
        for archive in (False, True)
    ]


def start_up(pairs: int) -> list[Outcome]:
    """The start of the program itself, against an empty Python program."""
    empty = [sys.executable, "-c", "pass"]
    return [run_pairs("--help", lambda: timed([PGTANDEM, "--help"]), lambda: timed(empty), pairs=pairs)]


def status(pairs: int) -> list[Outcome]:
    """The status of a running cluster, against a bare connection to each node, one after the other."""
    return [_status_of(nodes, pairs) for nodes in (2, 3)]


def _status_of(nodes: int, pairs: int) -> Outcome:
    with running_cluster(nodes - 1) as (folder, ports):
        passfile = {"PGPASSFILE": str(folder / ".pgtandem" / "passfile")}
        connect = [sys.executable, "-c", _CONNECT, *map(str, ports)]
        return run_pairs(
            f"status of {nodes} nodes",
            lambda: timed([PGTANDEM, "status"], cwd=folder),
            lambda: timed(connect, environment=passfile),
            pairs=pairs,
            target=STATUS_TARGET,
        )


BENCHMARKS: Mapping[str, Callable[[int], list[Outcome]]] = {
    "archiving": archiving,
    "build": build,
    "catching-up": catching_up,
    "copy": copy_of_big_files,
    "copy-small-files": copy_of_small_files,
    "copy-between-hosts": copies_between_hosts,
    "start-up": start_up,
    "status": status,
    "switchover": switchover,
    "confirmed-switchover": confirmed_switchover,
    "pooled": pooled_switchover,
    "failover": failover,
    "many-hosts": many_hosts,
    "wal-between-hosts": wal_between_hosts,
}
