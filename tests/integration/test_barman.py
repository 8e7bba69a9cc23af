"""A real Barman, on a host of its own, keeps the WAL of a cluster: archived over SSH, fetched by a standby, backed up
and restored by Barman, recognised by status, doctor and adopt."""

import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.test_adopt_here import at, ok
from support.clusters import installation
from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, MAJOR, RemoteCluster
from support.servers import PASSWORD, RealServer, wait_until
from support.slots import drop_slot

_missing = why_no_hosts() or next(
    (f"there is no {program}" for program in ("barman", "barman-wal-archive") if not shutil.which(program)), None
)
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(_missing is not None, reason=_missing or "")]

_CONFIG = "/srv/bob/barman.conf"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


@pytest.fixture
def kept(hosts: Hosts) -> Iterator[RemoteCluster]:
    """Nodes on h1 and h2, Barman on h3, whose configuration is not there yet."""
    settings = {"min_wal_size": "32MB", "max_wal_size": "32MB", "shared_buffers": "16MB"}
    with RemoteCluster(hosts, 2, parameters=settings) as cluster:
        cluster.know_hosts()
        for node in ("h1", "h2"):
            home = hosts.srv(node) / "postgres/.ssh"
            shutil.copy(hosts.key, home / "id_ed25519")
            (home / "known_hosts").write_text(f"{hosts.address('h3')} {hosts.host_key('h3')}\n")
            for path in home.iterdir():
                os.chown(path, 64321, 64321)
        tool = f"-U bob -c {_CONFIG} {hosts.address('h3')} shop"
        cluster.tables["archive"] = {
            "command": f"barman-wal-archive {tool} %p",
            "restore": f"barman-wal-restore {tool} %f %p",
        }
        cluster.tables["pg_hba"] = {
            "lines": ["host all barman samenet scram-sha-256", "host replication barman samenet scram-sha-256"]
        }
        yield cluster


def put(hosts: Hosts, path: str, text: str) -> None:
    there = hosts.srv("h3") / path.removeprefix("/srv/")
    there.write_text(text)
    there.chmod(0o600)
    os.chown(there, 64323, 64323)


def configure(cluster: RemoteCluster) -> None:
    hosts, port = cluster.hosts, cluster.nodes["db1"]["port"]
    put(
        hosts,
        _CONFIG,
        "[barman]\nbarman_user = bob\nbarman_home = /srv/bob/barman\nlog_file = /srv/bob/barman.log\n"
        f"path_prefix = {BIN}\n[shop]\ndescription = shop\n"
        f"conninfo = host={hosts.address('h1')} port={port} user=barman dbname=postgres\n"
        f"streaming_conninfo = host={hosts.address('h1')} port={port} user=barman dbname=postgres\n"
        "backup_method = postgres\narchiver = on\ncheck_timeout = 60\n",
    )
    put(hosts, "/srv/bob/.pgpass", "*:*:*:barman:secret\n")
    assert hosts.run("h3", ["mkdir", "-p", "/srv/bob/barman/shop/incoming"], user="bob").returncode == 0


def barman(cluster: RemoteCluster, *words: str) -> str:
    done = cluster.hosts.run("h3", ["env", "HOME=/srv/bob", "barman", "-c", _CONFIG, *words], user="bob")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_cluster_archives_to_barman_and_a_standby_catches_up_from_it(kept: RemoteCluster) -> None:
    refused = kept.run("apply", "--yes")
    assert "PT-4007" in refused.err, "Barman is not set up, and the plan proves that WAL is archived"
    assert _CONFIG in refused.err, "Barman's own words"
    configure(kept)
    kept.apply()
    kept.converged()
    kept.psql("db1", "CREATE ROLE barman SUPERUSER REPLICATION LOGIN PASSWORD 'secret'")
    told = "Barman (what it holds, only that tells): last"
    wait_until(lambda: told in kept.ok("status").out, "what had waited is archived", 60)
    assert "barman-wal-archive" in kept.run("doctor").out
    refused = kept.run("backup", "--yes")
    assert "PT-3071" in refused.err
    assert "barman backup" in refused.err

    barman(kept, "archive-wal", "shop")
    barman(kept, "backup", "shop", "--wait")
    kept.write_row("kept by Barman")
    data = kept.nodes["db2"]["data_directory"]
    stopped = kept.hosts.run("h2", [f"{BIN}/pg_ctl", "stop", "-w", "-m", "fast", "-D", data], user="postgres")
    assert stopped.returncode == 0, stopped.stderr
    needed = drop_slot(kept, "db2")
    wal = f"{kept.nodes['db1']['data_directory']}/pg_wal/{needed}"

    def gone() -> bool:
        kept.psql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
        kept.psql("db1", "CHECKPOINT")
        return kept.hosts.run("h1", ["test", "-e", wal]).returncode != 0

    wait_until(gone, f"{needed} is gone from the primary", 180)
    kept.apply()
    kept.shows_row("db2", "kept by Barman")
    log = kept.hosts.run("h2", ["cat", f"{data}.log"]).stdout
    assert f'restored log file "{needed}" from archive' in log
    kept.converged()
    barman(kept, "archive-wal", "shop")
    assert "archiver errors: OK" in barman(kept, "check", "shop")

    # What came back by Barman alone has every row that was archived.
    barman(kept, "recover", "shop", "latest", "/srv/bob/recovered")
    more = "port = 7432\narchive_mode = off\nssl = off\nunix_socket_directories = ''\nlisten_addresses = '127.0.0.1'\n"
    with (kept.hosts.srv("h3") / "bob/recovered/postgresql.auto.conf").open("a") as conf:
        conf.write(more + "primary_conninfo = ''\nprimary_slot_name = ''\n")
    start = [f"{BIN}/pg_ctl", "start", "-w", "-t", "60", "-D", "/srv/bob/recovered", "-l", "/srv/bob/recovered.log"]
    started = kept.hosts.run("h3", start, user="bob")
    assert started.returncode == 0, kept.hosts.run("h3", ["cat", "/srv/bob/recovered.log"]).stdout
    try:
        ask = [f"{BIN}/psql", "-XAtq", "-h", "127.0.0.1", "-p", "7432", "-U", "barman", "-c", "SELECT text FROM note"]
        asked = kept.hosts.run("h3", ["env", "PGPASSWORD=secret", "PGDATABASE=postgres", *ask], user="bob")
        assert asked.stdout.strip() == "kept by Barman", asked.stderr
    finally:
        kept.hosts.run("h3", [f"{BIN}/pg_ctl", "stop", "-m", "immediate", "-D", "/srv/bob/recovered"], user="bob")


def test_adopt_keeps_the_commands_of_barman(tmp_path: Path) -> None:
    push, get = "barman-wal-archive backup shop %p", "barman-wal-restore backup shop %f %p"
    with RealServer(installation(MAJOR)) as primary:
        primary.initdb(settings={"archive_mode": "on", "archive_command": push}).start()
        said = ok(tmp_path, "adopt", *at(primary), PGPASSWORD=PASSWORD)
        assert tomllib.loads((tmp_path / "pgtandem.toml").read_text())["archive"] == {"command": push, "restore": get}
        assert "Barman keeps the WAL archive" in " ".join((said.out + said.err).split())
