"""A cluster on test hosts, driven through the installed program from the control seat."""

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pgtandem.adapters.hosts.ssh_master import Master
from pgtandem.topology.toml import quote_text
from support.hosts import Hosts
from support.program import PROGRAM, Done, Running
from support.servers import wait_until

MAJOR = 15  # Debian's own, which every test host sees
BIN = f"/usr/lib/postgresql/{MAJOR}/bin"


#: Clusters live side by side on the same hosts.
_ports = itertools.count(5432)


class RemoteCluster:
    """db1 on h1, db2 on h2, ...: use it as a context manager. The control seat has a known_hosts of its own."""

    #: Its programs and major version, and where psql is on every host.
    programs, major, clients = BIN, MAJOR, BIN

    def __init__(self, hosts: Hosts, nodes: int = 2, login: str = "postgres", **tables: Mapping[str, Any]) -> None:
        self.hosts = hosts
        self.folder = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
        self.base = f"/srv/postgres/{self.folder.name}"
        self.tables: dict[str, dict[str, Any]] = {name: dict(table) for name, table in tables.items()}
        self.port = next(_ports)
        self.nodes: dict[str, dict[str, Any]] = {
            f"db{number}": {
                "port": self.port,
                "host": f"ssh://{login}@{hosts.address(f'h{number}')}",
                "data_directory": f"{self.base}/db{number}",
            }
            for number in range(1, nodes + 1)
        }
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text("")
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        hosts.control_program(self.bin, "ssh")
        self.ssh_config = self.folder / "ssh_config"
        self.configure_ssh()
        #: For how long logins stay after a command: nothing is left running where a test is not about that.
        self.keep_seconds = 0
        self._running: list[Running] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            running.kill()
        for folder in self.folder.glob("pgtandem-ssh/m*"):
            Master(str(folder), lasts=True).end()
        for host in self.hosts.names:
            self.hosts.unblock(host)
            if not self.hosts.alive(host):
                self.hosts.boot(host)  # a test left it off
            self.hosts.run(host, ["pkill", "-9", "-f", self.base])
            wait_until(lambda host=host: not self.hosts.processes(host, self.base), f"servers of {host} are gone", 60)
            self.hosts.run(host, ["rm", "-rf", self.base])
        shutil.rmtree(self.folder)

    @property
    def file(self) -> Path:
        return self.folder / "pgtandem.toml"

    def configure_ssh(self, *lines: str) -> None:
        """Writes ssh's configuration; `lines` come first, so they win."""
        known = f'UserKnownHostsFile "{self.known_hosts}"'
        rest = ["Host *", f"IdentityFile {self.hosts.key}", "IdentitiesOnly yes", "IdentityAgent none", known]
        self.ssh_config.write_text("\n".join([*lines, *rest, "GlobalKnownHostsFile /dev/null"]) + "\n")

    def know_hosts(self) -> None:
        """The keys of all hosts are known from now on."""
        lines = [f"{self.hosts.address(name)} {self.hosts.host_key(name)}\n" for name in self.hosts.names]
        self.known_hosts.write_text("".join(lines))

    def write(self) -> None:
        """Writes the topology file."""
        tables: dict[str, dict[str, Any]] = {"cluster": {"name": "shop", "postgresql": self.major}}
        tables["cluster"] |= self.tables.get("cluster", {})
        tables |= {f"nodes.{name}": node for name, node in self.nodes.items()}
        tables |= {name: table for name, table in self.tables.items() if name != "cluster" and table}
        text = "\n".join(
            "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items()), ""])
            for name, table in tables.items()
        )
        tomllib.loads(text)
        self.file.write_text(text)

    # --- pgtandem

    def options(self) -> dict[str, Any]:
        """How the program runs: where, in which environment."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "SSH", "PYTHON"))}
        environment |= {"PGTANDEM_SSH_CONFIG": str(self.ssh_config), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        environment |= {"PGTANDEM_SSH_KEEP_SECONDS": str(self.keep_seconds), "XDG_RUNTIME_DIR": str(self.folder)}
        return {"cwd": self.folder, "env": environment}

    def start(self, *arguments: str) -> Running:
        running = Running([str(PROGRAM)], arguments, self.options())
        self._running.append(running)
        return running

    def run(self, *arguments: str, seconds: float = 120) -> Done:
        """Writes the file, and runs the program to its end."""
        self.write()
        return self.start(*arguments).end(seconds)

    def logins(self) -> int:
        """How often somebody has logged in on its hosts so far."""
        hosts = {self.host_of(node) for node in self.nodes}
        said = [(self.hosts.folder / host / "console").read_text() for host in hosts]
        return sum(text.count("Accepted publickey for ") for text in said)

    def ok(self, *arguments: str, seconds: float = 120) -> Done:
        done = self.run(*arguments, seconds=seconds)
        assert done.exit_code == 0, done.said
        return done

    def apply(self) -> Done:
        return self.ok("apply", "--yes")

    def converged(self) -> None:
        assert "nothing to do" in self.ok("plan").out

    def status(self) -> dict[str, Any]:
        """What `status --json` shows, whatever its exit code."""
        shown: dict[str, Any] = json.loads(self.run("status", "--json").out)
        return shown

    # --- servers

    def host_of(self, node: str) -> str:
        url = self.nodes[node]["host"]
        address = url.rpartition("@")[2].strip("[]")
        return next(n for n in self.hosts.names if address in (self.hosts.address(n), self.hosts.address6(n)))

    def secrets(self) -> dict[str, str]:
        secrets: dict[str, str] = json.loads((self.folder / ".pgtandem/secrets.json").read_text())
        return secrets

    def psql(self, node: str, sql: str, port: int | None = None) -> str:
        """Asks the server of a node, on its host."""
        done = self.try_psql(node, sql, port)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def try_psql(self, node: str, sql: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
        password = self.secrets()["superuser_password"]
        used = port or self.nodes[node]["port"]
        argv = [f"{self.clients}/psql", "-XAtq", "-h", "127.0.0.1", "-p", str(used), "-U", "postgres", "-c", sql]
        return self.hosts.run(self.host_of(node), ["env", f"PGPASSWORD={password}", *argv], user="postgres")

    def wait_for(self, node: str, sql: str, seconds: float = 30) -> None:
        """Waits until the server answers "t"."""
        wait_until(lambda: self.try_psql(node, sql).stdout.strip() == "t", f"{node}: {sql}", seconds)

    def write_row(self, text: str, node: str = "db1") -> None:
        self.psql(node, f"CREATE TABLE IF NOT EXISTS note (text text); INSERT INTO note VALUES ('{text}')")

    def shows_row(self, node: str, text: str) -> None:
        self.wait_for(node, "SELECT to_regclass('note') IS NOT NULL")
        self.wait_for(node, f"SELECT EXISTS (SELECT FROM note WHERE text = '{text}')")

    def kill_child(self, node: str, pid: str) -> None:
        """kill -9 of one of its server's processes; returns when the server has noticed, and answers again."""
        host = self.host_of(node)
        self.hosts.run(host, ["kill", "-9", pid])
        wait_until(lambda: self.hosts.run(host, ["test", "-e", f"/proc/{pid}"]).returncode, f"{node} has noticed", 60)
        self.wait_for(node, "SELECT true", 60)

    def streams(self, node: str) -> list[str]:
        """Who streams from a node."""
        shown = self.psql(node, "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1")
        return shown.split()


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return (
        quote_text(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    )
