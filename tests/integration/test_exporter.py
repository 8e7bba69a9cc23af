"""exporter on real servers: what a scrape and a load balancer get while things happen."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.clusters import Cluster, free_ports
from support.processes import children
from support.program import Running
from support.servers import wait_until

pytestmark = pytest.mark.real

CONTRIB = Path(__file__).parents[2] / "contrib"


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


class Exporter:
    """`pgtandem exporter` of a cluster, answering."""

    def __init__(self, cluster: Cluster) -> None:
        (self.port,) = free_ports(1)
        self.running: Running = cluster.start("exporter", "--listen", f"127.0.0.1:{self.port}")
        wait_until(lambda: "health checks on" in self.running.out or not self.running.alive, "it answers", 30)
        assert self.running.alive, self.running.end(5).said

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_: object) -> None:
        self.running.kill()

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self, path: str) -> int:
        return self.ask(path)[0]

    def sample(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.ask("/metrics")[1]):
            for sample in family.samples:
                if sample.name == f"pgtandem_{name}" and labels.items() <= sample.labels.items():
                    return sample.value
        return None


def test_a_scrape_and_health_checks_of_a_pair(pair: Cluster) -> None:
    with Exporter(pair) as exporter:
        assert exporter.sample("node_up", node="db1") == 1
        wait_until(lambda: exporter.sample("node_state", node="db2", state="streaming") == 1, "the standby streams")
        wait_until(lambda: exporter.sample("node_lag_bytes", node="db2") == 0, "the standby has everything")
        before = exporter.sample("wal_written_bytes_total", node="db1")
        pair.write_row("of the exporter")
        assert before is not None
        wait_until(lambda: (exporter.sample("wal_written_bytes_total", node="db1") or 0) > before, "WAL is counted")
        assert (exporter.sample("node_disk_free_bytes", node="db2") or 0) > 0
        wait_until(lambda: exporter.sample("slot_active", slot="pgtandem_db2") == 1, "its slot is in use")
        assert exporter.status("/nodes/db1/primary") == 200
        assert exporter.status("/nodes/db2/primary") == 503
        assert exporter.status("/nodes/db2/standby?max_lag_bytes=16777216&max_lag_seconds=60") == 200
        assert exporter.ask("/nodes/db2/standby", "HEAD") == (200, "")
        assert exporter.ask("/nodes/db2/standby", "OPTIONS")[0] == 200
        assert exporter.status("/primary") == 200
        assert exporter.status("/nodes/db7/primary") == 404
        assert exporter.status("/nodes/db2/standby?lag=1") == 400
        assert exporter.status("/primary" * 100) == 404
        assert exporter.ask("/metrics", "POST")[0] == 405


def test_the_last_base_backup_is_told(pair: Cluster) -> None:
    pair.ok("backup", "--yes")
    with Exporter(pair) as exporter:
        assert exporter.sample("backups") == 1
        ended = exporter.sample("backup_last_timestamp_seconds")
        assert ended is not None
        assert 0 <= time.time() - ended < 120
        assert exporter.sample("backups") == 1, "from what is kept"


def test_a_frozen_standby_holds_up_neither_the_scrape_nor_the_others(pair: Cluster) -> None:
    with Exporter(pair) as exporter:
        assert exporter.sample("node_up", node="db2") == 1
        postmaster = pair.pid("db2")
        assert postmaster is not None
        frozen = [postmaster, *children(postmaster)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: exporter.status("/nodes/db2/standby") == 503, "it is not read from", 30)
            began = time.monotonic()
            assert exporter.status("/nodes/db1/primary") == 200
            took = time.monotonic() - began
            assert took < 4, f"a health check took {took:.1f} s"
            assert exporter.sample("node_up", node="db1") == 1
            assert exporter.sample("node_up", node="db2") == 0
        finally:
            for pid in reversed(frozen):
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: exporter.status("/nodes/db2/standby") == 200, "it is read from again", 60)


def test_without_its_primary_a_standby_is_still_read_from(pair: Cluster) -> None:
    with Exporter(pair) as exporter:
        assert exporter.status("/nodes/db1/primary") == 200
        pair.stop_server("db1")
        try:
            wait_until(lambda: exporter.status("/nodes/db1/primary") == 503, "it is gone", 30)
            assert exporter.status("/primary") == 503
            wait_until(lambda: exporter.status("/nodes/db2/standby?max_lag_bytes=0") == 200, "it has everything", 30)
            assert exporter.sample("primaries") == 0
        finally:
            pair.up()
        wait_until(lambda: exporter.status("/nodes/db1/primary") == 200, "it is back", 30)


def test_it_ends_by_sigterm_and_by_ctrl_c_while_clients_hang(pair: Cluster) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with Exporter(pair) as exporter, socket.create_connection(("127.0.0.1", exporter.port)) as silent:
            silent.sendall(b"GET /metr")
            exporter.running.process.send_signal(number)
            done = exporter.running.end(20)
            assert done.exit_code == 0, done.said
            assert done.err == ""


def test_a_port_that_is_taken_and_words_that_are_no_address_are_refused(pair: Cluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = pair.run("exporter", "--listen", f"127.0.0.1:{port}").refused("PT-1010", 10)
        assert f"could not listen on 127.0.0.1:{port}" in said
    pair.run("exporter", "--listen", "192.0.2.1:9832").refused("PT-1010", 10)
    for wrong in ("nonsense", "127.0.0.1:99999", "::1:9832", "127.0.0.1:"):
        assert f'"{wrong}" is not ADDRESS:PORT' in pair.run("exporter", "--listen", wrong).refused("PT-1006", 10)


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed")
def test_haproxy_with_the_example_file_follows_a_switchover(pair: Cluster) -> None:
    writes, reads = free_ports(2)
    with Exporter(pair) as exporter:
        text = (CONTRIB / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
        for before, after in (
            ("10.0.0.1:5432", f"127.0.0.1:{pair.port('db1')}"),
            ("10.0.0.2:5432", f"127.0.0.1:{pair.port('db2')}"),
            ("port 9832", f"port {exporter.port}"),
            ("127.0.0.1:5000", f"127.0.0.1:{writes}"),
            ("127.0.0.1:5001", f"127.0.0.1:{reads}"),
        ):
            assert before in text
            text = text.replace(before, after)
        file = pair.base / "haproxy.cfg"
        file.write_text(text)
        program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
        haproxy = subprocess.Popen([str(program), "-db", "-f", str(file)], stderr=subprocess.DEVNULL)
        try:

            def served_by(port: int) -> object:
                try:
                    with psycopg.connect(
                        host="127.0.0.1", port=port, user="postgres", dbname="postgres", password=pair.password()
                    ) as connection:
                        found = connection.execute("SELECT inet_server_port(), pg_is_in_recovery()").fetchone()
                except psycopg.OperationalError:
                    return None
                return found

            ports = {name: pair.port(name) for name in ("db1", "db2")}
            wait_until(lambda: served_by(writes) == (ports["db1"], False), "writes go to db1", 30)
            wait_until(lambda: served_by(reads) == (ports["db2"], True), "reads go to db2", 30)
            pair.ok("switchover", "--to", "db2", "--yes")
            wait_until(lambda: served_by(writes) == (ports["db2"], False), "writes go to db2", 30)
            wait_until(lambda: served_by(reads) == (ports["db1"], True), "reads go to db1", 30)
        finally:
            haproxy.terminate()
            haproxy.wait(60)
            if pair.sql("db1", "SELECT pg_is_in_recovery()"):  # the others' primary, in whatever order they run
                pair.ok("switchover", "--to", "db1", "--yes")
