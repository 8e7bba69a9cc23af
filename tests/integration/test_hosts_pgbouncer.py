"""PgBouncer on a host of its own, reached over SSH: its clients see a switchover as a pause, and follow a failover."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.pgbouncers import PROGRAM
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
_reason = _reason or (None if PROGRAM else "PgBouncer is not installed")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

_PORT, _POOL = 6432, "h3"


@pytest.fixture(scope="module")
def pooled() -> Iterator[RemoteCluster]:
    with Hosts(3) as hosts, RemoteCluster(hosts, 2) as cluster:
        cluster.know_hosts()
        secret = cluster.folder / "secret"
        secret.write_text("admin")
        secret.chmod(0o600)
        address = hosts.address(_POOL)
        cluster.tables["pg_hba"] = {"lines": [f"host all postgres {address}/32 scram-sha-256"]}
        cluster.tables["pgbouncers.pool1"] = {
            "host": f"ssh://postgres@{address}",
            "file": f"{cluster.base}/pool/databases.ini",
            "databases": {"shop": "postgres"},
            "admin_user": "padmin",
            "admin_password_file": str(secret),
        }
        cluster.apply()
        _start(cluster)
        cluster.converged()
        yield cluster


def _start(cluster: RemoteCluster) -> None:
    """As the account of its host, listening on its loopback address alone."""
    home = f"{cluster.base}/pool"
    password = json.loads((cluster.folder / ".pgtandem/secrets.json").read_text())["superuser_password"]
    files = {
        "users.txt": f'"padmin" "admin"\n"postgres" "{password}"\n',
        "pgbouncer.ini": f"""%include {home}/databases.ini
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {_PORT}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {home}/users.txt
admin_users = padmin
pool_mode = transaction
logfile = {home}/log
pidfile = {home}/pid
""",
    }
    for name, text in files.items():
        _on_pool(cluster, "sh", "-c", 'umask 077; printf "%s" "$1" > "$2"', "sh", text, f"{home}/{name}")
    _on_pool(cluster, str(PROGRAM), "-d", "-q", f"{home}/pgbouncer.ini")


def _on_pool(cluster: RemoteCluster, *argv: str) -> str:
    done = cluster.hosts.run(_POOL, argv, user="postgres")
    assert done.returncode == 0, done.stderr
    return done.stdout


def client(cluster: RemoteCluster) -> list[str]:
    """psql on PgBouncer's host, through it, and its password."""
    password = json.loads((cluster.folder / ".pgtandem/secrets.json").read_text())["superuser_password"]
    psql = f"{BIN}/psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p {_PORT} -U postgres shop"
    return ["env", f"PGPASSWORD={password}", "sh", "-c", psql]


def primary_of(cluster: RemoteCluster) -> str:
    (primary,) = [str(node["name"]) for node in cluster.status()["nodes"] if node["role"] == "primary"]
    return primary


@contextmanager
def writing(cluster: RemoteCluster) -> Iterator[None]:
    """A client writes from the beginning to the end, and sees no error; every row is there."""
    stop, said = f"{cluster.base}/pool/stop", []
    primary = primary_of(cluster)
    cluster.psql(primary, "CREATE TABLE IF NOT EXISTS written (id int); TRUNCATE written")
    *environment, psql = client(cluster)
    loop = f'i=0; while [ ! -e {stop} ]; do i=$((i+1)); echo "INSERT INTO written VALUES ($i);"; sleep 0.01; done'
    script = f"({loop}; echo 'SELECT count(*), max(id) FROM written;') | {psql}"

    def run() -> None:
        done = cluster.hosts.run(_POOL, [*environment, script], user="postgres")
        said.extend([str(done.returncode), done.stdout.strip(), done.stderr.strip()])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        cluster.wait_for(primary, "SELECT count(*) > 10 FROM written")
        yield
    finally:
        _on_pool(cluster, "touch", stop)
        thread.join(60)
        _on_pool(cluster, "rm", stop)
    code, counted, errors = said
    assert (code, errors) == ("0", "")
    count, _, last = counted.partition("|")
    assert count == last, "every row is there"


def test_clients_see_no_error_at_a_switchover(pooled: RemoteCluster) -> None:
    old = primary_of(pooled)
    (new,) = {"db1", "db2"} - {old}
    with writing(pooled):
        pooled.ok("switchover", "--to", new, "--yes")
        pooled.wait_for(new, "SELECT count(*) > 20 FROM written")
    pooled.converged()
    (pool,) = pooled.status()["pgbouncers"]
    assert (pool["state"], pool["databases"][0]["nodes"]) == ("answers", [new])


def test_a_failover_leads_clients_on(pooled: RemoteCluster) -> None:
    old = primary_of(pooled)
    host = pooled.host_of(old)
    pooled.hosts.power_off(host)
    pooled.ok("failover", "--yes", "--the-primary-is-dead")
    *environment, psql = client(pooled)
    assert _on_pool(pooled, *environment, f"{psql} -c 'SELECT pg_is_in_recovery()'").strip() == "f"
    pooled.hosts.boot(host)
    pooled.ok("rejoin", old, "--yes")
    pooled.converged()


@pytest.mark.chaos
def test_a_pgbouncers_host_that_is_gone_stops_no_failover(pooled: RemoteCluster) -> None:
    *environment, psql = client(pooled)
    old = primary_of(pooled)
    host = pooled.host_of(old)
    pooled.hosts.power_off(_POOL)
    pooled.hosts.power_off(host)
    done = pooled.ok("failover", "--yes", "--the-primary-is-dead")
    assert "PgBouncer pool1 is left as it is" in done.out
    pooled.hosts.boot(host)
    pooled.hosts.boot(_POOL)
    _on_pool(pooled, "rm", "-f", f"{pooled.base}/pool/pid")  # as /run is empty after a boot
    wait_until(lambda: pooled.run("rejoin", old, "--yes").exit_code == 0, f"{old} is back", 60)
    pooled.ok("apply", "--yes")
    _start(pooled)
    assert _on_pool(pooled, *environment, f"{psql} -c 'SELECT pg_is_in_recovery()'").strip() == "f"
    pooled.converged()
