"""Real PostgreSQL servers for tests: made, started, stopped, killed, frozen and removed.

As root the servers run as the account "postgres" or "nobody", in a folder below the system's temporary folder that
every account may search; otherwise as whoever runs the tests. Every server that is still alive when the tests end, in
whatever way, is killed.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from support.installations import Installation, client_programs
from support.shared_memory import forget_shared_memory

SUPERUSER = "postgres"
PASSWORD = "superuser-of-the-tests"

_HOST = "127.0.0.1"
_running: set["RealServer"] = set()


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Asks again and again until the condition is true; fails the test when the time is over."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        pause.wait(0.005)


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def server_account() -> str | None:
    """The account that servers run as; None for that of the tests themselves."""
    if os.geteuid() != 0:
        return None
    accounts = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in accounts)


class RealServer:
    """One server with its data directory, in a folder of its own; use it as a context manager.

    It listens on 127.0.0.1 alone and asks for SUPERUSER's PASSWORD (SCRAM) over TCP.
    """

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.account = server_account()
        self.port = free_port()
        self.base = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
        self.base.chmod(0o755)
        if self.account:
            shutil.chown(self.base, self.account)
        self.data = self.base / "data"
        self.log = self.base / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RealServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    # --- making one

    def initdb(self, *options: str, settings: Mapping[str, object] | None = None) -> "RealServer":
        """Makes a data directory, quick and not durable."""
        password = self._write(self.base / "password", PASSWORD)
        self.run(
            "initdb", "--pgdata", str(self.data), "--username", SUPERUSER, "--pwfile", str(password),
            "--encoding=UTF8", "--no-locale", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync",
            *options,
        )  # fmt: skip
        self.configure(
            {
                "listen_addresses": _HOST,
                "port": self.port,
                "unix_socket_directories": "",
                "fsync": "off",
                "shared_buffers": "16MB",
                "wal_level": "replica",
                "max_wal_senders": 10,
                "max_replication_slots": 10,
                "hot_standby": "on",
                "wal_retrieve_retry_interval": "100ms",
                **(settings or {}),
            }
        )
        return self

    def base_backup(
        self, upstream: "RealServer", *, slot: str | None = None, settings: Mapping[str, object] | None = None
    ) -> "RealServer":
        """Makes a standby of a running server: copied from it, and pointed at it."""
        self.run(
            "pg_basebackup", "--pgdata", str(self.data), "--checkpoint=fast", "--wal-method=stream", "--no-sync",
            "--dbname", f"host={_HOST} port={upstream.port} user={SUPERUSER} password={PASSWORD}",
            programs=client_programs(self.installation),
        )  # fmt: skip
        self.configure({"port": self.port, **(settings or {})})
        self.follow(upstream, slot=slot)
        return self

    def follow(self, upstream: "RealServer", *, slot: str | None = None) -> None:
        """Makes the stopped server a standby of another."""
        conninfo = f"host={_HOST} port={upstream.port} user={SUPERUSER} password={PASSWORD} application_name=standby"
        recovery: dict[str, object] = {"primary_conninfo": conninfo, "recovery_target_timeline": "latest"}
        if slot:
            recovery["primary_slot_name"] = slot
        if self.installation.major >= 12:
            self.configure(recovery)
            self._write(self.data / "standby.signal", "")
        else:
            self._write(self.data / "recovery.conf", _lines({"standby_mode": "on", **recovery}))

    def configure(self, settings: Mapping[str, object]) -> None:
        """Appends settings to postgresql.conf."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(_lines(settings))

    def append_hba(self, line: str) -> None:
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write(line + "\n")

    # --- running it

    def start(self, seconds: float = 60) -> "RealServer":
        """Starts the server and waits until it accepts connections (as a standby: for reading)."""
        arguments = [str(self.installation.programs / "postgres"), "-D", str(self.data)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_account(),
            )
        _running.add(self)
        try:
            wait_until(self._accepts_or_ended, f"{self.installation.name} accepts connections", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None
        if not self.alive:
            raise AssertionError(f"{self.installation.name} did not start\n{self.log_tail()}")
        return self

    def _accepts_or_ended(self) -> bool:
        return not self.alive or self._postmaster_state() in ("ready", "standby")

    def _postmaster_state(self) -> str:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        ours = self._process is not None and lines[:1] == [str(self._process.pid)]
        return lines[7].strip() if ours and len(lines) > 7 else ""

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, *, immediate: bool = False, seconds: float = 60) -> None:
        """A fast shutdown, or an immediate one, which does without the shutdown checkpoint and the archiver."""
        self._end(signal.SIGQUIT if immediate else signal.SIGINT, seconds)

    def kill(self) -> None:
        """kill -9 of the postmaster, waiting until its children are gone too."""
        children = self.children()
        self._end(signal.SIGKILL, 30)
        wait_until(lambda: not any(map(_lives, children)), "the killed server's processes are gone")

    def restart(self, *, immediate: bool = False) -> None:
        self.stop(immediate=immediate)
        self.start()

    def freeze(self) -> None:
        """SIGSTOP for the postmaster and everything it started: the kernel still accepts connections for it."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        # The postmaster first: once it is stopped, it starts nothing new.
        os.kill(self.pid, number)
        for pid in self.children():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def promote(self) -> None:
        self.run("pg_ctl", "-w", "-D", str(self.data), "promote")

    def children(self) -> list[int]:
        """The process ids of everything that the postmaster started directly."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                status = _status(int(entry.name))
                if status and status[1] == self.pid:
                    found.append(int(entry.name))
        return found

    def destroy(self) -> None:
        """Ends the server at once and removes everything of it."""
        if self.alive:
            self.thaw()
            self._end(signal.SIGQUIT, 10)
        forget_shared_memory(self.base)
        shutil.rmtree(self.base, ignore_errors=True)

    def _end(self, number: signal.Signals, seconds: float) -> None:
        if self._process is None:
            return
        if self.alive:
            self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            if number is not signal.SIGQUIT:
                raise AssertionError(f"did not stop within {seconds:g} s\n{self.log_tail()}") from None
        finally:
            _running.discard(self)

    # --- asking it

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        arguments = {
            "host": _HOST, "port": self.port, "user": SUPERUSER, "password": PASSWORD, "dbname": "postgres",
            "client_encoding": "UTF8", "connect_timeout": 10, "autocommit": True,
        }  # fmt: skip
        return psycopg.connect(**{**arguments, **options})

    def sql(self, query: str, *values: object) -> Any:
        """Runs one statement; the first column of its first row, None where there is none."""
        with self.connect() as connection:
            cursor = connection.execute(query.encode(), values or None)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def wait_for(self, query: str, seconds: float = 30) -> None:
        """Waits until a query answers with true."""
        with self.connect() as connection:

            def holds() -> object:
                row = connection.execute(query.encode()).fetchone()
                return row and row[0]

            try:
                wait_until(holds, query, seconds)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def wait_streaming(self, downstreams: int = 1) -> None:
        """Waits until so many standbys stream from it."""
        self.wait_for(f"SELECT count(*) >= {downstreams} FROM pg_stat_replication WHERE state = 'streaming'")

    def log_tail(self, lines: int = 20) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # --- programs and files, as the server's account

    def run(self, program: str, *arguments: str, programs: Path | None = None) -> str:
        """Runs one of the PostgreSQL programs; what it wrote. Fails the test when the program fails."""
        command: Sequence[str] = [str((programs or self.installation.programs) / program), *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            **self._as_account(),
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{program} ended with {done.returncode}\n{done.stdout}")
        return str(done.stdout)

    def _as_account(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "cwd": self.base,
            "env": {"PATH": "/usr/bin:/bin", "HOME": str(self.base), "LC_ALL": "C"},
            "umask": 0o077,
        }
        if self.account:
            entry = pwd.getpwnam(self.account)
            arguments |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return arguments

    def _write(self, path: Path, content: str) -> Path:
        path.write_text(content)
        path.chmod(0o600)
        if self.account:
            shutil.chown(path, self.account)
        return path


def _lines(settings: Mapping[str, object]) -> str:
    quoted = {name: str(value).replace("'", "''") for name, value in settings.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


def _status(pid: int) -> tuple[str, int] | None:
    """State letter and parent of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1])


def _lives(pid: int) -> bool:
    status = _status(pid)
    return status is not None and status[0] not in "ZX"


@atexit.register
def _end_all() -> None:
    for server in list(_running):
        server.destroy()
