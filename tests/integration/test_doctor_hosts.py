"""doctor on several hosts: each trap that lies between them, or on their disks, set on real ones and silent before.

Two things stand in for what one machine cannot have. A clock of its own: `date` of h2 is an hour ahead. Less memory
than the machine: h2 has another /proc/meminfo, as containers with a limit do. Disks are file systems of their own.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.program import PROGRAM
from support.provoking import Looks, ids, provokes
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

_EXTENSIONS = "/usr/share/postgresql/15/extension"
_SLOW_CLOCK = "#!/bin/bash\necho $((EPOCHSECONDS + 3600)).0\n"

ON_DISKS = ("ARC04", "ARC18", "HST02", "HST07", "HST09", "REP07", "REP17", "REP26", "REP29")
OVER_SQL = ("HST05", "REP05", "REP25", "REP28")


class Trapped(RemoteCluster):
    """db3 and the archive on small disks of h3, the WAL of db2 on one of h2."""

    def __init__(self, hosts: Hosts) -> None:
        super().__init__(hosts, 3)
        self.know_hosts()
        self.archive = f"{self.base}/archive"
        self.disk("h3", self.base, 400)
        self.disk("h3", self.archive, 250)
        self.on("h2", "install", "-d", "-o", "postgres", "-g", "postgres", self.base)
        self.disk("h2", f"{self.base}/wal", 400)
        self.nodes["db2"]["wal_directory"] = f"{self.base}/wal"
        self.tables["archive"] = {"directory": self.archive, "host": f"ssh://postgres@{hosts.address('h3')}"}
        self.tables["parameters"] = {"shared_buffers": "32MB"}
        self.tables["pg_hba"] = {"lines": [f"host all postgres {hosts.address('ctl')}/32 scram-sha-256"]}

    def on(self, host: str, *argv: str) -> str:
        done = self.hosts.run(host, argv)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout.strip()

    def disk(self, host: str, folder: str, megabytes: int) -> None:
        self.on(host, "install", "-d", "-o", "postgres", "-g", "postgres", folder)
        self.on(host, "mount", "-t", "tmpfs", "-o", f"size={megabytes}m,uid=64321,gid=64321,mode=0700", "tmpfs", folder)

    def alter(self, node: str, **settings: str) -> None:
        for name, value in settings.items():
            self.psql(node, f"ALTER SYSTEM SET {name} = '{value}'")
        self.psql(node, "SELECT pg_reload_conf()")

    def restart(self, node: str) -> None:
        data = self.nodes[node]["data_directory"]
        argv = [f"{BIN}/pg_ctl", "-w", "-s", "-D", data, "-l", f"{data}.log", "-m", "fast", "restart"]
        assert self.hosts.run(self.host_of(node), argv, user="postgres").returncode == 0

    def look(self, looks: Looks) -> set[str]:
        done = self.run("doctor", "--json")
        assert done.exit_code in (0, 2), done.said
        return looks.take(ids(json.loads(done.out)))

    def look_over_sql(self, looks: Looks, *nodes: str) -> set[str]:
        password = self.secrets()["superuser_password"]
        dsns = [f"postgres://postgres@{self.hosts.address(self.host_of(node))}:{self.port}/" for node in nodes]
        words = [word for dsn in dsns for word in ("--dsn", dsn)]
        done = subprocess.run(
            self.hosts.at_control(["env", f"PGPASSWORD={password}", str(PROGRAM), "doctor", "--json", *words]),
            capture_output=True, text=True, cwd=self.folder, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 2), done.stderr
        return looks.take(ids(json.loads(done.stdout)), over_sql=True)


@pytest.fixture
def cluster() -> Iterator[Trapped]:
    with Hosts(3) as hosts, Trapped(hosts) as made:
        made.apply()
        yield made


def _one_disk_and_full(cluster: Trapped) -> None:
    """The archive's own disk of h3 is gone, and what is in it lies beside the data, on a disk that is almost full."""
    kept = f"{cluster.base}/kept"
    cluster.on("h3", "cp", "-a", cluster.archive, kept)
    cluster.on("h3", "umount", cluster.archive)
    cluster.on("h3", "rmdir", cluster.archive)
    cluster.on("h3", "mv", kept, cluster.archive)
    free = int(cluster.on("h3", "df", "--output=avail", "-B1", cluster.base).split()[-1])
    cluster.on("h3", "fallocate", "-l", str(free - 12 * 1024**2), f"{cluster.base}/filler")


def _another_host(cluster: Trapped) -> None:
    """h2 lacks an extension's package, has little memory, and lets db1 not in."""
    cluster.psql("db1", "CREATE EXTENSION pgcrypto")
    cluster.on("h2", "cp", "-r", _EXTENSIONS, "/srv/extension")
    cluster.on("h2", "sh", "-c", "rm /srv/extension/pgcrypto*")
    cluster.on("h2", "mount", "--bind", "/srv/extension", _EXTENSIONS)
    cluster.on("h2", "sh", "-c", "sed 's/^MemTotal:.*/MemTotal:          40960 kB/' /proc/meminfo >/srv/meminfo")
    cluster.on("h2", "mount", "--bind", "/srv/meminfo", "/proc/meminfo")
    hba, address = f"{cluster.nodes['db2']['data_directory']}/pg_hba.conf", cluster.hosts.address("h1")
    cluster.on("h2", "sed", "-i", f"/replication.*{address}/d", hba)
    cluster.alter("db2", max_slot_wal_keep_size="1GB", primary_slot_name="")
    cluster.wait_for("db1", "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'pgtandem_db2'")


def _another_upstream(cluster: Trapped, address: str) -> None:
    passfile = f"{cluster.nodes['db3']['data_directory']}/pgtandem/passfile"
    user = "user=pgtandem_replication application_name=db3"
    cluster.alter(
        "db3",
        primary_conninfo=f"host={address} port={cluster.port} {user} passfile={passfile}",
        primary_slot_name="",
    )


@pytest.mark.chaos
@provokes(*ON_DISKS)
@provokes(*OVER_SQL)
@provokes(*OVER_SQL, "REP24", over_sql=True)
def test_traps_between_hosts_and_on_their_disks_are_found(cluster: Trapped, looks: Looks) -> None:
    every = ("db1", "db2", "db3")
    silent = {*ON_DISKS, *OVER_SQL}
    assert silent & cluster.look(looks) == set()
    assert silent & cluster.look_over_sql(looks, *every) == set()
    assert "REP24" not in cluster.look_over_sql(looks, "db3"), "from which nobody streams"

    _one_disk_and_full(cluster)
    _another_host(cluster)
    _another_upstream(cluster, cluster.hosts.address("h2"))
    wait_until(lambda: cluster.streams("db2") == ["db3"], "db3 streams from db2", 60)
    assert {"HST05", "REP05", "REP24", "REP28"} <= cluster.look_over_sql(looks, *every)
    cluster.alter("db3", listen_addresses="localhost")
    cluster.restart("db3")
    wait_until(lambda: cluster.streams("db2") == ["db3"], "db3 streams from db2 again", 60)
    with cluster.hosts.another_program("h2", "date", _SLOW_CLOCK):
        found = cluster.look(looks)
    assert {*silent} - {"REP25"} - found == set()

    cluster.alter("db3", listen_addresses="*")
    cluster.restart("db3")
    _another_upstream(cluster, "127.0.0.1")
    cluster.wait_for("db3", "SELECT current_setting('primary_conninfo') LIKE 'host=127%'")
    assert "REP25" in cluster.look_over_sql(looks, *every)
    assert "REP25" in cluster.look(looks)
