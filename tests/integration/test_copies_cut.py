"""Copies that are cut off again and again: each run goes on with what the one before has brought."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.test_copies import KERNEL, add, checksums_fit, fill
from integration.test_hosts_copies import applying, stop
from integration.test_hosts_renewed import is_sound
from support.clusters import Cluster
from support.hosts import Hosts, why_no_hosts
from support.processes import children
from support.program import Running
from support.remote import RemoteCluster
from support.servers import wait_until

_missing = why_no_hosts()
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(_missing is not None, reason=_missing or "")]

_SMALL_WAL = {"min_wal_size": "32MB", "max_wal_size": "32MB", "shared_buffers": "16MB"}
_MEGABYTE = 1024 * 1024
_STEP = 10


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


@pytest.fixture
def pair(hosts: Hosts) -> Iterator[RemoteCluster]:
    """A primary of some 150 MB; the standby's data is gone."""
    with RemoteCluster(hosts, parameters=_SMALL_WAL) as cluster:
        cluster.know_hosts()
        cluster.apply()
        rows = "SELECT g AS id, repeat(md5(g::text || random()), 30) AS text FROM generate_series(1, 120000) g"
        cluster.psql("db1", f"CREATE TABLE big AS {rows}")
        cluster.psql("db1", "CREATE INDEX ON big (id)")
        cluster.psql("db1", "VACUUM FREEZE big")
        cluster.psql("db1", "CHECKPOINT")
        cluster.write_row("before")
        stop(cluster, "db2")
        hosts.run("h2", ["rm", "-rf", f"{cluster.base}/db2"])
        yield cluster


def received(cluster: RemoteCluster) -> int:
    """The bytes that h2 has received so far over the network, from whomever."""
    lines = cluster.hosts.run("h2", ["cat", "/proc/net/dev"]).stdout.splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[0]) for line in lines if line.split(":")[0].strip() != "lo")


def halves(cluster: RemoteCluster) -> list[int]:
    """How many megabytes each half-made copy has."""
    said = cluster.hosts.run("h2", ["sh", "-c", f"du -sm {cluster.base}/db2.pgtandem-new.*/"]).stdout
    return sorted(int(line.split()[0]) for line in said.splitlines())


def by_the_sender(cluster: RemoteCluster) -> None:
    """Its backends end: the walsender, and the one that answers psql."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    cluster.psql("db1", f"{query} AND client_addr = '{cluster.hosts.address('h2')}'")


def by_the_receiver(cluster: RemoteCluster) -> None:
    """kill -9 of the programs that receive."""
    for words in ("bin/pg_basebackup", "bin/psql"):
        for pid in cluster.hosts.processes("h2", words):
            cluster.hosts.run("h2", ["kill", "-9", str(pid)])


def by_ssh(cluster: RemoteCluster) -> None:
    """kill -9 of the other end of pgtandem's connection."""
    for pid in cluster.hosts.processes("h2", "sshd: postgres"):
        cluster.hosts.run("h2", ["kill", "-9", str(pid)])


_CUTS = (by_the_sender, by_the_receiver, by_ssh)


@pytest.mark.timeout(1800)
def test_first_copy_that_is_cut_every_ten_megabytes_gets_whole_and_nothing_is_sent_twice(pair: RemoteCluster) -> None:
    size = int(pair.psql("db1", "SELECT sum(pg_database_size(oid)) FROM pg_database"))
    pair.tables["replication"] = {"max_copy_rate": "10MB"}
    cuts, at, begin, most = 0, _STEP, received(pair), 0
    while True:
        running = applying(pair)

        def is_there(at: int = at, running: Running = running) -> bool:
            return max(halves(pair), default=0) >= at or not running.alive

        wait_until(is_there, f"{at} MB are there", 120)
        if not running.alive:
            break
        _CUTS[cuts % len(_CUTS)](pair)
        cuts += 1
        done = running.end(120)
        if done.exit_code == 0:
            cuts -= 1  # all of it had come
            break
        assert done.exit_code in (13, 12, 11), done.said
        wait_until(lambda: not pair.hosts.processes("h2", "bin/psql"), "nobody receives", 60)
        wait_until(lambda: not pair.hosts.processes("h2", "bin/pg_basebackup"), "nobody receives", 60)
        most = max(most, len(halves(pair)))
        at = max(halves(pair), default=0) + _STEP
    done = running.end(120)
    assert done.exit_code == 0, done.said
    sent = received(pair) - begin
    assert cuts >= 8
    assert most <= 2, "what one run has brought, the next has too"
    assert "the rest was here with the same content" in " ".join(done.out.split()), done.out
    # What was under way in buffers when it was cut is sent again; begun anew each time, it would be five times as much.
    assert sent < 2 * size, f"{sent} of {size} after {cuts} cuts"
    pair.tables["replication"] = {}
    pair.apply()
    is_sound(pair)


@pytest.mark.timeout(1800)
def test_copy_on_one_machine_whose_programs_are_killed_again_and_again_is_whole_in_the_end() -> None:
    """kill -9 of whatever copies, a little later each time. Nothing is kept of it: to compare takes as long (0027)."""
    with Cluster(standbys=0, replication={"max_copy_rate": "20MB"}) as cluster:
        cluster.up()
        fill(cluster, 60_000)
        cluster.write_row("before the copy")
        add(cluster, "db2")
        cuts = 0
        for at in range(4, 44, 4):
            running = cluster.start("apply", "--yes")
            wait_until(lambda at=at, running=running: made(cluster) >= at or not running.alive, f"{at} MB", 60)
            while running.alive and not kill_copying(running.process.pid):
                continue
            done = running.end(120)
            assert "could not copy db1 to db2" in done.refused("PT-4006", 13)
            assert not cluster.data("db2").exists()
            assert cluster.leftovers() == []
            cuts += 1
        assert cuts == 10
        said = cluster.ok("apply", "--yes").out
        assert KERNEL.search(said), said
        cluster.shows_row("db2", "before the copy")
        checksums_fit(cluster, "db2")
        assert cluster.sql("db2", "SELECT count(*) FROM big") == 60_000


def made(cluster: Cluster) -> int:
    """How many megabytes the half-made copy has."""
    files = [path for folder in cluster.leftovers() for path in Path(folder).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) // _MEGABYTE


def kill_copying(pid: int) -> bool:
    for child in children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0] in (b"cp", b"dd"):
                os.kill(child, signal.SIGKILL)
                return True
    return False
