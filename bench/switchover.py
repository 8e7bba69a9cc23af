"""The write gap of a planned switchover: how long a client that always writes waits for its next acknowledged row.

Ours is `pgtandem switchover`; the other one are the bare steps that cannot be left out, done by this process itself: a
checkpoint, the signal file, SIGINT and the end of the process, the successor has the last record, pg_promote. Both
change the same cluster to and fro, under the same client, which uses libpq's URI over both nodes.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

from bench.clusters import running_cluster
from bench.machine import PGTANDEM, BenchmarkFailed, embedded_programs, server_account, timed
from bench.pairs import Outcome, run_pairs

#: The longest gap may be this many times what the bare steps leave.
GAP_TARGET = 1.3

_REPLICATION_ROLE = "pgtandem_replication"


def switchover(pairs: int) -> list[Outcome]:
    """The longest gap between two acknowledged rows while the primary changes."""
    with running_cluster(1) as (folder, ports):
        cluster = Pair(folder, ports)
        outcome = run_pairs(
            "write gap of a switchover",
            lambda: gap(cluster, cluster.by_pgtandem),
            lambda: gap(cluster, cluster.by_bare_steps),
            pairs=pairs,
            target=GAP_TARGET,
        )
    return [outcome]


def confirmed_switchover(pairs: int) -> list[Outcome]:
    """The same where every commit waits for the standby or the archive, and where it waits for both."""
    return [_confirmed(count, pairs) for count in (1, 2)]


def _confirmed(count: int, pairs: int) -> Outcome:
    with running_cluster(1, "--synchronous", "any 1") as (folder, ports):
        file = folder / "pgtandem.toml"
        text = re.sub(r"(?m)^\[archive\]$", "[archive]\nstream = true\nsynchronous = true", file.read_text())
        file.write_text(text.replace('synchronous = "any 1"', f'synchronous = "any {count}"'))
        timed([PGTANDEM, "apply", "--yes"], cwd=folder)
        cluster = ConfirmedPair(folder, ports)
        return run_pairs(
            f"write gap of a switchover, {count} of standby and archive",
            lambda: gap(cluster, cluster.by_pgtandem),
            lambda: gap(cluster, cluster.by_bare_steps),
            pairs=pairs,
            target=GAP_TARGET,
        )


class Pair:
    """The two nodes of a running cluster. `may_fail` says whether its clients may see errors. `slots` are further ones
    that the successor is to have."""

    may_fail = True
    slots: tuple[str, ...] = ()

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.folder = folder
        self.ports = {"db1": ports[0], "db2": ports[1]}
        self.account = server_account()
        self.uri = self._output([PGTANDEM, "uri"])
        with self.connect(self.primary()) as connection:
            connection.execute("CREATE TABLE written (id bigint)")

    def connect(self, node: str) -> "psycopg.Connection[tuple[object, ...]]":
        passfile = str(self.folder / ".pgtandem" / "passfile")
        return psycopg.connect(
            host="127.0.0.1",
            port=self.ports[node],
            user="postgres",
            dbname="postgres",
            passfile=passfile,
            autocommit=True,
        )

    def primary(self) -> str:
        for node in self.ports:
            with self.connect(node) as connection:
                if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,):
                    return node
        raise BenchmarkFailed("there is no primary")

    def by_pgtandem(self) -> None:
        timed([PGTANDEM, "switchover", "--yes"], cwd=self.folder)

    def by_bare_steps(self) -> None:
        old = self.primary()
        new = "db2" if old == "db1" else "db1"
        data = self.folder / "data" / old
        with self.connect(new) as standby:
            standby.execute(f"SELECT pg_create_physical_replication_slot('pgtandem_{old}', true)".encode())
            for slot in self.slots:
                standby.execute(f"SELECT pg_create_physical_replication_slot('{slot}', true)".encode())
            with self.connect(old) as primary:
                primary.execute("CHECKPOINT")
            (data / "standby.signal").touch()
            if self.account:
                shutil.chown(data / "standby.signal", self.account, self.account)
            conninfo = f"host=127.0.0.1 port={self.ports[new]} user={_REPLICATION_ROLE} passfile=pgtandem/passfile"
            with (data / "pgtandem" / "settings.conf").open("a") as settings:
                settings.write(f"primary_conninfo = '{conninfo} application_name={old}'\n")
                settings.write(f"primary_slot_name = 'pgtandem_{old}'\n")
            self.pause()
            pid = int((data / "postmaster.pid").read_text().split("\n")[0])
            descriptor = os.pidfd_open(pid)
            os.kill(pid, signal.SIGINT)
            select.select([descriptor], [], [], 120)
            os.close(descriptor)
            control = self._output([f"{embedded_programs()}/pg_controldata", str(data)], as_account=True)
            found = re.search(r"Latest checkpoint location:\s+(\S+)", control)
            assert found is not None
            has_all = f"SELECT pg_last_wal_replay_lsn() > '{found.group(1)}'".encode()
            while standby.execute(has_all).fetchone() != (True,):
                pass
            standby.execute("SELECT pg_promote(false)")
            while standby.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
                time.sleep(0.001)
        self.lead_to(new)
        log = f"{data}.log"
        start = [f"{embedded_programs()}/pg_ctl", "-D", str(data), "-l", log, "-w", "start"]
        timed(start, cwd=data, account=self.account)

    def pause(self) -> None:
        """Nobody is told to wait here."""

    def lead_to(self, node: str) -> None:
        """Nobody is led here."""

    def settle(self) -> None:
        """What the bare steps left undone; then both sides begin from the same."""
        timed([PGTANDEM, "apply", "--yes"], cwd=self.folder)

    def _output(self, argv: list[str], *, as_account: bool = False) -> str:
        options: dict[str, Any] = {}
        if as_account and self.account:
            options = {"user": self.account, "group": self.account, "extra_groups": []}
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=True, **options)
        return str(done.stdout).strip()


class ConfirmedPair(Pair):
    """Whose archive confirms commits too: its receiver looks for the new primary by itself, whoever changes it."""

    slots = ("pgtandem_archive",)


def gap(cluster: Pair, change: Callable[[], None]) -> float:
    """Writes from before the change to after it; the longest time between two acknowledged rows."""
    with writer(cluster.uri) as (moments, errors):
        change()
        count = len(moments)
        wait(lambda: len(moments) > count + 20)
    if errors and not cluster.may_fail:
        raise BenchmarkFailed(f"the client saw {len(errors)} errors: {errors[0]}")
    cluster.settle()
    return max(after - before for before, after in pairwise(moments))


@contextmanager
def writer(uri: str) -> Iterator[tuple[list[float], list[str]]]:
    """The moments of acknowledged rows, as they come, and the errors that the client saw."""
    moments: list[float] = []
    errors: list[str] = []
    end = threading.Event()

    def write() -> None:
        connection: psycopg.Connection[tuple[object, ...]] | None = None
        while not end.is_set():
            try:
                connection = connection or psycopg.connect(uri, autocommit=True, prepare_threshold=None)
                connection.execute("INSERT INTO written VALUES (1)")
                moments.append(time.monotonic())
                end.wait(0.002)
            except psycopg.Error as error:
                errors.append(str(error))
                if connection is not None:
                    connection.close()
                connection = None
                end.wait(0.003)
        if connection is not None:
            connection.close()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        wait(lambda: len(moments) > 100)
        moments.clear()
        errors.clear()
        yield moments, errors
    finally:
        end.set()
        thread.join(30)


def wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        if time.monotonic() > give_up:
            raise BenchmarkFailed("the client's rows are not acknowledged any more")
        time.sleep(0.005)
