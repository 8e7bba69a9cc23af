"""What shows a cluster works over SSH as it does on one machine: top, report, exporter, bench, doctor, history."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import free_ports
from support.hosts import Hosts, why_no_hosts
from support.program import PROGRAM
from support.remote import BIN, RemoteCluster
from support.servers import wait_until
from support.terminals import Terminal

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
_reason = _reason or (None if shutil.which("tmux") else "tmux is not installed")
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(_reason is not None, reason=_reason or "")]


@pytest.fixture(scope="module")
def pair() -> Iterator[RemoteCluster]:
    with Hosts(2) as hosts, RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        cluster.apply()
        yield cluster


def test_top_shows_both_hosts_and_the_log_of_the_other_one(pair: RemoteCluster) -> None:
    with Terminal(pair.options(), f"{PROGRAM} top --every 0.3") as terminal:
        terminal.shows("└ db2  standby  streaming")
        terminal.press("Enter")
        terminal.shows("[settings]")
        terminal.press("l")
        terminal.shows("ready to accept")
        terminal.press("f")
        terminal.shows(f"ssh://postgres@{pair.hosts.address('h2')}")
        terminal.press("Escape")
        terminal.shows("└ db2")
        terminal.press("q")
        terminal.shows("code 0")


def test_report_draws_them(pair: RemoteCluster) -> None:
    pair.ok("report", "--for", "2s", "-o", "page.html")
    page = (pair.folder / "page.html").read_text()
    assert "<svg" in page
    assert "db2" in page
    assert pair.secrets()["superuser_password"] not in page


def test_exporter_answers_for_them(pair: RemoteCluster) -> None:
    (port,) = free_ports(1)
    running = pair.start("exporter", "--listen", f"127.0.0.1:{port}")
    wait_until(lambda: "health checks on" in running.out or not running.alive, "it answers", 60)
    assert running.alive, running.end(5).said
    for path in ("/nodes/db1/primary", "/nodes/db2/standby?max_lag_bytes=100000000"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            assert answer.status == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert 'pgtandem_node_up{cluster="shop",node="db2"} 1.0' in answer.read().decode()
    running.kill()


def test_bench_measures_them_and_leaves_nothing(pair: RemoteCluster) -> None:
    done = pair.ok("bench", "durability", "--seconds", "1", "--clients", "2", "--scale", "1", "--json", "--yes")
    levels = json.loads(done.out)["levels"]
    assert {level["durability"] for level in levels} >= {"off", "local", "on"}
    assert pair.psql("db1", "SELECT count(*) FROM pg_database WHERE datname LIKE 'pgtandem%'") == "0"
    pair.converged()


def test_doctor_and_history_tell_of_them(pair: RemoteCluster) -> None:
    assert json.loads(pair.ok("doctor", "--json").out)["unseen"] == []
    assert "prove that db2 streams from db1" in " ".join(pair.ok("history").out.split())
