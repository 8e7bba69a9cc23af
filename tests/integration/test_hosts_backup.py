"""Backups and restores on several hosts: the archive on a host of its own, and on each node's own disk."""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


@pytest.fixture
def archive_host(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts, 2) as cluster:
        cluster.know_hosts()
        home = hosts.srv("h3") / "bob"
        home.chmod(0o755)
        url = f"ssh://bob@{hosts.address('h3')}"
        where = {"directory": f"/srv/bob/{cluster.folder.name}", "host": url}
        cluster.tables["archive"] = {**where, "compression": "zstd"}
        yield cluster
        cluster.ok("down", "--destroy", "--yes")


def made(cluster: RemoteCluster) -> dict[str, str]:
    (found,) = json.loads(cluster.ok("backup", "list", "--json").out)["backups"]
    return dict(found)


def test_it_goes_to_the_archives_host_by_the_nodes_key_and_comes_back_from_there(archive_host: RemoteCluster) -> None:
    hosts = archive_host.hosts
    archive_host.apply()
    archive_host.write_row("one")
    archive_host.ok("backup", "--yes")
    backup = made(archive_host)
    assert backup["host"].startswith("ssh://bob@")
    folder = hosts.srv("h3") / backup["folder"].removeprefix("/srv/")
    assert {"base.tar.zst", "backup_manifest", "backup.json"} <= {path.name for path in folder.iterdir()}
    assert (folder / "base.tar.zst").stat().st_mode & 0o077 == 0
    for node in ("db1", "db2"):
        beside = Path(archive_host.nodes[node]["data_directory"])
        there = hosts.srv(archive_host.host_of(node)) / str(beside.parent).removeprefix("/srv/")
        assert not [path.name for path in there.iterdir() if "pgtandem-backup" in path.name]
    archive_host.write_row("two")
    archive_host.psql("db1", "SELECT pg_create_restore_point('after two')")
    archive_host.psql("db1", "SELECT pg_switch_wal()")
    archive_host.wait_for("db1", "SELECT last_archived_time > now() - interval '1 min' FROM pg_stat_archiver")
    done = archive_host.ok("drill", "--query", "SELECT count(*) FROM note", "--yes")
    assert "the query says" in done.out
    assert "after two" in archive_host.ok("restore", "--names").out
    archive_host.converged()


def test_its_key_can_fill_no_other_folder(archive_host: RemoteCluster) -> None:
    """Nor one that is there already."""
    hosts = archive_host.hosts
    archive_host.apply()
    archive_host.ok("backup", "--yes")
    label = made(archive_host)["label"]
    where = "cd ~postgres/.ssh/pgtandem/*/db1.* && echo x | ssh -F ssh_config -S none archive"
    bad = (f"backup {label} base.tar", "backup ../../x base.tar", "backup 20270115T070000Z-full base.tar", "backup")
    for words in (*bad, f"fetch {label} ../x", f"backup {label} ../x.tar", f"backup {label} backup.json"):
        done = hosts.run("h1", ["sh", "-c", f"{where} '{words}'"], user="postgres")
        assert done.returncode != 0, words
        assert "serve-wal:" in done.stderr, words
    archive_host.ok("backup", "verify")


def cut_between_members(path: Path, before: str) -> None:
    """A valid, shorter tar: from a member on, all is gone, and the two empty blocks of the end follow."""
    with tarfile.open(path) as tar:
        at = next(member.offset for member in tar if member.name.startswith(before))
    with path.open("r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(bytes(1024))


@pytest.mark.chaos
def test_a_tar_that_lost_its_last_members_is_never_restored(archive_host: RemoteCluster) -> None:
    """It can be unpacked without a complaint, and the server that starts from it has holes."""
    hosts, cluster = archive_host.hosts, archive_host
    del cluster.tables["archive"]["compression"]
    cluster.apply()
    cluster.write_row("one")
    cluster.ok("backup", "--yes")
    folder = hosts.srv("h3") / made(cluster)["folder"].removeprefix("/srv/")
    whole = (folder / "base.tar").read_bytes()
    for before in ("pg_wal/0", "global/"):
        cut_between_members(folder / "base.tar", before)
        words = cluster.run("restore", "--to", "latest", "--yes").refused("PT-4055", 13)
        assert "base.tar" in words
        assert "when it was verified" in " ".join(words.split())
        assert "recover" not in words
        for host in ("h1", "h2"):
            assert "restored" not in hosts.run(host, ["ls", "-A", str(cluster.base)]).stdout
    cluster.run("backup", "verify").refused("PT-4053", 13)
    (folder / "base.tar").write_bytes(whole)
    cluster.ok("backup", "verify")
    cluster.ok("drill", "--yes")


@pytest.mark.chaos
def test_a_switchover_ends_a_backup_though_wal_goes_between_hosts(archive_host: RemoteCluster) -> None:
    """What it looks at before it ends that is as much as what it looks at afterwards."""
    hosts, cluster = archive_host.hosts, archive_host
    cluster.tables["replication"] = {"max_copy_rate": "1MB"}
    cluster.apply()
    running = cluster.start("backup", "--full", "--yes")
    wait_until(lambda: bool(hosts.processes("h2", "pg_basebackup")), "db2 is backed up", 60)
    done = cluster.ok("switchover", "--yes")
    assert "a switchover goes first" in done.out
    assert "PT-5002" in running.end(60).err
    assert cluster.run("backup", "list").exit_code == 2
    cluster.converged()


@pytest.mark.chaos
def test_tablespaces_go_there_too_and_every_node_comes_back_with_them(archive_host: RemoteCluster) -> None:
    hosts = archive_host.hosts
    for node in ("h1", "h2"):
        assert hosts.run(node, ["mkdir", "/srv/postgres/fast"], user="postgres").returncode == 0
    try:
        archive_host.apply()
        archive_host.psql("db1", "CREATE TABLESPACE fast LOCATION '/srv/postgres/fast'")
        archive_host.psql("db1", "CREATE TABLE far TABLESPACE fast AS SELECT generate_series(1, 1000) AS number")
        done = archive_host.ok("backup", "--yes")
        assert "from db2" in done.out
        folder = hosts.srv("h3") / made(archive_host)["folder"].removeprefix("/srv/")
        assert len(list(folder.glob("*.tar.zst"))) == 3
        archive_host.psql("db1", "INSERT INTO far VALUES (0)")
        archive_host.psql("db1", "SELECT pg_switch_wal()")
        archive_host.wait_for("db1", "SELECT last_archived_time > now() - interval '1 min' FROM pg_stat_archiver")
        done = archive_host.ok("drill", "--query", "SELECT count(*) FROM far", "--yes")
        assert re.search("the query says 100[01]", done.out), done.out
        for node in ("db1", "db2"):
            assert archive_host.psql(node, "SELECT count(*) FROM far") == "1001"
        archive_host.ok("restore", "--to", "latest", "--node", "db1", "--yes")
        for node in ("db1", "db2"):
            assert archive_host.psql(node, "SELECT count(*) FROM far") in ("1000", "1001")
        archive_host.converged()
        for node in ("db1", "db2"):
            beside = Path(archive_host.nodes[node]["data_directory"])
            there = hosts.srv(archive_host.host_of(node)) / str(beside.parent).removeprefix("/srv/")
            assert not [path.name for path in there.iterdir() if ".pgtandem-" in path.name]
    finally:
        archive_host.ok("down", "--yes")
        for node in ("h1", "h2"):
            hosts.run(node, ["sh", "-c", "rm -rf /srv/postgres/fast*"])


def _beside(cluster: RemoteCluster, node: str) -> list[str]:
    """What lies beside a node's data that pgtandem makes for a while only."""
    beside = Path(cluster.nodes[node]["data_directory"])
    there = cluster.hosts.srv(cluster.host_of(node)) / str(beside.parent).removeprefix("/srv/")
    return sorted(path.name for path in there.iterdir() if ".pgtandem-" in path.name)


@pytest.mark.chaos
@pytest.mark.parametrize("victim", ["pgtandem", "pg_basebackup", "the primary", "the source", "the archive's host"])
def test_killed_while_tablespaces_are_backed_up_the_next_backup_leaves_nothing(
    archive_host: RemoteCluster, victim: str
) -> None:
    """kill -9; the rows are in the backup that follows, and nothing stays beside the data or in the archive."""
    hosts, cluster = archive_host.hosts, archive_host
    for node in ("h1", "h2"):
        assert hosts.run(node, ["mkdir", "/srv/postgres/fast"], user="postgres").returncode == 0
    try:
        cluster.tables["replication"] = {"max_copy_rate": "20MB"}
        cluster.apply()
        cluster.psql("db1", "CREATE TABLESPACE fast LOCATION '/srv/postgres/fast'")
        rows = "SELECT g AS number, repeat(md5(g::text), 30) AS text FROM generate_series(1, 60000) g"
        cluster.psql("db1", f"CREATE TABLE far TABLESPACE fast AS {rows}")
        cluster.wait_for("db2", "SELECT count(*) = 60000 FROM far")
        running = cluster.start("backup", "--yes")
        wait_until(lambda: any(".pgtandem-new." in name for name in _beside(cluster, "db2")), "it copies", 60)
        if victim == "pgtandem":
            running.kill()
        elif victim == "pg_basebackup":
            for pid in hosts.processes("h2", "pg_basebackup"):
                hosts.run("h2", ["kill", "-9", str(pid)])
        elif victim == "the archive's host":
            hosts.crash("h3")
        else:
            host, node = ("h1", "db1") if victim == "the primary" else ("h2", "db2")
            hosts.run(host, ["pkill", "-9", "-f", f"{cluster.base}/{node}"])
        if victim != "pgtandem":
            assert running.end(120).exit_code != 0, running
        if victim == "the archive's host":
            hosts.boot("h3")
        if victim in ("the primary", "the source"):
            cluster.apply()
        cluster.tables["replication"] = {}
        cluster.ok("backup", "--yes", seconds=300)
        made(cluster)
        for node in ("db1", "db2"):
            assert _beside(cluster, node) == [], node
        folder = hosts.srv("h3") / made(cluster)["folder"].removeprefix("/srv/")
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        done = cluster.ok("drill", "--query", "SELECT count(*) FROM far", "--yes", seconds=300)
        assert "the query says 60000" in " ".join(done.out.split())
        cluster.apply()
        cluster.converged()
    finally:
        for host in hosts.names:
            if not hosts.alive(host):
                hosts.boot(host)
        cluster.tables["replication"] = {}
        cluster.run("down", "--yes")
        for node in ("h1", "h2"):
            hosts.run(node, ["sh", "-c", "rm -rf /srv/postgres/fast*"])
