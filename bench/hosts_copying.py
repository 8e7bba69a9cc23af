"""Copies of a node between two hosts, which are network namespaces of this machine with an sshd each (root only).

All are durable at their end. Ours is the whole step of the plan: the backup, the copy, its check, the sync of the file
system, the rename. Both hosts share this machine's processors, so the processor is the limit and not the network.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine import BenchmarkFailed
from bench.pairs import Outcome, run_pairs

if TYPE_CHECKING:
    from support.remote import RemoteCluster

#: At most this part of the time of pg_basebackup through a tunnel, of it over plain TCP, and of a whole copy of ours.
TUNNEL_TARGET, DIRECT_TARGET, ANEW_TARGET = 0.667, 1.0, 0.333

_TUNNEL_PORT = 16543
_SETTINGS = {"shared_buffers": "128MB", "max_wal_size": "64MB", "min_wal_size": "32MB"}


def copies_between_hosts(pairs: int) -> list[Outcome]:
    """A gigabyte, or as many megabytes as PGTANDEM_BENCH_MEGABYTES says."""
    if os.geteuid() != 0:
        print("copies between hosts: left out, test hosts need root", file=sys.stderr)
        return []
    megabytes = int(os.environ.get("PGTANDEM_BENCH_MEGABYTES", "1000"))
    size = f"{megabytes / 1000:g} GB"
    with _pair(megabytes) as pair:
        outcomes = [
            run_pairs(
                f"copy of {size} to another host, against an SSH tunnel",
                pair.whole,
                pair.through_a_tunnel,
                pairs=pairs,
                target=TUNNEL_TARGET,
            ),
            run_pairs(
                f"copy of {size} to another host, against plain TCP",
                pair.whole,
                pair.over_plain_tcp,
                pairs=pairs,
                target=DIRECT_TARGET,
            ),
            run_pairs(
                f"copy of {size} over data of which 1 % is old, against a whole one",
                pair.anew,
                pair.whole,
                pairs=pairs,
                target=ANEW_TARGET,
            ),
        ]
    with _pair(megabytes, tls={"certificates": "managed"}) as pair:
        name = f"copy of {size} to another host over TLS, against pg_basebackup over TLS"
        return [*outcomes, run_pairs(name, pair.whole, pair.over_tls, pairs=pairs, target=DIRECT_TARGET)]


@contextmanager
def _pair(megabytes: int, **tables: Mapping[str, str]) -> Iterator["_Pair"]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.hosts import Hosts
    from support.remote import RemoteCluster

    with Hosts(2) as hosts, RemoteCluster(hosts, parameters=_SETTINGS, **tables) as cluster:
        cluster.know_hosts()
        yield _Pair(cluster, megabytes)


class _Pair:
    """db1 on h1 with so many rows of a kilobyte; db2 is made on h2 again and again."""

    def __init__(self, cluster: "RemoteCluster", megabytes: int) -> None:
        self.cluster, self.hosts = cluster, cluster.hosts
        self.data = cluster.nodes["db2"]["data_directory"]
        self.bin = "/usr/lib/postgresql/15/bin"
        self.rows = megabytes * 1000
        cluster.apply()
        rows = f"SELECT g AS id, repeat(md5(random()::text || g), 30) AS text FROM generate_series(1, {self.rows}) AS g"
        cluster.psql("db1", f"CREATE TABLE big AS {rows}")
        cluster.psql("db1", "VACUUM FREEZE big")
        cluster.psql("db1", "CHECKPOINT")
        key = self.hosts.srv("h2") / "bench_key"
        shutil.copy(self.hosts.key, key)
        key.chmod(0o600)

    def whole(self) -> float:
        """db2 made from nothing."""
        self._stop()
        self._run("h2", ["rm", "-rf", self.data])
        self._settle()
        return self._apply("by pg_basebackup")

    def anew(self) -> float:
        """db2 was away; meanwhile one block in a hundred changed, and the WAL that it needs went."""
        if self.cluster.hosts.run("h2", ["test", "-e", self.data]).returncode:
            self.whole()
        self.cluster.psql("db2", "CHECKPOINT")
        self._stop()
        needed = self.cluster.psql("db1", "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots")
        self.cluster.psql("db1", "SELECT pg_drop_replication_slot('pgtandem_db2')")
        first = int(time.time() * 1000) % (self.rows - self.rows // 100)
        self.cluster.psql("db1", f"UPDATE big SET id = id WHERE id BETWEEN {first} AND {first + self.rows // 100}")
        wal = f"{self.cluster.nodes['db1']['data_directory']}/pg_wal/{needed}"
        for _ in range(50):
            for _ in range(4):
                self.cluster.psql("db1", "SELECT pg_switch_wal(), pg_logical_emit_message(false, 'bench', 'x')")
            self.cluster.psql("db1", "CHECKPOINT")
            if self.hosts.run("h1", ["test", "-e", wal]).returncode:
                break
        self._settle()
        return self._apply("were sent")

    def through_a_tunnel(self) -> float:
        """pg_basebackup as it is shipped, with a fast checkpoint, through ssh as it is configured by default."""
        port = self.cluster.nodes["db1"]["port"]
        ssh = ["ssh", "-f", "-N", "-i", "/srv/bench_key", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
        ssh += ["-o", "UserKnownHostsFile=/srv/bench_hosts", "-o", "ExitOnForwardFailure=yes"]
        ssh += ["-L", f"127.0.0.1:{_TUNNEL_PORT}:127.0.0.1:{port}", f"postgres@{self.hosts.address('h1')}"]
        self._run("h2", ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh", *ssh])
        try:
            return self._pg_basebackup("127.0.0.1", _TUNNEL_PORT, "postgres", "superuser_password")
        finally:
            for pid in self.hosts.processes("h2", f"127.0.0.1:{_TUNNEL_PORT}:"):
                self._run("h2", ["kill", str(pid)])

    def over_plain_tcp(self) -> float:
        """pg_basebackup as it is shipped, with a fast checkpoint."""
        port = self.cluster.nodes["db1"]["port"]
        role = "pgtandem_replication"
        return self._pg_basebackup(self.hosts.address("h1"), port, role, "replication_password")

    def over_tls(self) -> float:
        """The same over TLS, checking the certificate as our own copy does."""
        root = self.hosts.srv("h2") / "bench_ca.crt"
        shutil.copy(self.cluster.folder / ".pgtandem" / "ca.crt", root)
        root.chmod(0o644)
        port, role = self.cluster.nodes["db1"]["port"], "pgtandem_replication"
        checked = ("PGSSLMODE=verify-full", "PGSSLROOTCERT=/srv/bench_ca.crt")
        return self._pg_basebackup(self.hosts.address("h1"), port, role, "replication_password", *checked)

    def _pg_basebackup(self, host: str, port: int, role: str, secret: str, *environment: str) -> float:
        password = json.loads((self.cluster.folder / ".pgtandem" / "secrets.json").read_text())[secret]
        copy = f"{self.cluster.base}/copy"
        self._settle()
        argv = [f"{self.bin}/pg_basebackup", "-h", host, "-p", str(port), "-U", role, "-D", copy, "--checkpoint=fast"]
        began = time.perf_counter()
        self._run("h2", ["env", f"PGPASSWORD={password}", *environment, *argv], "postgres")
        seconds = time.perf_counter() - began
        self._run("h2", ["rm", "-rf", copy])
        return seconds

    def _apply(self, way: str) -> float:
        self.cluster.apply()
        lines = (self.cluster.folder / ".pgtandem" / "journal.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        done = [entry for entry in entries if entry["event"] == "step done" and entry["step"] == "db2.data"]
        if not done or way not in done[-1]["remark"]:
            raise BenchmarkFailed(f"db2 was not made {way}: {done[-1:]}")
        return float(done[-1]["seconds"])

    def _stop(self) -> None:
        if not self.hosts.run("h2", ["test", "-e", f"{self.data}/postmaster.pid"]).returncode:
            self._run("h2", [f"{self.bin}/pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data], "postgres")

    def _run(self, host: str, argv: list[str], user: str | None = None) -> None:
        done = self.hosts.run(host, argv, user)
        if done.returncode:
            raise BenchmarkFailed(f"{argv[0]} on {host}: {done.stdout}{done.stderr}")

    def _settle(self) -> None:
        """What is left to be written out belongs to no other run."""
        os.sync()
