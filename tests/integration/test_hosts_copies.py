"""Copies between hosts: whole ones by pg_basebackup, and anew over old data, where only what differs is sent."""

import re
from collections.abc import Iterator

import pytest

from support.hosts import Hosts, why_no_hosts
from support.program import Running
from support.remote import RemoteCluster
from support.said_sizes import sizes_said
from support.servers import wait_until
from support.slots import drop_slot

_missing = why_no_hosts()
pytestmark = pytest.mark.skipif(_missing is not None, reason=_missing or "")

_SMALL_WAL = {"min_wal_size": "32MB", "max_wal_size": "32MB", "shared_buffers": "16MB"}


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


@pytest.fixture
def pair(hosts: Hosts) -> Iterator[RemoteCluster]:
    """Two nodes with a table of 100 MB, no archive."""
    with RemoteCluster(hosts, parameters=_SMALL_WAL) as cluster:
        cluster.know_hosts()
        said = cluster.apply().out
        assert re.search(
            r"\d+ files by pg_basebackup; each has its size and its checksum by the server's manifest", said
        ), said
        rows = "SELECT g AS id, repeat(md5(g::text), 30) AS text FROM generate_series(1, 100000) g"
        cluster.psql("db1", f"CREATE TABLE big AS {rows}")
        # Who reads a row first marks it as committed, and not on every node alike; once it is frozen nobody does.
        cluster.psql("db1", "VACUUM FREEZE big")
        cluster.psql("db1", "CREATE TABLE passing AS SELECT g FROM generate_series(1, 10000) g")
        cluster.psql("db1", "CREATE TABLE growing AS SELECT g FROM generate_series(1, 10000) g")
        cluster.write_row("before")
        cluster.shows_row("db2", "before")
        yield cluster


def leave_behind(cluster: RemoteCluster) -> None:
    """db2 is stopped, and loses the WAL that it needs; meanwhile a few rows change, tables come, grow and go."""
    cluster.psql("db2", "CHECKPOINT")
    stop(cluster, "db2")
    needed = drop_slot(cluster, "db2")
    for change in (
        "UPDATE big SET text = 'changed' WHERE id % 5000 = 0",
        "DROP TABLE passing",
        "INSERT INTO growing SELECT g FROM generate_series(1, 100000) g",
        "CREATE TABLE new AS SELECT g FROM generate_series(1, 10000) g",
        "INSERT INTO note VALUES ('while db2 was away')",
    ):
        cluster.psql("db1", change)
    wal = f"{cluster.nodes['db1']['data_directory']}/pg_wal/{needed}"

    def gone() -> bool:
        for _ in range(4):
            cluster.psql("db1", "SELECT pg_switch_wal(), pg_logical_emit_message(false, 'test', 'x')")
        cluster.psql("db1", "CHECKPOINT")
        return cluster.hosts.run("h1", ["test", "-e", wal]).returncode != 0

    wait_until(gone, f"{needed} is gone from the primary", 60)


def is_the_same(cluster: RemoteCluster) -> None:
    """What every table holds, read through the checksums of its pages."""
    cluster.converged()
    tables = (
        "SELECT string_agg(relname, ' ') FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    names = cluster.psql("db1", tables).split()
    cluster.wait_for("db2", f"SELECT count(*) = {len(names)} FROM pg_class WHERE relname IN {tuple(names)}")
    for table in names:
        query = f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {table} AS t"
        assert cluster.psql("db1", query) == cluster.psql("db2", query), table
    left = cluster.hosts.run("h2", ["ls", "-A", cluster.base]).stdout.split()
    assert left == ["db2", "db2.log"]
    assert cluster.psql("db1", "SELECT count(*) FROM pg_roles WHERE rolname = 'pgtandem_rewind'") == "0"


def stop(cluster: RemoteCluster, node: str) -> None:
    data = cluster.nodes[node]["data_directory"]
    argv = [f"{cluster.programs}/pg_ctl", "stop", "-w", "-m", "fast", "-D", data]
    done = cluster.hosts.run(cluster.host_of(node), argv, user="postgres")
    assert done.returncode == 0, done.stderr


def test_copy_over_old_data_sends_what_differs_alone_and_goes_on_where_it_was_cut(pair: RemoteCluster) -> None:
    """What had come is not sent again: what differs at the least is twice what the table has grown by."""
    leave_behind(pair)
    before = int(pair.psql("db1", "SELECT pg_relation_size('big')"))
    pair.psql("db1", "UPDATE big SET text = repeat(md5(id::text || 'x'), 30) WHERE id <= 20000")
    pair.psql("db1", "CHECKPOINT")
    differs = 2 * (int(pair.psql("db1", "SELECT pg_relation_size('big')")) - before)
    assert differs > 35_000_000
    pair.tables["replication"] = {"max_copy_rate": "40MB"}
    running = applying(pair)

    def much_is_there() -> bool:
        shown = pair.hosts.run("h2", ["sh", "-c", f"du -sm {pair.base}/db2.pgtandem-new.*/new"]).stdout.split()
        return bool(shown) and int(shown[0]) >= 24

    wait_until(much_is_there, "a part of it is there", 60)
    for pid in pair.hosts.processes("h2", "bin/psql"):
        pair.hosts.run("h2", ["kill", "-9", str(pid)])
    assert "[PT-4006]" in running.end(120).err
    assert "PG_VERSION" in pair.hosts.run("h2", ["ls", f"{pair.base}/db2"]).stdout

    pair.tables["replication"] = {}
    said = pair.apply().out
    assert sizes_said(said)[0] < differs - 4_000_000
    pair.shows_row("db2", "while db2 was away")
    assert pair.psql("db2", "SELECT to_regclass('passing') IS NULL") == "t"
    is_the_same(pair)


def test_copy_whose_connection_was_cut_goes_on_with_what_is_there(pair: RemoteCluster) -> None:
    stop(pair, "db2")
    pair.hosts.run("h2", ["rm", "-rf", f"{pair.base}/db2"])
    pair.tables["replication"] = {"max_copy_rate": "20MB"}
    running = applying(pair)

    def much_is_there() -> bool:
        shown = pair.hosts.run("h2", ["sh", "-c", f"du -sm {pair.base}/db2.pgtandem-new.*/"]).stdout.split()
        return bool(shown) and int(shown[0]) > 90

    wait_until(much_is_there, "more than half of it is there", 60)
    pair.psql("db1", "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name ~ 'clone'")
    done = running.end(120)
    assert done.exit_code == 13, done.said
    assert "[PT-4006]" in done.err
    assert half_made(pair)
    assert not pair.hosts.run("h2", ["sh", "-c", f"ls {pair.base}/*.passfile"]).stdout

    pair.tables["replication"] = {}
    said = pair.apply().out
    sent, total = sizes_said(said)
    assert sent < 0.5 * total
    is_the_same(pair)


@pytest.mark.chaos
def test_killed_and_the_primary_gone_while_differences_are_sent(pair: RemoteCluster) -> None:
    """kill -9 of pgtandem, then of the primary: each time the old data is there, and the next run makes the copy."""
    leave_behind(pair)
    pair.tables["replication"] = {"max_copy_rate": "20MB"}
    running = applying(pair)
    wait_until(lambda: half_made(pair), "the copy is under way", 60)
    running.kill()
    before = half_made(pair)
    assert "PG_VERSION" in pair.hosts.run("h2", ["ls", f"{pair.base}/db2"]).stdout

    running = applying(pair)
    wait_until(lambda: half_made(pair) - before, "the copy is under way", 60)
    pair.hosts.run("h1", ["pkill", "-9", "-f", f"{pair.base}/db1"])
    assert running.end(120).exit_code != 0
    assert "PG_VERSION" in pair.hosts.run("h2", ["ls", f"{pair.base}/db2"]).stdout
    assert half_made(pair), "what was received stays for the next run"

    pair.tables["replication"] = {}
    said = pair.apply().out
    if "the rest was here" not in " ".join(said.split()):
        said = pair.apply().out
    assert sizes_said(said)
    is_the_same(pair)


def applying(cluster: RemoteCluster) -> Running:
    cluster.write()
    return cluster.start("apply", "--yes")


def half_made(cluster: RemoteCluster) -> set[str]:
    """The half-made copies that have files already, and folders for what differs."""
    paths = f"{cluster.base}/db2.pgtandem-new.*/PG_VERSION {cluster.base}/db2.pgtandem-new.*/new"
    said = cluster.hosts.run("h2", ["sh", "-c", f"ls -d {paths}"]).stdout
    return set(said.split())
