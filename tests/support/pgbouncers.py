"""A real PgBouncer beside a cluster: its own configuration, and the file of pgtandem included."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from support.clusters import HOST, free_ports
from support.servers import server_account, wait_until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
ADMIN, ADMIN_PASSWORD = "padmin", "admin's secret"


class Pgbouncer:
    """Use it as a context manager. `owned` is the file that it includes, which must be there before `start`.

    Its own files lie in `folder`, which everybody may enter. It is its servers' superuser, by their `password`.
    """

    def __init__(
        self, folder: Path, owned: Path, password: Callable[[], str], *, pool_mode: str = "transaction"
    ) -> None:
        assert PROGRAM is not None
        self.folder = folder
        self.owned = owned
        self._password = password
        self._account = server_account()
        (self.port,) = free_ports(1)
        self.folder.mkdir(mode=0o755)
        self.password_file = self.folder / "admin.password"
        self.password_file.write_text(f"{ADMIN_PASSWORD}\n")
        self.password_file.chmod(0o600)
        self.process: subprocess.Popen[bytes] | None = None
        self.own(self.folder)

    def own(self, path: Path) -> None:
        """Gives a file or folder to the account that it runs as."""
        if self._account:
            shutil.chown(path, self._account, self._account)

    def __enter__(self) -> "Pgbouncer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def table(self, **more: object) -> dict[str, object]:
        """What a topology file says of it."""
        return {
            "port": self.port,
            "file": str(self.owned),
            "databases": {"shop": "postgres"},
            "admin_user": ADMIN,
            "admin_password_file": str(self.password_file),
            **more,
        }

    def start(self) -> None:
        """Waits until it answers."""
        settings = {
            "listen_addr": HOST, "listen_port": self.port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
            "auth_file": self.folder / "users.txt", "admin_users": ADMIN, "pool_mode": "transaction",
            "logfile": self.folder / "log",
        }  # fmt: skip
        users = {ADMIN: ADMIN_PASSWORD, "postgres": self._password()}
        (self.folder / "users.txt").write_text("".join(f'"{user}" "{word}"\n' for user, word in users.items()))
        lines = [f"%include {self.owned}", "[pgbouncer]", *(f"{key} = {value}" for key, value in settings.items())]
        (self.folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        for name in ("users.txt", "pgbouncer.ini"):
            self.own(self.folder / name)
            (self.folder / name).chmod(0o600)
        account = self._account
        options: dict[str, Any] = {"user": account, "group": account, "extra_groups": []} if account else {}
        self.process = subprocess.Popen(
            [str(PROGRAM), "-q", str(self.folder / "pgbouncer.ini")],
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options,
        )  # fmt: skip
        wait_until(self._answers, "PgBouncer answers", 20)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self.admin("SHOW VERSION")
        except psycopg.OperationalError:
            return False
        return True

    def admin(self, command: str) -> list[dict[str, Any]]:
        """One command of the admin console, and its rows."""
        with psycopg.connect(
            host=HOST, port=self.port, user=ADMIN, password=ADMIN_PASSWORD, dbname="pgbouncer", autocommit=True
        ) as connection:
            cursor = connection.execute(command.encode())
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []

    def database(self, name: str = "shop") -> dict[str, Any]:
        return next(row for row in self.admin("SHOW DATABASES") if row["name"] == name)

    def uri(self, database: str = "shop") -> str:
        return f"host={HOST} port={self.port} user=postgres password={self._password()} dbname={database}"

    def connect(self, database: str = "shop") -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.uri(database), autocommit=True, prepare_threshold=None)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
