"""Clusters of pg_createcluster, with their configuration in /etc/postgresql, taken over: it moves into the data."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.by_hand import PASSWORD, ROLE, ByHand
from support.hosts import Hosts, why_no_hosts
from support.remote import BIN

_reason = why_no_hosts() or (
    None if shutil.which("pg_createcluster") and Path(BIN).is_dir() else "no postgresql-common"
)
pytestmark = pytest.mark.skipif(_reason is not None, reason=_reason or "")

ETC, DATA = "/etc/postgresql/15/main", "/var/lib/postgresql/15/main"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


class OnDebian(ByHand):
    """As the distribution's own tools make it, on both hosts under the same name."""

    def build(self) -> None:
        self.data = DATA
        one = self.hosts.address("h1")
        for host in ("h1", "h2"):
            self.on(host, "pg_createcluster", "15", "main", "-p", str(self.port))
            self.on(host, "sh", "-c", f"echo 'work_mem = 9MB' >{ETC}/conf.d/own.conf")
            self.append(host, f"{ETC}/postgresql.conf", "listen_addresses = '*'")
            self.append(host, f"{ETC}/pg_hba.conf", f"host replication {ROLE} 10.231.0.0/24 scram-sha-256")
        self.on("h1", "pg_ctlcluster", "15", "main", "start")
        self.sql("h1", f"CREATE USER {ROLE} REPLICATION LOGIN PASSWORD '{PASSWORD}'")
        self.sql("h1", "CREATE TABLE written (id bigint PRIMARY KEY)")
        self.sql("h1", "SELECT pg_create_physical_replication_slot('standby1')")
        self.on("h2", "sh", "-c", f"echo '*:*:*:{ROLE}:{PASSWORD}' >~/.pgpass && chmod 600 ~/.pgpass; rm -rf {DATA}/*")
        source = ("-h", one, "-p", str(self.port), "-U", ROLE, "-D", DATA, "-S", "standby1", "-R", "-c", "fast", "-w")
        self.on("h2", f"{BIN}/pg_basebackup", *source)
        self.on("h2", "pg_ctlcluster", "15", "main", "start")
        self.streams_by_hand()


@pytest.mark.chaos
def test_a_pair_of_debians_tools_is_taken_over_with_its_configuration(hosts: Hosts) -> None:
    with OnDebian(hosts) as cluster:
        cluster.know_hosts()
        cluster.build()
        urls = [word for name in ("h1", "h2") for word in ("--host", f"ssh://postgres@{hosts.address(name)}")]
        try:
            cluster.ok("adopt", "--name", "shop", *urls)
            topology = cluster.topology()
            assert topology["adopt"]["replaces_slots"] == ["standby1"]
            assert topology["parameters"]["work_mem"] == "9MB"
            assert "REP30" in cluster.run("doctor").out
            plan = " ".join(cluster.run("plan").out.split())
            assert f"with a copy of the configuration in {ETC}" in plan
            cluster.ok("apply", "--yes", seconds=300)
            assert "nothing to do" in cluster.ok("plan").out
            after = json.loads(cluster.ok("doctor", "--json").out)
            assert after["findings"] == []
            for host in ("h1", "h2"):
                assert cluster.sql(host, "SHOW hba_file") == f"{DATA}/pg_hba.conf"
                assert cluster.sql(host, "SHOW work_mem") == "9MB"
                assert "work_mem" in cluster.on(host, "cat", f"{DATA}/conf.d/own.conf")
                assert "online" in cluster.on(host, "pg_lsclusters", "-h")
                assert "data_directory" in cluster.on(host, "cat", f"{ETC}/postgresql.conf.before-pgtandem")
                # Whoever starts it as before starts the same.
                cluster.on(host, "pg_ctlcluster", "15", "main", "restart")
            cluster.streams_by_hand()
            assert "nothing to do" in cluster.ok("plan").out
            assert cluster.sql("h1", "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots") == "pgtandem_h2"
            cluster.ok("switchover", "--yes")
            assert cluster.sql("h2", "SELECT pg_is_in_recovery()") == "f"
        finally:
            for host in ("h1", "h2"):
                hosts.run(host, ["pg_ctlcluster", "-m", "immediate", "15", "main", "stop"])
