"""The write gap of a planned switchover behind PgBouncer (transaction pooling): no error, and one pause.

The other one are the bare steps behind the same PgBouncer: those of `bench.switchover`, with PAUSE before the stop, and
RELOAD and RESUME after the promotion.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.clusters import running_cluster
from bench.machine import PGTANDEM, BenchmarkFailed, free_ports, server_account, timed
from bench.pairs import Outcome, run_pairs
from bench.switchover import GAP_TARGET, Pair, gap, wait

_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_ADMIN, _PASSWORD = "padmin", "bench"


def pooled_switchover(pairs: int) -> list[Outcome]:
    """The longest gap between two acknowledged rows of a client that sees no error."""
    if _PROGRAM is None:
        raise BenchmarkFailed("there is no PgBouncer on this machine (sh scripts/test-packages.sh)")
    with running_cluster(1) as (folder, ports), _pgbouncer(folder) as port:
        cluster = _PooledPair(folder, ports, port)
        outcome = run_pairs(
            "write gap of a switchover behind PgBouncer",
            lambda: gap(cluster, cluster.by_pgtandem),
            lambda: gap(cluster, cluster.by_bare_steps),
            pairs=pairs,
            target=GAP_TARGET,
        )
    return [outcome]


class _PooledPair(Pair):
    may_fail = False

    def __init__(self, folder: Path, ports: list[int], port: int) -> None:
        super().__init__(folder, ports)
        password = json.loads((folder / ".pgtandem" / "secrets.json").read_text())["superuser_password"]
        self.uri = f"host=127.0.0.1 port={port} user=postgres password={password} dbname=shop"
        self.console = _console(port)

    def pause(self) -> None:
        self.console.execute("PAUSE shop")

    def lead_to(self, node: str) -> None:
        _owned(self.folder).write_text(f"[databases]\nshop = host=127.0.0.1 port={self.ports[node]} dbname=postgres\n")
        self.console.execute("RELOAD")
        self.console.execute("RESUME shop")


def _owned(folder: Path) -> Path:
    return folder / "led" / "databases.ini"


def _console(port: int) -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(
        host="127.0.0.1", port=port, user=_ADMIN, password=_PASSWORD, dbname="pgbouncer", autocommit=True,
        prepare_threshold=None,
    )  # fmt: skip


@contextmanager
def _pgbouncer(folder: Path) -> Iterator[int]:
    """Before a running cluster, whose topology file names it afterwards: its port."""
    assert _PROGRAM is not None
    (port,) = free_ports(1)
    secret = folder / "admin.password"
    secret.write_text(_PASSWORD)
    secret.chmod(0o600)
    lines = [
        *("", "[pgbouncers.pool1]", f"port = {port}", 'file = "led/databases.ini"'),
        *('databases = { shop = "postgres" }', f'admin_user = "{_ADMIN}"', f'admin_password_file = "{secret}"', ""),
    ]
    topology = folder / "pgtandem.toml"
    topology.write_text(topology.read_text() + "\n".join(lines))
    timed([PGTANDEM, "apply", "--yes"], cwd=folder)
    password = json.loads((folder / ".pgtandem" / "secrets.json").read_text())["superuser_password"]
    home, account = folder / "pgbouncer", server_account()
    home.mkdir()
    (home / "users.txt").write_text(f'"{_ADMIN}" "{_PASSWORD}"\n"postgres" "{password}"\n')
    settings = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
        "auth_file": home / "users.txt", "admin_users": _ADMIN, "pool_mode": "transaction", "logfile": home / "log",
    }  # fmt: skip
    said = [f"%include {_owned(folder)}", "[pgbouncer]", *(f"{key} = {value}" for key, value in settings.items())]
    (home / "pgbouncer.ini").write_text("\n".join(said) + "\n")
    if account:
        for path in (home, home / "users.txt", home / "pgbouncer.ini"):
            shutil.chown(path, account, account)
    options: dict[str, Any] = {"user": account, "group": account, "extra_groups": []} if account else {}
    process = subprocess.Popen(
        [_PROGRAM, "-q", str(home / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd="/", **options,
    )  # fmt: skip
    try:
        wait(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        _console(port).close()
    except psycopg.OperationalError:
        return False
    return True
