"""How PostgreSQL lies on real hosts: what its packages bring, and what of it pgtandem goes by."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import free_ports
from support.hosts import Hosts, why_no_hosts
from support.program import PROGRAM
from support.remote import BIN, RemoteCluster
from support.servers import server_account, wait_until
from support.systemctl import Systemd

_missing = why_no_hosts()
pytestmark = pytest.mark.skipif(_missing is not None, reason=_missing or "")

needs_debian = pytest.mark.skipif(not shutil.which("pg_ctlcluster"), reason="Debian's postgresql-common is not here")

ROCKY = 'PRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n'
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        for name in made.names:
            made.os_release(name).write_text(BOOKWORM)
        yield made


@pytest.fixture
def cluster(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts) as made:
        made.know_hosts()
        yield made


# --- packages


def test_another_major_than_asked_for_is_named_with_the_command_of_each_distribution(
    hosts: Hosts, cluster: RemoteCluster
) -> None:
    hosts.os_release("h2").write_text(ROCKY)
    try:
        cluster.tables["cluster"] = {"postgresql": 12}
        said = cluster.run("plan").refused("PT-3005", 12)
    finally:
        hosts.os_release("h2").write_text(BOOKWORM)
    assert "PostgreSQL 12 is not installed where db1 is to run" in said
    assert "15 is installed there, 12 is asked for." in said
    assert "apt.postgresql.org.sh && apt-get install postgresql-12" in said
    assert "dnf install postgresql12-server" in said
    assert "pip install" not in said


def test_missing_client_program_is_named_with_its_own_package(hosts: Hosts, cluster: RemoteCluster) -> None:
    hosts.run("h2", ["mount", "--bind", "/dev/null", f"{BIN}/pg_basebackup"])
    try:
        said = cluster.run("plan").refused("PT-3005", 12)
    finally:
        hosts.run("h2", ["umount", f"{BIN}/pg_basebackup"])
    assert "PostgreSQL 15 lacks pg_basebackup where db2 is to run" in said
    assert "apt-get install postgresql-client-15" in said
    assert "db1" not in said


# --- Debian's register of clusters


@pytest.fixture
def debian(hosts: Hosts, cluster: RemoteCluster) -> Iterator[RemoteCluster]:
    """Data directories where Debian has them, on hosts that have no cluster yet."""
    for node in cluster.nodes.values():
        del node["data_directory"]
        node["port"] = 5432
    yield cluster
    for host in hosts.names:
        hosts.run(host, ["pkill", "-9", "-u", "postgres", "-x", "postgres"])
        wait_until(lambda host=host: not hosts.processes(host, "/postgres "), f"servers of {host} are gone", 10)
        for folder in ("/etc/postgresql", "/var/lib/postgresql", "/var/log/postgresql"):
            hosts.run(host, ["find", folder, "-mindepth", "1", "-delete"])


def _clusters(hosts: Hosts, host: str) -> list[list[str]]:
    """What pg_lsclusters shows: of each cluster its version, name, port and status."""
    done = hosts.run(host, ["pg_lsclusters", "-h"])
    assert done.returncode == 0, done.stderr
    return [line.split()[:4] for line in done.stdout.splitlines()]


def _ok(hosts: Hosts, host: str, *argv: str, user: str | None = None) -> str:
    done = hosts.run(host, list(argv), user)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@needs_debian
def test_debians_programs_know_the_cluster_and_start_it(hosts: Hosts, debian: RemoteCluster) -> None:
    planned = debian.run("plan").out
    assert "make /var/lib/postgresql/15/shop known to postgresql-common as 15/shop" in planned
    debian.apply()
    debian.converged()
    assert _clusters(hosts, "h1") == [["15", "shop", "5432", "online"]]
    assert _clusters(hosts, "h2") == [["15", "shop", "5432", "online,recovery"]]
    assert _ok(hosts, "h1", "pg_lsclusters", "-h", user="bob").split()[:3] == ["15", "shop", "5432"]

    _ok(hosts, "h2", "pg_ctlcluster", "15", "shop", "stop", user="postgres")
    debian.apply()
    hosts.power_off("h1")
    hosts.boot("h1")
    _ok(hosts, "h1", "/etc/init.d/postgresql", "start")  # what the start of the system runs where there is no systemd
    assert debian.psql("db1", "SHOW config_file") == "/etc/postgresql/15/shop/postgresql.conf"
    debian.wait_for("db1", "SELECT count(*) = 1 FROM pg_stat_replication")
    debian.converged()
    debian.write_row("started by pg_ctlcluster")
    debian.shows_row("db2", "started by pg_ctlcluster")


@needs_debian
def test_port_of_a_stopped_cluster_is_kept_and_a_shared_one_is_told(hosts: Hosts, debian: RemoteCluster) -> None:
    del debian.nodes["db2"]
    debian.apply()
    debian.ok("down", "--yes")
    _ok(hosts, "h1", "pg_createcluster", "15", "other")
    assert _clusters(hosts, "h1") == [["15", "other", "5433", "down"], ["15", "shop", "5432", "down"]]

    debian.nodes["db1"]["port"] = 5433
    told = "db1 has port 5433, and so has 15/other on its host, which does not run now"
    assert told in " ".join(debian.run("plan").out.split())
    assert told in debian.status()["remarks"][0]
    debian.apply()
    assert _clusters(hosts, "h1")[1] == ["15", "shop", "5433", "online"]

    debian.ok("down", "--destroy", "--yes")
    assert _clusters(hosts, "h1") == [["15", "other", "5433", "down"]]
    assert _ok(hosts, "h1", "ls", "/var/lib/postgresql/15").split() == ["other"]


@needs_debian
def test_registration_that_is_gone_is_mended_without_a_restart(hosts: Hosts, debian: RemoteCluster) -> None:
    debian.apply()
    started = debian.psql("db1", "SELECT pg_postmaster_start_time()")
    _ok(hosts, "h1", "rm", "-r", "/etc/postgresql/15/shop")
    _ok(hosts, "h2", "sed", "-i", "s/^port.*/port = 6000/", "/etc/postgresql/15/shop/postgresql.conf")
    _ok(hosts, "h2", "sed", "-i", "s/^auto/manual/", "/etc/postgresql/15/shop/start.conf")
    debian.apply()
    debian.converged()
    assert _clusters(hosts, "h1") == [["15", "shop", "5432", "online"]]
    assert "port = 5432" in _ok(hosts, "h2", "cat", "/etc/postgresql/15/shop/postgresql.conf")
    assert "manual" in _ok(hosts, "h2", "cat", "/etc/postgresql/15/shop/start.conf")
    assert debian.psql("db1", "SELECT pg_postmaster_start_time()") == started

    # A node that the file no longer has does not start with its host; its data stays.
    gone = debian.nodes.pop("db2")
    debian.apply()
    assert _clusters(hosts, "h2") == []
    assert "PG_VERSION" in _ok(hosts, "h2", "ls", "/var/lib/postgresql/15/shop")
    debian.nodes["db2"] = gone


@needs_debian
def test_name_that_debian_gave_to_other_data_is_left_alone(hosts: Hosts, debian: RemoteCluster) -> None:
    _ok(hosts, "h2", "pg_createcluster", "15", "shop", "-d", "/srv/postgres/elsewhere")
    try:
        said = debian.run("plan").refused("PT-3003", 12)
        assert "postgresql-common has given the name 15/shop to another cluster than db2" in said
        assert "/srv/postgres/elsewhere" in said
    finally:
        _ok(hosts, "h2", "pg_dropcluster", "15", "shop")


# --- systemd


DEBIANS_UNITS = {"postgresql.service": {"UnitFileState": "enabled"}, "postgresql@15-shop.service": {}}
MAY_SYSTEMCTL = "alice ALL=(root) NOPASSWD: /usr/local/sbin/systemctl start *, /usr/local/sbin/systemctl stop *\n"


@pytest.fixture
def two_ways(hosts: Hosts, debian: RemoteCluster) -> Iterator[tuple[Systemd, Systemd]]:
    """h1 is Debian's, h2 has its data where RHEL's unit says."""
    data = "/srv/postgres/15/data"
    debian.nodes["db2"]["data_directory"] = data
    rhel = {"postgresql-15.service": {"UnitFileState": "disabled", "Environment": f"PGDATA={data}/"}}
    with Systemd(hosts, "h1", DEBIANS_UNITS) as one, Systemd(hosts, "h2", rhel) as two:
        yield one, two
    hosts.run("h2", ["rm", "-rf", "/srv/postgres/15"])


@needs_debian
def test_units_start_and_stop_the_servers_where_the_login_may(
    hosts: Hosts, debian: RemoteCluster, two_ways: tuple[Systemd, Systemd]
) -> None:
    one, two = two_ways
    for number, node in enumerate(debian.nodes.values(), 1):
        node["host"] = f"ssh://alice@{hosts.address(f'h{number}')}"
    for host in hosts.names:
        hosts.sudoers(host).write_text(hosts.sudoers(host).read_text() + MAY_SYSTEMCTL)
    try:
        debian.apply()
        debian.converged()
        assert one.calls() == ["root: start --no-block postgresql@15-shop.service"]
        assert two.calls() == ["root: start --no-block postgresql-15.service"]
        assert debian.psql("db1", "SHOW config_file") == "/etc/postgresql/15/shop/postgresql.conf"
        assert debian.status()["remarks"] == [
            "db2 does not start by itself when its host does: systemctl enable postgresql-15.service"
        ]
        debian.ok("down", "--yes")
        assert one.calls()[1:] == ["root: stop --no-block postgresql@15-shop.service"]
        assert two.calls()[1:] == ["root: stop --no-block postgresql-15.service"]

        # A server that somebody started beside systemd is not systemd's to stop.
        data = "/srv/postgres/15/data"
        _ok(hosts, "h2", f"{BIN}/pg_ctl", "start", "-w", "-D", data, "-l", f"{data}.log", user="postgres")
        debian.ok("down", "--yes")
        assert len(two.calls()) == 2
        assert hosts.processes("h2", data) == []
    finally:
        for host in hosts.names:
            hosts.sudoers(host).write_text(hosts.sudoers(host).read_text().replace(MAY_SYSTEMCTL, ""))


@needs_debian
def test_without_the_right_to_systemctl_servers_run_and_the_reader_is_told(
    debian: RemoteCluster, two_ways: tuple[Systemd, Systemd]
) -> None:
    beside = "is started by pg_ctl and not by {}: systemctl needs a login as root, or sudo that asks for no password"
    said = " ".join(debian.apply().out.split())
    assert f"db1 {beside.format('postgresql@15-shop.service')}" in said
    assert debian.streams("db1") == ["db2"]
    assert debian.status()["remarks"] == [
        f"db1 {beside.format('postgresql@15-shop.service')}",
        "db2 does not start by itself when its host does: systemctl enable postgresql-15.service",
        f"db2 {beside.format('postgresql-15.service')}",
    ]
    assert debian.run("status").exit_code == 0
    assert [system.calls() for system in two_ways] == [[], []]


# --- folders outside the data directory


def test_wal_elsewhere_and_tablespaces_are_copied_to_another_host_and_go_with_the_node(
    hosts: Hosts, cluster: RemoteCluster
) -> None:
    wal, place = f"{cluster.base}/wal disk/shop", f"{cluster.base}/big"
    second = cluster.nodes.pop("db2")
    cluster.nodes["db1"]["wal_directory"] = wal
    cluster.apply()
    data = cluster.nodes["db1"]["data_directory"]
    assert _ok(hosts, "h1", "readlink", f"{data}/pg_wal").strip() == wal
    _ok(hosts, "h1", "mkdir", place, user="postgres")
    cluster.psql("db1", f"CREATE TABLESPACE big LOCATION '{place}'")
    cluster.psql("db1", "CREATE TABLE note (text text) TABLESPACE big")
    cluster.converged()

    # The same place on the other host must be free, or be the rest of an interrupted copy.
    cluster.nodes["db2"] = {**second, "wal_directory": wal}
    # What a tablespace needs is asked of the disk that it is on.
    cluster.psql("db1", "INSERT INTO note SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
    _ok(hosts, "h2", "mkdir", "-p", place, user="postgres")
    _ok(hosts, "h2", "mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", place)
    said = cluster.run("plan").refused("PT-3009", 12)
    assert f"the disk of the tablespace in {place} has 1.0 MB free for db2" in " ".join(said.split())
    _ok(hosts, "h2", "umount", place)
    cluster.psql("db1", "TRUNCATE note")
    _ok(hosts, "h2", "mkdir", "-p", f"{place}/PG_15_202209061/5", user="postgres")
    said = cluster.run("plan").refused("PT-3023", 12)
    assert f"the tablespace in {place} cannot be copied to db2" in said
    claims = f"{second['data_directory']}.pgtandem-new.0a1b2c.places"
    _ok(hosts, "h2", "sh", "-c", f"echo '{place}' >'{claims}'", user="postgres")
    cluster.apply()
    cluster.converged()
    cluster.write_row("in a tablespace")
    cluster.shows_row("db2", "in a tablespace")
    assert _ok(hosts, "h2", "ls", "-A", cluster.base).split("\n")[:-1] == ["big", "db2", "db2.log", "wal disk"]
    assert "000000010000000000000003" in _ok(hosts, "h2", "ls", wal)

    cluster.nodes["db2"]["wal_directory"] = f"{cluster.base}/other"
    said = cluster.run("plan").refused("PT-3024", 12)
    assert f"WAL of db2 is written in {wal}, and the topology file says {cluster.base}/other" in " ".join(said.split())

    cluster.nodes["db2"]["wal_directory"] = wal
    _ok(hosts, "h1", "touch", f"{place}/somebody-elses", user="postgres")
    cluster.ok("down", "--destroy", "--yes")
    assert _ok(hosts, "h1", "find", cluster.base).splitlines()[1:] == [
        f"{cluster.base}/wal disk",
        place,
        f"{place}/somebody-elses",
    ]


@needs_debian
def test_on_this_machine_debians_programs_know_the_cluster_too() -> None:
    """In a mount namespace, so that this machine's own clusters are not seen."""
    shared = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
    shared.chmod(0o755)
    account = server_account() or ""
    for part in ("etc", "lib"):
        (shared / part).mkdir()
        shutil.chown(shared / part, account, account)
    mounts = f"mount --bind '{shared}/etc' /etc/postgresql && mount --bind '{shared}/lib' /var/lib/postgresql"

    def inside(*argv: object) -> str:
        command = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=shared, timeout=60)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    ports = free_ports(2)
    node = f'[nodes.db1]\nport = {ports[0]}\ndata_directory = "/var/lib/postgresql/15/shop"\n'
    (shared / "pgtandem.toml").write_text(f'[cluster]\nname = "shop"\npostgresql = 15\nbinaries = "system"\n{node}')
    try:
        inside(PROGRAM, "apply", "--yes")
        assert inside("pg_lsclusters", "-h").split()[:4] == ["15", "shop", str(ports[0]), "online"]
        assert "nothing to do" in inside(PROGRAM, "plan")
        inside("pg_ctlcluster", "15", "shop", "stop")
        inside("pg_ctlcluster", "--skip-systemctl-redirect", "15", "shop", "start")
        assert "nothing to do" in inside(PROGRAM, "plan")

        # A tablespace has one path, so a standby on the same machine cannot have it.
        place = shared / "lib/big"
        place.mkdir()
        shutil.chown(place, account, account)
        inside(PROGRAM, "psql", "--", "-c", "CREATE TABLESPACE big LOCATION '/var/lib/postgresql/big'")
        topology = (shared / "pgtandem.toml").read_text()
        (shared / "pgtandem.toml").write_text(f"{topology}[nodes.db2]\nport = {ports[1]}\n")
        with pytest.raises(AssertionError, match="it is that of db1"):
            inside(PROGRAM, "plan")
        (shared / "pgtandem.toml").write_text(topology)

        inside(PROGRAM, "down", "--destroy", "--yes")
        assert list((shared / "etc").glob("15/*")) == []
        assert [path.name for path in (shared / "lib").iterdir()] == ["big"]
    finally:
        pid_file = shared / "lib/15/shop/postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
            wait_until(lambda: not pid_file.exists(), "the server has ended", 10)
        shutil.rmtree(shared)
