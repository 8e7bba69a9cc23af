"""Clusters that somebody built without pgtandem: by the commands of the old recipe, one by one, on two hosts."""

import subprocess
import tomllib
from collections.abc import Sequence
from typing import Any, Self

from support.hosts import Hosts
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

PASSWORD, ROLE = "repl-pass-2013", "repl_user"


class ByHand(RemoteCluster):
    """The primary on h1 and a standby on h2, in the same folder of both. pgtandem's file is what `adopt` writes."""

    def __init__(self, hosts: Hosts, programs: str = BIN, clients: str = BIN, major: int = 15) -> None:
        super().__init__(hosts, 0)
        self.programs, self.clients, self.major = programs, clients, major
        self.data = f"{self.base}/data"
        self.archive_folder = f"{self.base}/archive"
        self.sockets = "/run/postgresql"

    def write(self) -> None:
        """Nobody writes the file but pgtandem and who edits it."""

    def topology(self) -> dict[str, Any]:
        return tomllib.loads(self.file.read_text())

    # --- on the hosts, as their account postgres

    def on(self, host: str, *argv: str, stdin: str | None = None) -> str:
        done = self.hosts.run(host, list(argv), user="postgres") if stdin is None else self._fed(host, argv, stdin)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def _fed(self, host: str, argv: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
        return self.hosts.run(host, ["sh", "-c", f"cat <<'EOT' | {' '.join(argv)}\n{stdin}\nEOT"], user="postgres")

    def sql(self, host: str, text: str) -> str:
        """As the account, through the server's socket."""
        psql = [f"{self.clients}/psql", "-XAtq", "-h", self.sockets, "-p", str(self.port), "-U", "postgres"]
        return self.on(host, *psql, "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", text)

    def append(self, host: str, path: str, text: str) -> None:
        self.on(host, "tee", "-a", path, stdin=text)

    def pg_ctl(self, host: str, *words: str) -> None:
        log = f"{self.base}/server.log"
        done = self.hosts.run(
            host, [f"{self.programs}/pg_ctl", "-w", "-s", "-D", self.data, "-l", log, *words], user="postgres"
        )
        assert done.returncode == 0, self.hosts.run(host, ["tail", "-n", "20", log]).stdout

    # --- the recipe

    def keys(self) -> None:
        """Passwordless SSH in both directions."""
        for host in ("h1", "h2"):
            self.on(host, "sh", "-c", "[ -f ~/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519")
        for here, there in (("h1", "h2"), ("h2", "h1")):
            key = self.on(here, "sh", "-c", "cat ~/.ssh/id_ed25519.pub")
            self.on(there, "sh", "-c", f"echo '{key}' >>~/.ssh/authorized_keys")
            line = f"{self.hosts.address(there)} {self.hosts.host_key(there)}"
            self.on(here, "sh", "-c", f"echo '{line}' >>~/.ssh/known_hosts")

    def build(self) -> None:
        """Everything of the recipe, from nothing to a standby that streams."""
        self.keys()
        for host in ("h1", "h2"):
            self.hosts.run(host, ["install", "-d", "-o", "postgres", "-g", "postgres", "-m", "755", self.base])
            self.on(host, "mkdir", "-p", self.archive_folder)
        one, two = self.hosts.address("h1"), self.hosts.address("h2")
        self.on("h1", f"{self.programs}/initdb", "-D", self.data, "--auth-local=peer", "--auth-host=md5", "-E", "UTF8")
        self.append(
            "h1",
            f"{self.data}/pg_hba.conf",
            "\n".join(f"host replication {ROLE} {address}/32 md5" for address in ("127.0.0.1", one, two)),
        )
        keep = "wal_keep_segments = 16" if self.major < 13 else "wal_keep_size = 256MB"
        self.append(
            "h1",
            f"{self.data}/postgresql.conf",
            "\n".join(
                [
                    "listen_addresses = '*'",
                    f"port = {self.port}",
                    f"unix_socket_directories = '{self.sockets}'",
                    "wal_level = hot_standby",
                    "max_wal_senders = 4",
                    keep,
                    "hot_standby = on",
                    "synchronous_commit = local",
                    # Since 9.6 a name with a dash needs the inner quotes: without them no server starts.
                    "synchronous_standby_names = '\"slave-1\"'",
                    "archive_mode = on",
                    f"archive_command = 'cp -i %p {self.archive_folder}/%f </dev/null'",
                    "password_encryption = md5",
                    "work_mem = 8MB",
                    "shared_buffers = 32MB",
                ]
            ),
        )
        self.pg_ctl("h1", "start")
        self.sql("h1", f"CREATE USER {ROLE} REPLICATION LOGIN PASSWORD '{PASSWORD}'")
        self.sql("h1", "CREATE TABLE written (id bigint PRIMARY KEY)")
        self.on("h2", "sh", "-c", f"echo '*:*:*:{ROLE}:{PASSWORD}' >~/.pgpass && chmod 600 ~/.pgpass")
        self.on(
            "h2",
            *(f"{self.clients}/pg_basebackup", "-h", one, "-p", str(self.port), "-U", ROLE, "-D", self.data),
            *("-X", "stream", "-c", "fast", "-w"),
        )
        conninfo = f"host={one} port={self.port} user={ROLE} password={PASSWORD} application_name=slave-1"
        restore = f"scp {one}:{self.archive_folder}/%f %p"
        if self.major < 12:
            lines = ["standby_mode = on", f"primary_conninfo = '{conninfo}'", f"restore_command = '{restore}'"]
            self.append("h2", f"{self.data}/recovery.conf", "\n".join(lines))
        else:
            lines = [f"primary_conninfo = '{conninfo}'", f"restore_command = '{restore}'"]
            self.append("h2", f"{self.data}/postgresql.auto.conf", "\n".join(lines))
            self.on("h2", "touch", f"{self.data}/standby.signal")
        self.pg_ctl("h2", "start")
        self.streams_by_hand()

    def streams_by_hand(self) -> None:
        wait_until(
            lambda: self.sql("h1", "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1",
            "the standby streams",
            60,
        )

    def streams_again(self, upstream: str, standby: str) -> None:
        """A standby streams from another host, and shows what is written there."""
        wait_until(
            lambda: self.sql(upstream, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1",
            f"{standby} streams from {upstream}",
            60,
        )
        count = "SELECT count(*) FROM written"
        wait_until(lambda: self.sql(standby, count) == self.sql(upstream, count), f"{standby} shows all rows", 60)

    # --- a client that writes all the time

    def writer(self, host: str = "h1") -> "HandWriter":
        return HandWriter(self, host)


class HandWriter:
    """A loop of psql on the primary's host, through its socket: each row that was acknowledged is noted."""

    def __init__(self, cluster: ByHand, host: str) -> None:
        self.cluster, self.host = cluster, host
        self.noted = f"{cluster.base}/acknowledged"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        psql = f"{self.cluster.clients}/psql -XAtq -h {self.cluster.sockets} -p {self.cluster.port} -d postgres"
        loop = (
            f"i=0; while [ ! -e {self.cluster.base}/enough ]; do i=$((i+1)); "
            f'{psql} -c "INSERT INTO written VALUES ($i)" 2>/dev/null && echo $i >>{self.noted}; done'
        )
        self.cluster.on(self.host, "touch", self.noted)
        argv = ["setsid", "-f", "sh", "-c", loop]
        self.cluster.on(self.host, "sh", "-c", " ".join(_quoted(argv)) + " >/dev/null 2>&1 </dev/null")
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.on(self.host, "touch", f"{self.cluster.base}/enough")

    def acknowledged(self) -> set[int]:
        return {int(line) for line in self.cluster.on(self.host, "cat", self.noted).split()}

    def goes_on(self, rows: int = 5) -> None:
        wanted = len(self.acknowledged()) + rows
        wait_until(lambda: len(self.acknowledged()) >= wanted, "more rows are acknowledged", 60)

    def missing(self, host: str) -> set[int]:
        # What was acknowledged is read first: the loop goes on until it sees that it is to end.
        acknowledged = self.acknowledged()
        return acknowledged - {int(line) for line in self.cluster.sql(host, "SELECT id FROM written").split()}


def _quoted(argv: Sequence[str]) -> list[str]:
    return ["'" + word.replace("'", "'\\''") + "'" for word in argv]
