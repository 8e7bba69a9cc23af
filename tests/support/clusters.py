"""Whole clusters for tests, driven through the installed program `pgtandem` as its users run it.

A Cluster is a topology file in a temporary folder of its own that every account may enter; what was built there is
asked over SQL with the passfile that pgtandem wrote. Whatever happens in a test, every process that works on the folder
is ended afterwards, by its process id, and the folder is removed.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from support.installations import Installation, installations
from support.processes import alive, children, command_lines
from support.program import PROGRAM, Done, Running
from support.servers import server_account, wait_until
from support.shared_memory import forget_shared_memory

HOST = "127.0.0.1"
REPLICATION_ROLE = "pgtandem_replication"

#: A part of them for each of the processes that tests run in side by side.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_PORTS = range(15000 + 2000 * _WORKER, 15000 + 2000 * (_WORKER + 1))
_given: set[int] = set()

#: What a running server writes by itself; left out where a test proves that nothing was changed.
_VOLATILE = re.compile(
    r"/(base|global|pg_[a-z_]+|postmaster\.(pid|opts)|logfile|current_logfiles)(/|$)|\.log$|^\.pgtandem(/|$)"
)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel gives to clients, and never the same twice."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            found.append(port)
    return found


def installation(major: int) -> Installation:
    """The installation of a major version that tests run on. Raises LookupError where there is none."""
    for found in installations():
        if found.major == major:
            return found
    raise LookupError(f"there is no PostgreSQL {major} to test with")


def newest() -> Installation:
    return max(installations(), key=lambda found: found.major)


class Cluster:
    """A topology and its folder; use it as a context manager.

    `topology` is what stands in the file, as nested dictionaries: change it and call `write`.
    """

    def __init__(
        self,
        standbys: int = 1,
        *,
        on: Installation | None = None,
        name: str = "shop",
        subfolder: str = "",
        archive: bool = True,
        replication: Mapping[str, str] | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        self.installation = on or newest()
        self.base = Path(tempfile.mkdtemp(prefix="pgtandem-it-"))
        self.base.chmod(0o755)
        self.folder = self.base / subfolder if subfolder else self.base
        self.folder.mkdir(mode=0o755, exist_ok=True)
        self.account = server_account()
        self.argv = [str(PROGRAM)]
        self.environment: dict[str, str] = {}
        self.as_user: dict[str, Any] = {}
        embedded = self.installation.name.startswith("embedded")
        names = [f"db{number}" for number in range(1, standbys + 2)]
        self.topology: dict[str, dict[str, Any]] = {
            "cluster": {
                "name": name,
                "postgresql": self.installation.major,
                "binaries": "embedded" if embedded else str(self.installation.programs),
            },
            "nodes": {node: {"port": port} for node, port in zip(names, free_ports(len(names)), strict=True)},
            "replication": dict(replication or {}),
            # Small, so that several clusters fit beside each other.
            "parameters": {"shared_buffers": "16MB", **(parameters or {})},
        }
        if archive:
            self.topology["archive"] = {"directory": "archive"}
        self._running: list[Running] = []
        self.write()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    # --- the topology file

    @property
    def file(self) -> Path:
        return self.folder / "pgtandem.toml"

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        return self.topology["nodes"]

    @property
    def replication(self) -> dict[str, Any]:
        return self.topology["replication"]

    def write(self) -> None:
        self.file.write_text(render_toml(self.topology), encoding="utf-8")

    def data(self, node: str) -> Path:
        return self.folder / self.nodes.get(node, {}).get("data_directory", f"data/{node}")

    @property
    def workspace(self) -> Path:
        return self.folder / ".pgtandem"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    def archived(self) -> list[str]:
        """The names in the archive's one folder."""
        folders = [path for path in self.archive.iterdir() if path.name.isdigit()]
        assert len(folders) == 1, folders
        return sorted(path.name for path in folders[0].iterdir())

    # --- the program

    def start(self, *arguments: str) -> Running:
        """Starts the program in the cluster's folder."""
        running = Running(self.argv, arguments, self.options())
        self._running.append(running)
        return running

    def options(self) -> dict[str, Any]:
        """How the program runs: where, in which environment, as whom."""
        # As it was installed, it need not be compiled at every start.
        left_out = ("PG", "PYTHONDONTWRITEBYTECODE")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        return {"cwd": self.folder, "env": {**environment, **self.environment}, **self.as_user}

    def run(self, *arguments: str, seconds: float = 120) -> Done:
        """Runs the program to its end, whatever that is; never with a traceback."""
        done = self.start(*arguments).end(seconds)
        assert "Traceback" not in done.said, done.said
        assert done.exit_code != 19, done.said
        return done

    def ok(self, *arguments: str, seconds: float = 120) -> Done:
        done = self.run(*arguments, seconds=seconds)
        assert done.exit_code == 0, done.said
        return done

    def up(self, seconds: float = 120) -> Done:
        return self.ok("up", "--yes", seconds=seconds)

    def apply(self, seconds: float = 120) -> Done:
        """Writes the topology file and applies it; afterwards nothing is left to do and nothing is wrong."""
        self.write()
        done = self.ok("apply", "--yes", seconds=seconds)
        self.converged()
        return done

    def converged(self) -> None:
        """A fresh plan is empty, and every node is up."""
        plan = self.run("plan")
        assert plan.exit_code == 0, plan.said
        status = self.run("status")
        assert status.exit_code == 0, status.said
        assert self.leftovers() == []

    def plan(self) -> dict[str, Any]:
        """The plan as JSON."""
        done = self.run("plan", "--json")
        assert done.exit_code in (0, 2), done.said
        document: dict[str, Any] = json.loads(done.out)
        return document

    def step_kinds(self) -> list[tuple[str, str]]:
        """The fresh plan's steps as (kind, node)."""
        return [(step["kind"], step["node"]) for step in self.plan()["steps"]]

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.exit_code in (0, 2), done.said
        document: dict[str, Any] = json.loads(done.out)
        return document

    def states(self) -> dict[str, tuple[str, str]]:
        """Of each node its role and state, as `status` says."""
        return {node["name"]: (node["role"], node["state"]) for node in self.status()["nodes"]}

    def journal(self) -> list[dict[str, Any]]:
        path = self.workspace / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def journal_lines(self) -> int:
        try:
            return (self.workspace / "journal.jsonl").read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    # --- its servers

    def connect(self, node: str, **options: Any) -> "psycopg.Connection[tuple[Any, ...]]":
        host, port = self.nodes.get(node, {}).get("address", HOST), self.port(node)
        arguments = {
            "host": host, "port": port, "user": "postgres", "dbname": "postgres", "password": self.password(),
            "connect_timeout": 10, "autocommit": True,
        }  # fmt: skip
        return psycopg.connect(**{**arguments, **options})

    def port(self, node: str) -> int:
        """Where its server listens now; where it should, when none runs."""
        lines = self._postmaster_lines(node)
        return int(lines[3]) if len(lines) > 3 else int(self.nodes[node]["port"])

    def password(self) -> str:
        return str(self.secrets()["superuser_password"])

    def secrets(self) -> dict[str, str]:
        secrets: dict[str, str] = json.loads((self.workspace / "secrets.json").read_text())
        return secrets

    def sql(self, node: str, query: str, **options: Any) -> Any:
        """Runs one statement; the first column of its first row, None where there is none."""
        with self.connect(node, **options) as connection:
            cursor = connection.execute(query.encode())
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def rows(self, node: str, query: str) -> list[tuple[Any, ...]]:
        with self.connect(node) as connection:
            return connection.execute(query.encode()).fetchall()

    def setting(self, node: str, name: str) -> str:
        return str(self.sql(node, f"SELECT current_setting('{name}')"))

    def started_at(self, node: str) -> Any:
        return self.sql(node, "SELECT pg_postmaster_start_time()")

    def wait_for(self, node: str, query: str, seconds: float = 30) -> None:
        """Waits until a query answers with true."""
        with self.connect(node) as connection:

            def holds() -> object:
                row = connection.execute(query.encode()).fetchone()
                return row and row[0]

            wait_until(holds, f"{node}: {query}", seconds)

    def nothing_waits_for_the_archive(self, node: str = "db1", seconds: float = 90) -> None:
        """Waits until the archiver has done with everything that its server finished."""
        waits = "SELECT FROM pg_ls_dir('pg_wal/archive_status') AS file(name) WHERE name LIKE '%.ready'"
        self.wait_for(node, f"SELECT NOT EXISTS ({waits})", seconds)

    def write_row(self, text: str, node: str = "db1") -> None:
        """A row that every standby must show sooner or later."""
        with self.connect(node) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
            connection.execute("INSERT INTO note VALUES (%s)", [text])

    def shows_row(self, node: str, text: str, seconds: float = 30) -> None:
        """Waits until a node shows the row."""
        self.wait_for(node, "SELECT to_regclass('note') IS NOT NULL", seconds)
        literal = "'" + text.replace("'", "''") + "'"
        self.wait_for(node, f"SELECT EXISTS (SELECT FROM note WHERE text = {literal})", seconds)

    def slots(self, node: str) -> list[str]:
        return [row[0] for row in self.rows(node, "SELECT slot_name FROM pg_replication_slots ORDER BY 1")]

    def streams(self, node: str) -> list[str]:
        """Who streams from a node."""
        query = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1"
        return [row[0] for row in self.rows(node, query)]

    def _postmaster_lines(self, node: str) -> list[str]:
        try:
            return (self.data(node) / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def pid(self, node: str) -> int | None:
        """The process id of its living server."""
        lines = self._postmaster_lines(node)
        return int(lines[0]) if lines and alive(int(lines[0])) else None

    def signal(self, node: str, number: int) -> None:
        """A signal for the postmaster; SIGINT, SIGQUIT and SIGKILL are waited for, with all its children."""
        pid = self.pid(node)
        assert pid is not None, f"{node} does not run"
        family = [pid, *children(pid)]
        os.kill(pid, number)
        if number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            wait_until(lambda: not any(map(alive, family)), f"{node} has ended", 60)

    def stop_server(self, node: str) -> None:
        """A graceful stop (fast shutdown), as pg_ctl does it, behind pgtandem's back."""
        self.signal(node, signal.SIGINT)

    def kill_server(self, node: str) -> None:
        """kill -9 of its postmaster."""
        self.signal(node, signal.SIGKILL)

    def answers(self, node: str) -> bool:
        try:
            return self.sql(node, "SELECT true") is True
        except psycopg.OperationalError:
            return False

    def kill_child(self, node: str, pid: int) -> None:
        """kill -9 of one of its server's processes. The server ends all the others and recovers: returns when it has
        noticed, and answers again."""
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"{node} has noticed", 60)
        wait_until(lambda: self.answers(node), f"{node} answers again", 60)

    def pg_ctl(self, node: str, *arguments: str) -> None:
        self.program("pg_ctl", *arguments, "-D", str(self.data(node)))

    def restart_by_a_link(self, node: str) -> None:
        """Starts its server by a link to its data directory, which it then names as its own: copies of it are made by
        pg_basebackup."""
        self.stop_server(node)
        link = self.base / f"{node}-link"
        link.symlink_to(self.data(node))
        self.program("pg_ctl", "start", "-w", "-D", str(link), "-l", f"{self.data(node)}.log")

    def program(self, name: str, *arguments: str) -> str:
        """One of PostgreSQL's programs, as the servers' account, behind pgtandem's back."""
        command = [str(self.programs() / name), *arguments]
        options: dict[str, Any] = dict(self.as_user)
        if self.account and not options:
            options = {"user": self.account, "group": self.account, "extra_groups": []}
        done = subprocess.run(
            command, cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, umask=0o077, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
        )  # fmt: skip
        assert done.returncode == 0, f"{command} -> {done.returncode}\n{done.stdout}"
        return done.stdout

    def programs(self) -> Path:
        """The folder of the programs that the servers' account can reach."""
        for node in self.nodes:
            pid = self.pid(node)
            if pid is not None:
                return Path(os.readlink(f"/proc/{pid}/exe")).parent
        for entry in reversed(self._known_programs):
            return entry
        return self.installation.programs

    @property
    def _known_programs(self) -> list[Path]:
        options = [self.data(node) / "postmaster.opts" for node in self.nodes]
        return [Path(path.read_text().split(" ")[0]).parent for path in options if path.exists()]

    # --- its files

    def own(self, path: Path) -> None:
        """Gives a file or folder of the test to the account of the servers."""
        if self.account and not self.as_user:
            shutil.chown(path, self.account, self.account)

    def edit(self, path: Path, change: Callable[[str], str]) -> None:
        """Changes a file in place: its owner and mode stay."""
        before = path.read_text()
        after = change(before)
        assert after != before, f"the edit changes nothing in {path}"
        path.write_text(after)

    def listing(self, *, servers_run: bool = False) -> dict[str, tuple[object, ...]]:
        """Everything below the folder with kind, owner, size and times; but for pgtandem's workspace, where the lock
        is taken, and for what running servers write."""
        found: dict[str, tuple[object, ...]] = {}
        for folder, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                relative = os.path.relpath(path, self.folder)
                if relative.startswith(".pgtandem") or (servers_run and _VOLATILE.search("/" + relative)):
                    continue
                info = os.lstat(path)
                times: tuple[object, ...] = (info.st_size, info.st_mtime_ns)
                if servers_run and stat.S_ISDIR(info.st_mode):
                    times = ()
                found[relative] = (info.st_ino, info.st_mode, info.st_uid, *times)
        return found

    @contextmanager
    def unchanged(self, *, servers_run: bool = False) -> Iterator[None]:
        """Proves that nothing on disk is touched meanwhile."""
        before = self.listing(servers_run=servers_run)
        yield
        after = self.listing(servers_run=servers_run)
        assert after == before

    def leftovers(self) -> list[str]:
        """Half-made copies, beside the data directories."""
        parents = {self.data(node).parent for node in self.nodes}
        return [str(path) for parent in parents if parent.exists() for path in parent.glob("*.pgtandem-new.*")]

    def log(self, node: str) -> str:
        path = self.data(node)
        return path.with_name(path.name + ".log").read_text(errors="replace")

    # --- the end

    def processes(self) -> dict[int, str]:
        """Every living process whose command line or working folder lies in the cluster's folder."""
        found = {}
        for pid, words in command_lines():
            inside = str(self.base) in words
            if not inside:
                try:
                    inside = os.readlink(f"/proc/{pid}/cwd").startswith(str(self.base))
                except OSError:
                    continue
            if inside and pid != os.getpid() and alive(pid):
                found[pid] = words
        return found

    def destroy(self) -> None:
        """Ends everything that works on the folder and removes it, without pgtandem's help."""
        for running in self._running:
            if running.alive:
                running.kill()

        def nobody_left() -> bool:
            left = self.processes()
            for pid in left:
                try:
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not left

        wait_until(nobody_left, f"everything in {self.base} has ended")
        forget_shared_memory(self.base)
        shutil.rmtree(self.base, ignore_errors=True)


def render_toml(topology: Mapping[str, Any]) -> str:
    """Nested dictionaries as a topology file."""
    lines: list[str] = []

    def table(path: tuple[str, ...], values: Mapping[str, Any]) -> None:
        plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
        if path and (plain or not values):
            lines.append(f"[{'.'.join(path)}]")
        lines.extend(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, Mapping):
                table((*path, _key(key)), value)

    table((), topology)
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
