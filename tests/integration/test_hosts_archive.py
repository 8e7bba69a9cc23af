"""The WAL archive of a cluster on several hosts: on each node's own disk, and on a host of its own."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.servers import wait_until
from support.slots import drop_slot

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

FOREIGN = b"# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb me\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        for host in made.names:
            with authorized(made, host).open("ab") as file:
                file.write(FOREIGN)
        yield made


@pytest.fixture
def own_disks(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts, 3) as cluster:
        cluster.know_hosts()
        cluster.tables["archive"] = {"directory": f"{cluster.base}/the 'archive'"}
        yield cluster
        cluster.ok("down", "--destroy", "--yes")


@pytest.fixture
def archive_host(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts, 2) as cluster:
        cluster.know_hosts()
        home = hosts.srv("h3") / "bob"
        home.chmod(0o755)
        url = f"ssh://bob@{hosts.address('h3')}"
        cluster.tables["archive"] = {"directory": f"/srv/bob/{cluster.folder.name}", "host": url}
        yield cluster
        cluster.ok("down", "--destroy", "--yes")


def authorized(hosts: Hosts, host: str, account: str = "postgres") -> Path:
    return hosts.srv(host) / account / ".ssh/authorized_keys"


def granted(hosts: Hosts, host: str, account: str = "postgres") -> list[str]:
    """The nodes whose keys are let in, by the comments of the lines."""
    lines = authorized(hosts, host, account).read_text().splitlines()
    return [line.rpartition(":")[2] for line in lines if " pgtandem:" in line]


def archived(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*/*")}


def lose_the_way(cluster: RemoteCluster, node: str, primary: str = "db1") -> None:
    """The standby is stopped, and the primary forgets the WAL that it would need next: only archives have it."""
    data = cluster.nodes[node]["data_directory"]
    cluster.hosts.run(cluster.host_of(node), [f"{BIN}/pg_ctl", "-D", data, "-m", "fast", "stop"], user="postgres")
    drop_slot(cluster, node, primary)
    cluster.write_row("while it was away", primary)
    for _ in range(6):
        cluster.psql(primary, "SELECT pg_switch_wal(); CREATE TABLE x AS SELECT 1; DROP TABLE x; CHECKPOINT")
    last = cluster.psql(primary, "SELECT pg_walfile_name(pg_switch_wal())")
    cluster.wait_for(primary, f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver")
    cluster.psql(primary, "CREATE TABLE x AS SELECT 1; DROP TABLE x; CHECKPOINT; CHECKPOINT")


def test_each_node_archives_on_its_own_disk_and_fetches_from_the_others(own_disks: RemoteCluster) -> None:
    hosts = own_disks.hosts
    own_disks.apply()
    own_disks.converged()
    assert [granted(hosts, host) for host in hosts.names] == [["db2", "db3"], ["db1", "db3"], ["db1", "db2"]]
    folders = [hosts.srv(host) / "postgres" / own_disks.folder.name / "the 'archive'" for host in hosts.names]
    assert archived(folders[0])
    assert archived(folders[1]) == archived(folders[2]) == set()

    lose_the_way(own_disks, "db3")
    own_disks.apply()
    own_disks.shows_row("db3", "while it was away")
    log = (hosts.srv("h3") / "postgres" / own_disks.folder.name / "db3.log").read_text()
    assert "restored log file" in log
    own_disks.converged()


def test_after_a_switchover_the_new_primary_archives_and_the_others_fetch_from_both(own_disks: RemoteCluster) -> None:
    hosts = own_disks.hosts
    own_disks.apply()
    own_disks.ok("switchover", "--to", "db2", "--yes")
    own_disks.converged()
    folder = hosts.srv("h2") / "postgres" / own_disks.folder.name / "the 'archive'"
    own_disks.psql("db2", "CREATE TABLE y AS SELECT 1; SELECT pg_switch_wal()")
    wait_until(lambda: any(n.startswith("00000002") and len(n) == 24 for n in archived(folder)), "WAL follows", 30)
    assert "00000002.history" in archived(folder)
    lose_the_way(own_disks, "db3", primary="db2")
    own_disks.apply()
    own_disks.shows_row("db3", "while it was away")
    own_disks.converged()


def test_with_a_dead_standby_the_others_are_changed_and_nothing_is_called_done(own_disks: RemoteCluster) -> None:
    own_disks.apply()
    hosts = own_disks.hosts
    hosts.crash("h3")
    try:
        own_disks.tables["parameters"] = {"work_mem": "6MB"}
        done = own_disks.run("apply", "--yes")
        said = " ".join(done.out.split())
        assert "db3 is left out, its host cannot be asked: Nothing accepts SSH connections on 10.231.0.3" in said
        assert "over SSH" not in said, "the ways of db1 and db2 stay as they are"
        words = " ".join(done.refused("PT-3008", 12).split())
        assert "could not look at db3" in words
        assert "All that could be looked at is what the topology file says." in words
        assert [own_disks.psql(node, "SHOW work_mem") for node in ("db1", "db2")] == ["6MB", "6MB"]
        own_disks.write_row("while db3 was dead")
    finally:
        hosts.boot("h3")
    own_disks.apply()
    own_disks.converged()
    own_disks.shows_row("db3", "while db3 was dead")
    assert own_disks.psql("db3", "SHOW work_mem") == "6MB"


def test_a_node_that_leaves_loses_its_key_and_nobody_else_loses_anything(own_disks: RemoteCluster) -> None:
    hosts = own_disks.hosts
    before = [authorized(hosts, host).read_bytes() for host in hosts.names]
    own_disks.apply()
    gone = own_disks.nodes.pop("db3")
    own_disks.apply()
    assert [granted(hosts, host) for host in hosts.names] == [["db2"], ["db1"], []]
    assert not (hosts.srv("h3") / "postgres/.ssh/pgtandem").exists()
    assert authorized(hosts, "h3").read_bytes() == before[2]
    own_disks.converged()
    own_disks.ok("down", "--destroy", "--yes")
    assert [authorized(hosts, host).read_bytes() for host in hosts.names] == before
    for host in ("h1", "h2"):
        assert not (hosts.srv(host) / "postgres/.ssh/pgtandem").exists()
    assert hosts.run("h3", ["test", "-d", gone["data_directory"]]).returncode == 0, "its data stays"


def test_every_node_pushes_to_and_fetches_from_the_archive_host(archive_host: RemoteCluster) -> None:
    hosts = archive_host.hosts
    archive_host.apply()
    archive_host.converged()
    assert granted(hosts, "h3", "bob") == ["db1", "db2"]
    assert granted(hosts, "h1") == granted(hosts, "h2") == []
    folder = hosts.srv("h3") / "bob" / archive_host.folder.name
    assert archived(folder)

    lose_the_way(archive_host, "db2")
    archive_host.apply()
    archive_host.shows_row("db2", "while it was away")
    archive_host.converged()

    # A role change by hand: the new primary goes on in the same place, history file first.
    data = archive_host.nodes["db1"]["data_directory"]
    hosts.run("h1", [f"{BIN}/pg_ctl", "-D", data, "-m", "fast", "stop"], user="postgres")
    archive_host.psql("db2", "SELECT pg_promote()")
    archive_host.psql("db2", "CREATE TABLE y AS SELECT 1; SELECT pg_switch_wal()")
    wait_until(lambda: {"00000002.history"} <= archived(folder), "the history file is there", 30)
    wait_until(lambda: any(n.startswith("00000002") and len(n) == 24 for n in archived(folder)), "WAL follows", 30)


def test_with_a_dead_archive_host_the_servers_are_changed_and_keep_their_wal(archive_host: RemoteCluster) -> None:
    hosts = archive_host.hosts
    archive_host.apply()
    hosts.crash("h3")
    try:
        archive_host.tables["parameters"] = {"work_mem": "6MB"}
        done = archive_host.run("apply", "--yes")
        assert "the WAL archive is left out, it cannot be looked at" in " ".join(done.out.split())
        assert "could not look at the WAL archive" in done.refused("PT-3008", 12)
        assert [archive_host.psql(node, "SHOW work_mem") for node in ("db1", "db2")] == ["6MB", "6MB"]
        archive_host.write_row("while the archive was gone")
        last = archive_host.psql("db1", "SELECT pg_walfile_name(pg_switch_wal())")
    finally:
        hosts.boot("h3")
    folder = hosts.srv("h3") / "bob" / archive_host.folder.name
    wait_until(lambda: last in archived(folder), "what was kept is in the archive", 90)
    archive_host.converged()


def test_what_was_changed_by_hand_is_seen_and_mended(own_disks: RemoteCluster) -> None:
    hosts = own_disks.hosts
    own_disks.apply()
    keys = authorized(hosts, "h1")
    keys.write_bytes(keys.read_bytes().replace(b"restrict,", b""))
    plan = own_disks.run("plan")
    assert plan.exit_code == 2
    assert "let db2 fetch WAL from db1, db3 over SSH" in plan.out
    own_disks.apply()
    assert granted(hosts, "h1") == ["db2", "db3"]
    (known_hosts,) = (hosts.srv("h2") / "postgres/.ssh/pgtandem/shop").glob("db2.*/known_hosts")
    known_hosts.write_text("")
    assert own_disks.run("plan").exit_code == 2
    own_disks.apply()
    own_disks.converged()


@pytest.mark.chaos
def test_what_the_old_primary_had_not_archived_is_archived_by_its_successor(archive_host: RemoteCluster) -> None:
    """A standby marks what it streams as archived: the archive was away, then the primary's host went for good, and the
    archive lacked whole segments of before the promotion, with all that came behind them out of reach, for good."""
    cluster, hosts = archive_host, archive_host.hosts
    cluster.tables["replication"] = {"synchronous": "first 1"}
    cluster.apply()
    cluster.ok("backup", "--yes")
    hosts.cut("h3")
    try:
        for text in ("one", "two"):
            cluster.write_row(text)
            cluster.psql("db1", "SELECT pg_switch_wal()")
        cluster.write_row("three")
        cluster.shows_row("db2", "three")
        hosts.crash("h1")
        cluster.ok("failover", "--the-primary-is-dead", "--yes")
    finally:
        hosts.heal("h3")
    cluster.tables["replication"] = {"synchronous": "none"}
    cluster.run("apply", "--yes")  # h1 is away
    cluster.psql("db2", "SELECT pg_switch_wal()")
    cluster.wait_for("db2", "SELECT last_archived_wal > '0000000200000000' FROM pg_stat_archiver", 120)
    listed = cluster.ok("archive")
    assert "missing" not in listed.out
    restored = cluster.ok("restore", "--to", "latest", "--yes")
    found = re.search(r"-p (\d+) ", restored.out)
    assert found is not None, restored.said
    assert cluster.psql("db2", "SELECT string_agg(text, ' ') FROM note", int(found[1])) == "one two three"
    hosts.boot("h1")
    cluster.ok("rejoin", "db1", "--yes")
    cluster.converged()


@pytest.mark.chaos
def test_what_only_a_stopped_primary_has_is_pushed_before_it_follows(archive_host: RemoteCluster) -> None:
    """Its standby has recycled WAL that the archive has not got, and as a standby it would do the same."""
    cluster, hosts = archive_host, archive_host.hosts
    cluster.tables["parameters"] = {"min_wal_size": "32MB", "max_wal_size": "32MB"}
    cluster.apply()
    cluster.ok("backup", "--yes")
    hosts.cut("h3")
    try:
        for number in range(6):
            cluster.write_row(f"row {number}")
            segment = cluster.psql("db1", "SELECT pg_walfile_name(pg_switch_wal())")
            cluster.psql("db1", "CHECKPOINT")
            cluster.shows_row("db2", f"row {number}")
            cluster.psql("db2", "CHECKPOINT")
        data = cluster.nodes["db1"]["data_directory"]
        argv = [f"{cluster.programs}/pg_ctl", "stop", "-w", "-t", "120", "-m", "fast", "-D", data]
        assert not hosts.run("h1", argv, user="postgres").returncode
    finally:
        hosts.heal("h3")
    done = cluster.ok("failover", "--yes")
    assert "archive what db1 had not archived as the primary" in done.out
    assert "files archived that it had not archived yet" in " ".join(done.out.split())
    cluster.psql("db2", "SELECT pg_switch_wal()")
    cluster.wait_for("db2", "SELECT last_archived_wal > '0000000200000000' FROM pg_stat_archiver", 120)
    listed = cluster.ok("archive")
    assert "missing" not in listed.out
    assert segment in archived(hosts.srv("h3") / "bob" / cluster.folder.name)
    cluster.converged()


@pytest.mark.chaos
def test_nobody_says_that_an_archive_lacks_what_it_cannot_be_asked_for(archive_host: RemoteCluster) -> None:
    """A standby needs what only the archive has, whose host is cut off: it is told so, and not to be copied anew."""
    cluster, hosts = archive_host, archive_host.hosts
    cluster.apply()
    lose_the_way(cluster, "db2")
    cluster.wait_for("db1", "SELECT count(*) = 0 FROM pg_ls_dir('pg_wal/archive_status') f WHERE f LIKE '%.ready'", 60)
    hosts.cut("h3")
    try:
        said = cluster.run("apply", "--yes", seconds=300).refused("PT-4008", 13)
    finally:
        hosts.heal("h3")
    words = " ".join(said.split())
    assert "the archive that may have it cannot be asked" in words
    assert "db2 goes on by itself then" in words
    wait_until(lambda: cluster.streams("db1") == ["db2"], "db2 has fetched it and streams", 120)
    cluster.shows_row("db2", "while it was away")
    cluster.apply()
