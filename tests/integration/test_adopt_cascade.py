"""Three nodes in a row, built by hand with WAL on another disk and a tablespace: taken over as they are."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.by_hand import PASSWORD, ROLE, ByHand
from support.hosts import Hosts, why_no_hosts
from support.remote import BIN
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(_reason is not None, reason=_reason or "")]


class Cascade(ByHand):
    """h3 follows h2, h2 follows h1; on all of them pg_wal is a link to .../wal, and a tablespace lies in .../space."""

    def build(self) -> None:
        self.wal, self.space = f"{self.base}/wal", f"{self.base}/space"
        for host in self.hosts.names:
            self.hosts.run(host, ["install", "-d", "-o", "postgres", "-g", "postgres", "-m", "755", self.base])
        initdb = (f"{self.programs}/initdb", "-D", self.data, "-X", self.wal, "--auth-local=peer")
        self.on("h1", *initdb, "--auth-host=scram-sha-256", "-E", "UTF8", "-k")
        self.append(
            "h1", f"{self.data}/pg_hba.conf", f"host replication {ROLE} {self.hosts.address('h1')}/24 scram-sha-256"
        )
        self.append(
            "h1",
            f"{self.data}/postgresql.conf",
            f"listen_addresses = '*'\nport = {self.port}\nunix_socket_directories = '{self.sockets}'\n"
            "shared_buffers = 32MB\nwal_keep_size = 256MB",
        )
        self.pg_ctl("h1", "start")
        self.sql("h1", f"CREATE USER {ROLE} REPLICATION LOGIN PASSWORD '{PASSWORD}'")
        self.on("h1", "mkdir", "-m", "700", self.space)
        self.sql("h1", f"CREATE TABLESPACE space LOCATION '{self.space}'")
        self.sql("h1", "CREATE TABLE written (id bigint PRIMARY KEY) TABLESPACE space")
        for upstream, host in (("h1", "h2"), ("h2", "h3")):
            self.on(host, "sh", "-c", f"echo '*:*:*:{ROLE}:{PASSWORD}' >~/.pgpass && chmod 600 ~/.pgpass")
            self.on(
                host,
                *(f"{self.clients}/pg_basebackup", "-h", self.hosts.address(upstream), "-p", str(self.port)),
                *("-U", ROLE, "-D", self.data, "--waldir", self.wal, "-R", "-c", "fast", "-w"),
            )
            self.pg_ctl(host, "start")
            self.streams_again(upstream, host)


@pytest.fixture
def cluster() -> Iterator[Cascade]:
    with Hosts(3) as hosts, Cascade(hosts) as made:
        made.know_hosts()
        made.build()
        yield made


def test_a_cascade_with_a_tablespace_and_wal_elsewhere_is_taken_over_while_a_client_writes(cluster: Cascade) -> None:
    urls = [
        word
        for host in cluster.hosts.names
        for word in ("--host", f"ssh://postgres@{cluster.hosts.address(host)}")
    ]  # fmt: skip
    with cluster.writer() as writer:
        cluster.ok("adopt", "--name", "shop", *urls)
        nodes = cluster.topology()["nodes"]
        assert {name: node["wal_directory"] for name, node in nodes.items()} == dict.fromkeys(nodes, cluster.wal)
        assert nodes["h3"]["upstream"] == "h2"
        assert "upstream" not in nodes["h2"]
        follow = {node["name"]: node["upstream"] for node in cluster.status()["nodes"]}
        assert follow == {"h1": None, "h2": "h1", "h3": "h2"}, "both call themselves walreceiver"
        said = " ".join(cluster.run("plan").out.split())
        assert "take over" in said
        assert "replace data" not in said, "nothing is copied anew"
        cluster.ok("apply", "--yes", seconds=300)
        assert "nothing to do" in cluster.ok("plan").out
        writer.goes_on()
        assert json.loads(cluster.ok("doctor", "--json").out)["findings"] == []
    for host in cluster.hosts.names:
        assert cluster.on(host, "readlink", f"{cluster.data}/pg_wal") == cluster.wal
        assert cluster.on(host, "sh", "-c", f"readlink {cluster.data}/pg_tblspc/*") == cluster.space
    assert writer.missing("h1") == set()
    cluster.ok("switchover", "--to", "h2", "--yes")
    wait_until(lambda: cluster.sql("h2", "SELECT pg_is_in_recovery()") == "f", "h2 is the primary", 60)
    assert writer.missing("h2") == set()
    cluster.sql("h2", "INSERT INTO written VALUES (-1)")
    wait_until(lambda: cluster.sql("h3", "SELECT count(*) FROM written WHERE id = -1") == "1", "h3 shows it", 60)
    assert "nothing to do" in cluster.ok("plan").out
