"""Copies that are cut off again and again: each run goes on with what the one before has brought."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from integration.test_hosts_copies import leave_behind, stop
from integration.test_hosts_renewed import is_sound
from support.hosts import Hosts, why_no_hosts
from support.program import Running
from support.remote import RemoteCluster
from support.servers import wait_until

_missing = why_no_hosts()
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(_missing is not None, reason=_missing or "")]

_SMALL_WAL = {"min_wal_size": "32MB", "max_wal_size": "32MB", "shared_buffers": "16MB"}
_MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


@pytest.fixture
def pair(hosts: Hosts) -> Iterator[RemoteCluster]:
    """A primary of some 150 MB, and its standby."""
    with RemoteCluster(hosts, parameters=_SMALL_WAL) as cluster:
        cluster.know_hosts()
        cluster.apply()
        rows = "SELECT g AS id, repeat(md5(g::text || random()), 30) AS text FROM generate_series(1, 120000) g"
        cluster.psql("db1", f"CREATE TABLE big AS {rows}")
        cluster.psql("db1", "CREATE INDEX ON big (id)")
        cluster.psql("db1", "VACUUM FREEZE big")
        for table in ("passing", "growing"):
            cluster.psql("db1", f"CREATE TABLE {table} AS SELECT g FROM generate_series(1, 10000) g")
        cluster.psql("db1", "CHECKPOINT")
        cluster.write_row("before")
        cluster.shows_row("db2", "before")
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


@dataclass(frozen=True)
class Cuts:
    """What came of a copy that was cut again and again: what the last run said, how often it was cut, what crossed the
    network, and the most half-made copies that there were."""

    said: str
    cuts: int
    sent: int
    most: int


def cut_again_and_again(
    cluster: RemoteCluster, *command: str, megabytes: int = 10, meanwhile: Callable[[int], None] = lambda _: None
) -> Cuts:
    """Runs a command that copies until it is done, each time cut when so much more has come; `meanwhile` gets the
    number of the cut."""
    cuts, begin, most = 0, received(cluster), 0
    while True:
        cluster.write()
        running, at = cluster.start(*command), received(cluster) + megabytes * _MEGABYTE

        def has_come(at: int = at, running: Running = running) -> bool:
            return received(cluster) >= at or not running.alive

        wait_until(has_come, f"{megabytes} MB more have come", 120)
        if running.alive:
            _CUTS[cuts % len(_CUTS)](cluster)
        done = running.end(120)
        if done.exit_code == 0:
            return Cuts(" ".join(done.out.split()), cuts, received(cluster) - begin, most)
        assert done.exit_code in (13, 12, 11), done.said
        cuts += 1
        wait_until(lambda: not cluster.hosts.processes("h2", "bin/psql"), "nobody receives", 60)
        wait_until(lambda: not cluster.hosts.processes("h2", "bin/pg_basebackup"), "nobody receives", 60)
        most = max(most, len(halves(cluster)))
        meanwhile(cuts)


@pytest.mark.timeout(1800)
def test_first_copy_that_is_cut_every_ten_megabytes_gets_whole_and_nothing_is_sent_twice(pair: RemoteCluster) -> None:
    stop(pair, "db2")
    pair.hosts.run("h2", ["rm", "-rf", f"{pair.base}/db2"])
    pair.tables["replication"] = {"max_copy_rate": "10MB"}
    done = cut_again_and_again(pair, "apply", "--yes")
    assert done.cuts >= 8
    assert done.most == 1, "what one run has brought, the next goes on with where it is"
    assert "the rest was here with the same content" in done.said
    # What was under way in buffers when it was cut is sent again; begun anew each time, it would be five times as much.
    assert done.sent < 2 * size(pair), f"{done.sent} of {size(pair)} after {done.cuts} cuts"
    pair.tables["replication"] = {}
    pair.apply()
    is_sound(pair)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("changed", "megabytes"), [(30_000, 10), (120_000, 60)], ids=["a part", "all"])
def test_copy_in_place_of_old_data_that_is_cut_again_and_again_gets_whole(
    pair: RemoteCluster, changed: int, megabytes: int
) -> None:
    """Where most differs the first run is pg_basebackup's; what it brought, and the old data, serve the next one. The
    old data is as it was until the new copy takes its place, and the primary goes on writing."""
    pair.psql("db2", "CHECKPOINT")
    stop(pair, "db2")
    change(pair, changed)
    differs = size(pair) if megabytes > 10 else size(pair) // 2
    pair.tables["replication"] = {"max_copy_rate": "60MB"}
    done = cut_again_and_again(pair, "rejoin", "db2", "--copy", "--yes", megabytes=megabytes, meanwhile=goes_on(pair))
    assert done.cuts >= 2
    assert done.most == 1
    assert "were sent, the rest was here with the same content" in done.said
    assert done.sent < 2 * differs, f"{done.sent}, of {differs} that differ, after {done.cuts} cuts"
    pair.tables["replication"] = {}
    pair.apply()
    is_sound(pair)


@pytest.mark.timeout(1800)
def test_copy_written_into_old_data_that_is_cut_every_ten_megabytes_gets_whole(pair: RemoteCluster) -> None:
    leave_behind(pair)
    change(pair, 30_000)
    pair.tables["replication"] = {"max_copy_rate": "60MB"}
    done = cut_again_and_again(pair, "apply", "--yes", meanwhile=goes_on(pair))
    assert done.cuts >= 3
    assert done.most == 1
    assert "were sent and written into the old data" in done.said
    assert done.sent < size(pair), f"{done.sent} of {size(pair)} after {done.cuts} cuts"
    pair.tables["replication"] = {}
    pair.apply()
    is_sound(pair)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("into", [False, True], ids=["beside the old data", "into the old data"])
def test_copy_whose_pgtandem_was_killed_is_gone_on_with_although_its_programs_live_on(
    pair: RemoteCluster, into: bool
) -> None:
    """kill -9 of pgtandem alone, three times; the next run begins at once."""
    if into:
        leave_behind(pair)
    else:
        stop(pair, "db2")
    change(pair, 30_000)
    command = ["apply", "--yes"] if into else ["rejoin", "db2", "--copy", "--yes"]
    pair.tables["replication"] = {"max_copy_rate": "60MB"}
    pair.write()
    begin = received(pair)
    for _ in range(3):
        running, at = pair.start(*command), received(pair) + 10 * _MEGABYTE
        wait_until(lambda at=at: received(pair) >= at, "10 MB more have come", 120)
        assert running.alive
        running.process.kill()
        running.end(60)
    said = " ".join(pair.ok(*command).out.split())
    assert "the rest was here with the same content" in said
    assert received(pair) - begin < 2 * size(pair)
    pair.tables["replication"] = {}
    pair.apply()
    is_sound(pair)


def change(cluster: RemoteCluster, rows: int) -> None:
    """So many rows at the beginning of the table, and none elsewhere."""
    cluster.psql("db1", f"UPDATE big SET text = repeat(md5(id::text || random()), 30) WHERE id <= {rows}")
    cluster.psql("db1", "VACUUM FREEZE big")
    cluster.psql("db1", "CHECKPOINT")


def size(cluster: RemoteCluster) -> int:
    return int(cluster.psql("db1", "SELECT sum(pg_database_size(oid)) FROM pg_database"))


def goes_on(cluster: RemoteCluster) -> Callable[[int], None]:
    """For between two runs: the primary writes, and db2's old data is what it was when this was called."""
    before = digest(cluster)

    def meanwhile(cut: int) -> None:
        assert digest(cluster) == before
        cluster.psql("db1", f"UPDATE big SET text = 'cut {cut}' WHERE id BETWEEN {cut} * 300 AND {cut} * 300 + 50")
        cluster.psql("db1", "CHECKPOINT")

    return meanwhile


def digest(cluster: RemoteCluster) -> str:
    """Of db2's data directory."""
    files = f"cd {cluster.base}/db2 && find . -type f | sort | xargs sha256sum | sha256sum"
    done = cluster.hosts.run("h2", ["sh", "-c", files])
    assert done.returncode == 0, done.stderr
    return done.stdout
