"""A copy between hosts that is written into the old data, cut off wherever it can be."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from integration.test_hosts_copies import applying, half_made, is_the_same, leave_behind, stop
from support.clusters import installation
from support.hosts import Hosts, why_no_hosts
from support.installations import PACKAGED_MAJORS, client_programs, closed_folder, packaged
from support.remote import RemoteCluster
from support.servers import wait_until

_missing = why_no_hosts()
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(_missing is not None, reason=_missing or "")]

_SMALL_WAL = {"min_wal_size": "32MB", "max_wal_size": "32MB", "shared_buffers": "16MB"}
#: It waits where a copy is being put together: nothing of that is durable yet, and the control file is not there.
_SYNC = """\
#!/bin/sh
case $(pwd) in
*.pgtandem-merge.*/data) while [ -e /srv/hold/on ]; do : >/srv/hold/there; sleep 0.05; done ;;
esac
exec /srv/sync "$@"
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


def fill(cluster: RemoteCluster) -> None:
    cluster.know_hosts()
    cluster.apply()
    rows = "SELECT g AS id, repeat(md5(g::text), 30) AS text FROM generate_series(1, 100000) g"
    cluster.psql("db1", f"CREATE TABLE big AS {rows}")
    cluster.psql("db1", "CREATE INDEX ON big (id)")
    cluster.psql("db1", "VACUUM FREEZE big")
    again(cluster)
    cluster.write_row("before")
    cluster.shows_row("db2", "before")


def again(cluster: RemoteCluster) -> None:
    """The small tables as they were, so that they can change once more."""
    cluster.psql("db1", "DROP TABLE IF EXISTS growing, passing, new")
    cluster.psql("db1", "CREATE TABLE passing AS SELECT g FROM generate_series(1, 10000) g")
    cluster.psql("db1", "CREATE TABLE growing AS SELECT g FROM generate_series(1, 10000) g")
    cluster.psql("db1", "CREATE UNLOGGED TABLE passing_by AS SELECT g FROM generate_series(1, 10000) g")
    cluster.psql("db1", "DROP TABLE passing_by")


@pytest.fixture
def pair(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts, parameters=_SMALL_WAL) as cluster:
        fill(cluster)
        yield cluster


def is_sound(cluster: RemoteCluster) -> None:
    """The same rows, every page with its checksum, and an index that fits its table."""
    is_the_same(cluster)
    cluster.psql("db1", "CREATE EXTENSION IF NOT EXISTS amcheck")
    cluster.wait_for("db2", "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck')")
    checked = "SELECT count(bt_index_check(i.indexrelid, i.indrelid = 'big'::regclass)) > 100 FROM pg_index i"
    checked += " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree'"
    assert cluster.psql("db2", checked) == "t"
    stop(cluster, "db2")
    directory = cluster.nodes["db2"]["data_directory"]
    name = "pg_checksums" if cluster.major >= 12 else "pg_verify_checksums"
    check = [f"{cluster.programs}/{name}", *(["--check"] if cluster.major >= 12 else []), "-D", directory]
    done = cluster.hosts.run("h2", check, user="postgres")
    assert done.returncode == 0, done.stdout + done.stderr
    cluster.apply()
    is_the_same(cluster)


def listed(cluster: RemoteCluster) -> list[str]:
    return cluster.hosts.run("h2", ["ls", "-A", cluster.base]).stdout.split()


def journal(cluster: RemoteCluster) -> list[str]:
    return (cluster.folder / ".pgtandem/journal.jsonl").read_text().splitlines()


@contextmanager
def sync_holds(cluster: RemoteCluster) -> Iterator[None]:
    prepare = "rm -rf /srv/hold && mkdir -m 1777 /srv/hold && : >/srv/hold/on && cp $(command -v sync) /srv/sync"
    assert cluster.hosts.run("h2", ["sh", "-c", prepare]).returncode == 0
    with cluster.hosts.another_program("h2", "sync", _SYNC):
        yield


def let_go(cluster: RemoteCluster) -> None:
    cluster.hosts.run("h2", ["rm", "/srv/hold/on"])


def held_while_put_together(cluster: RemoteCluster) -> None:
    """An apply waits in the middle of putting the copy together; there is no data directory then."""
    wait_until(lambda: cluster.hosts.run("h2", ["test", "-e", "/srv/hold/there"]).returncode == 0, "it is held", 120)
    assert "db2" not in listed(cluster)
    merge = next(name for name in listed(cluster) if ".pgtandem-merge." in name)
    there = cluster.hosts.run("h2", ["ls", f"{cluster.base}/{merge}/data/global"]).stdout.split()
    assert "pg_control" not in there
    assert there


def merging(cluster: RemoteCluster) -> list[int]:
    return cluster.hosts.processes("h2", f"{cluster.base}/db2.pgtandem-merge")


def test_killed_while_it_is_put_together_it_is_finished_without_its_primary(pair: RemoteCluster) -> None:
    """kill -9 of pgtandem, of the program that puts the copy together, and of the primary's host."""
    leave_behind(pair)
    with sync_holds(pair):
        running = applying(pair)
        held_while_put_together(pair)
        running.kill()
        for pid in merging(pair):
            pair.hosts.run("h2", ["kill", "-9", str(pid)])
        let_go(pair)
    wait_until(lambda: not merging(pair), "nobody puts it together", 30)
    assert "db2" not in listed(pair)
    pair.hosts.crash("h1")
    assert "finish the new copy" in " ".join(pair.run("plan").out.split())
    said = pair.run("apply", "--yes")
    assert "db2  finish the new copy" in said.out, said.said
    assert "db2" in listed(pair)
    assert not [name for name in listed(pair) if "pgtandem" in name]
    # It is whole on its own: it starts, and shows what the primary had when it was copied.
    data = pair.nodes["db2"]["data_directory"]
    argv = [f"{pair.programs}/pg_ctl", "start", "-w", "-D", data, "-l", f"{data}.log"]
    started = pair.hosts.run("h2", argv, user="postgres")
    assert started.returncode == 0, started.stdout + started.stderr
    assert pair.psql("db2", "SELECT count(*) FROM note WHERE text = 'while db2 was away'") == "1"
    assert pair.psql("db2", "SELECT count(*) FROM big WHERE text = 'changed'") == "20"
    pair.hosts.boot("h1")
    pair.apply()
    is_sound(pair)


def test_program_that_outlives_pgtandem_is_waited_for(pair: RemoteCluster) -> None:
    leave_behind(pair)
    with sync_holds(pair):
        running = applying(pair)
        held_while_put_together(pair)
        running.process.kill()
        if merging(pair):
            running = applying(pair)
            wait_until(lambda: len(merging(pair)) > 1 or not merging(pair), "the next one waits for it", 60)
        let_go(pair)
        running.end(120)
    pair.apply()
    is_sound(pair)


def killed_at(cluster: RemoteCluster, number: int) -> list[str]:
    """Kills an apply when its journal has so many more lines, or lets it end; the events that were written."""
    before = len(journal(cluster))
    running = applying(cluster)

    def there() -> bool:
        return len(journal(cluster)) >= before + number or running.process.poll() is not None

    wait_until(there, f"line {number} is written", 120)
    running.kill()
    return [json.loads(line)["event"] for line in journal(cluster)[before:]]


@pytest.mark.timeout(1800)
def test_killed_at_every_line_of_the_journal(pair: RemoteCluster) -> None:
    """After each there is the old data, or the new, or what the next run finishes."""
    for number in range(1, 12):
        leave_behind(pair)
        events = killed_at(pair, number)
        if "db2" in listed(pair):
            control = f"{pair.nodes['db2']['data_directory']}/global/pg_control"
            assert pair.hosts.run("h2", ["ls", control]).returncode == 0, listed(pair)
        pair.apply()
        is_the_same(pair)
        if "plan done" in events:
            break
        again(pair)
    assert number > 5
    is_sound(pair)


def test_disk_that_fills_up_leaves_the_old_data_as_it_is(hosts: Hosts) -> None:
    with RemoteCluster(hosts, parameters=_SMALL_WAL) as cluster:
        small = f"{cluster.base}/small"
        for argv in (["mkdir", "-p", small], ["mount", "-t", "tmpfs", "-o", "size=800m", "tmpfs", small]):
            assert hosts.run("h2", argv).returncode == 0
        hosts.run("h2", ["sh", "-c", f"mkdir {small}/in && chown -R postgres {cluster.base}"])
        try:
            cluster.nodes["db2"]["data_directory"] = f"{small}/in/db2"
            fill(cluster)
            still = "SELECT g AS id, repeat(md5(g::text), 30) AS text FROM generate_series(1, 170000) g"
            cluster.psql("db1", f"CREATE TABLE still AS {still}")
            cluster.psql("db1", "VACUUM FREEZE still")
            cluster.write_row("still")
            cluster.shows_row("db2", "still")
            leave_behind(cluster)
            cluster.psql("db1", "UPDATE big SET text = 'more' WHERE id % 3 = 0")
            cluster.psql("db1", "CREATE TABLE more AS SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g")
            cluster.psql("db1", "CHECKPOINT")
            data = f"{small}/in/db2"
            digest = f"cd {data} && find . -type f | sort | xargs sha256sum | sha256sum"
            before = hosts.run("h2", ["sh", "-c", digest]).stdout
            free = hosts.run("h2", ["sh", "-c", f"df -k --output=avail {small} | tail -1"]).stdout.strip()
            left = 112 * 1024  # enough for the plan, and not for what differs
            ballast = max(int(free) - left, 0)
            hosts.run("h2", ["sh", "-c", f"head -c {ballast}k /dev/zero > {small}/ballast"])
            done = cluster.run("apply", "--yes")
            assert done.exit_code != 0, done.said
            assert "No space left" in done.err, done.said
            assert "pg_basebackup" not in done.err, done.said
            assert hosts.run("h2", ["sh", "-c", digest]).stdout == before
            assert hosts.run("h2", ["ls", "-A", f"{small}/in"]).stdout.split() == ["db2", "db2.log"]
            hosts.run("h2", ["rm", f"{small}/ballast"])
            cluster.apply()
            cluster.converged()
            assert cluster.psql("db2", "SELECT count(*) FROM more") == "20000"
        finally:
            cluster.run("down", "--yes")
            hosts.run("h2", ["umount", "-l", small])


def test_a_whole_copy_asks_for_its_room_before_it_begins(hosts: Hosts) -> None:
    """The plan asked for a tenth of it; that more than half has changed shows only when both sides were read."""
    with RemoteCluster(hosts, parameters=_SMALL_WAL) as cluster:
        small = f"{cluster.base}/small"
        for argv in (["mkdir", "-p", small], ["mount", "-t", "tmpfs", "-o", "size=900m", "tmpfs", small]):
            assert hosts.run("h2", argv).returncode == 0
        hosts.run("h2", ["sh", "-c", f"mkdir {small}/in && chown -R postgres {cluster.base}"])
        try:
            cluster.nodes["db2"]["data_directory"] = f"{small}/in/db2"
            fill(cluster)
            leave_behind(cluster)
            cluster.psql("db1", "UPDATE big SET text = repeat('y', 900)")
            cluster.psql("db1", "CHECKPOINT")
            free = hosts.run("h2", ["sh", "-c", f"df -k --output=avail {small} | tail -1"]).stdout.strip()
            hosts.run("h2", ["sh", "-c", f"head -c {int(free) - 150 * 1024}k /dev/zero > {small}/ballast"])
            digest = f"cd {small}/in/db2 && find . -type f | sort | xargs sha256sum | sha256sum"
            before = hosts.run("h2", ["sh", "-c", digest]).stdout
            done = cluster.run("apply", "--yes")
            words = " ".join(done.err.split())
            assert "[PT-3009]" in done.err, done.said
            assert "too much of it has changed" in words
            assert "was not touched" in words
            assert "No space left" not in done.said
            assert hosts.run("h2", ["sh", "-c", digest]).stdout == before
            assert hosts.run("h2", ["ls", "-A", f"{small}/in"]).stdout.split() == ["db2", "db2.log"]
            hosts.run("h2", ["rm", f"{small}/ballast"])
            said = " ".join(cluster.apply().out.split())
            assert "(not by what differs: too much of it has changed)" in said, said
            cluster.converged()
        finally:
            cluster.run("down", "--yes")
            hosts.run("h2", ["umount", "-l", small])


def test_damaged_old_data_is_mended(pair: RemoteCluster) -> None:
    leave_behind(pair)
    data = pair.nodes["db2"]["data_directory"]
    path = pair.psql("db1", "SELECT pg_relation_filepath('big')")
    spoil = "dd if=/dev/urandom of=$1 bs=1000 count=2 seek=1000 conv=notrunc && truncate -s -8192 $1"
    assert pair.hosts.run("h2", ["sh", "-c", spoil, "sh", f"{data}/{path}"]).returncode == 0
    said = " ".join(pair.apply().out.split())
    assert "were sent and written into the old data" in said, said
    is_sound(pair)


def test_links_in_the_old_data_keep_it_whole_beside_the_new_copy(pair: RemoteCluster) -> None:
    leave_behind(pair)
    link = f"{pair.nodes['db2']['data_directory']}/link"
    pair.hosts.run("h2", ["ln", "-s", "/nowhere", link])
    said = " ".join(pair.apply().out.split())
    assert "were sent, the rest was here" in said, said
    is_the_same(pair)


def test_too_much_that_has_changed_is_copied_as_a_whole(pair: RemoteCluster) -> None:
    leave_behind(pair)
    pair.psql("db1", "UPDATE big SET text = repeat('y', 900)")
    said = " ".join(pair.apply().out.split())
    assert said.count("(not by what differs: too much of it has changed)") == 1, said
    assert not half_made(pair)
    is_sound(pair)


@pytest.mark.parametrize("major", [11, 18])
def test_other_majors(hosts: Hosts, major: int) -> None:
    try:
        found = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as reason:
        pytest.skip(str(reason))
    if closed := closed_folder(found.programs):
        pytest.skip(f"the hosts' accounts cannot enter {closed}")
    with RemoteCluster(hosts, parameters=_SMALL_WAL) as cluster:
        cluster.major, cluster.clients, cluster.programs = major, str(client_programs(found)), str(found.programs)
        cluster.tables["cluster"] = {"binaries": str(found.programs)}
        fill(cluster)
        leave_behind(cluster)
        said = " ".join(cluster.apply().out.split())
        assert "were sent and written into the old data" in said, said
        is_the_same(cluster)
