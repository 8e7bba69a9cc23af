"""A node's way to the WAL of other test hosts, made as pgtandem makes it: key, host keys, forced command, scripts."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pgtandem.openssh.authorized_keys import Grant, with_grant
from pgtandem.openssh.client import CONFIG_FILE, KEY_FILE, KNOWN_HOSTS_FILE, Peer, render_config, render_known_hosts
from pgtandem.postgres.wal_fetch import FETCH_SCRIPT, FETCH_TEXT, SPOOL
from pgtandem.postgres.wal_over_ssh import HOSTS_FILE, render_hosts
from pgtandem.postgres.wal_push import PUSH_SCRIPT, PUSH_TEXT
from pgtandem.postgres.wal_serve import SERVE_TEXT
from support.hosts import Hosts

SYSTEM = "7000"
ARCHIVE = f"/srv/postgres/the 'archive' \"$x\"/{SYSTEM}"
_FOLDER = "/srv/postgres/.ssh/pgtandem/shop"
_DATA = "/srv/postgres/data"
_POSTGRES = 64321


class WalLink:
    """The node `shop/NODE` on host `node` with an empty data directory, and the archives of `sources` that it asks."""

    def __init__(self, hosts: Hosts, node: str, sources: Sequence[str], *, put: bool = False) -> None:
        self.hosts, self.node, self.sources = hosts, node, tuple(sources)
        self.data = hosts.srv(node) / _DATA.removeprefix("/srv/")
        folder = f"{_FOLDER}/{node}"
        self._as_postgres(
            node, "mkdir", "-p", "-m", "700", folder, f"{_DATA}/pg_wal/archive_status", f"{_DATA}/pgtandem"
        )
        key = f"{folder}/{KEY_FILE}"
        self._as_postgres(node, "sh", "-c", f"[ -f {key} ] || ssh-keygen -q -t ed25519 -N '' -C '' -f {key}")
        public = " ".join(self._there(node, f"{key}.pub").read_text().split()[:2])
        for source in self.sources:
            self._as_postgres(source, "mkdir", "-p", ARCHIVE, _FOLDER)
            self.write(source, f"{_FOLDER}/serve-wal", SERVE_TEXT)
            rights = ("put",) if put else ()
            grant = Grant("shop", node, public, ("sh", f"{_FOLDER}/serve-wal", ARCHIVE, *rights))
            keys = self._there(source, "/srv/postgres/.ssh/authorized_keys")
            keys.write_bytes(with_grant(keys.read_bytes(), grant))
        peers = [Peer(name, hosts.address(name), 22, "postgres", (hosts.host_key(name),)) for name in self.sources]
        self.write(node, f"{folder}/{CONFIG_FILE}", render_config(peers))
        self.write(node, f"{folder}/{KNOWN_HOSTS_FILE}", render_known_hosts(peers))
        for path, text in (
            (FETCH_SCRIPT, FETCH_TEXT),
            (PUSH_SCRIPT, PUSH_TEXT),
            (HOSTS_FILE, render_hosts(f"shop/{node}", self.sources)),
            ("postmaster.pid", "4711\n/data\n1700000000\n"),
            ("standby.signal", ""),
        ):
            self.write(node, f"{_DATA}/{path}", text)
        self.folder = folder

    def archived(self, source: str) -> Path:
        """The folder of the archive on a host, seen from this machine."""
        return self._there(source, ARCHIVE)

    def store(self, source: str, name: str, content: bytes) -> None:
        self.write(source, f"{ARCHIVE}/{name}", content)

    def fetch(
        self, name: str, path: str = "pg_wal/RECOVERYXLOG", seconds: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        return self.in_data(f"timeout {seconds} sh {FETCH_SCRIPT} {name} {path}")

    def has_slow_way(self, source: str) -> None:
        """The server has seen that WAL comes slowly from there, before it has fetched anything else."""
        self.in_data(f"mkdir {SPOOL} && echo '4711 1700000000' >{SPOOL}/run && echo slow >{SPOOL}/way.{source}")

    def was_silent(self, *sources: str) -> None:
        """The node has noted that they failed; from now on it leaves them alone for fifteen seconds."""
        for source in sources:
            note = self.data / SPOOL / f"resting.{source}"
            assert note.exists(), source
            self.in_data(f"date +%s >{SPOOL}/{note.name}")

    def push(self, path: str, name: str, *form: str) -> "subprocess.CompletedProcess[str]":
        return self.in_data(f"timeout 60 sh {PUSH_SCRIPT} {path} {name} {' '.join(form)}")

    def finish(self, name: str, content: bytes) -> None:
        """The server has finished a segment."""
        self.write(self.node, f"{_DATA}/pg_wal/{name}", content)
        self.write(self.node, f"{_DATA}/pg_wal/archive_status/{name}.ready", "")

    def ready(self) -> list[str]:
        return sorted(path.stem for path in (self.data / "pg_wal/archive_status").glob("*.ready"))

    def archive_one(self, *form: str) -> bool:
        """What the server does with the first file that is ready; whether it is archived."""
        name = self.ready()[0]
        if self.push(f"pg_wal/{name}", name, *form).returncode:
            return False
        status = self.data / "pg_wal/archive_status"
        (status / f"{name}.ready").rename(status / f"{name}.done")
        return True

    def pushing(self) -> list[int]:
        """The worker in the background."""
        return self.hosts.processes(self.node, "pgtandem/push-wal - work")

    def ask(self, source: str, *words: str, stdin: str = "/dev/null") -> "subprocess.CompletedProcess[str]":
        """ssh with the node's own key and whatever words."""
        command = 'cd "$0" && f=$1 && shift && exec ssh -F ssh_config "$@" <"$f"'
        return self._as_postgres(self.node, "sh", "-c", command, self.folder, stdin, source, *words)

    def in_data(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Runs a line of shell as a server would: in the data directory."""
        return self._as_postgres(self.node, "sh", "-c", f"cd {_DATA} && {command}")

    def spooled(self) -> list[str]:
        """The names of the whole segments that wait in the spool."""
        return sorted(path.name for path in (self.data / SPOOL).glob("[0-9A-F]*") if len(path.name) == 24)

    def fetching(self) -> bool:
        return bool(self.hosts.processes(self.node, "pgtandem/fetch-wal"))

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[Callable[[], str]]:
        """ssh on the node reaches nobody, and notes with which words it was called: returns them."""
        notes = self.hosts.srv(self.node) / "asked"
        notes.touch()
        notes.chmod(0o666)
        with self.hosts.another_program(self.node, "ssh", '#!/bin/sh\necho "$*" >>/srv/asked\nexit 255\n'):
            yield notes.read_text
        notes.unlink()

    def hang_up(self) -> None:
        """Ends the connections that are kept open."""
        for source in self.sources:
            self.ask(source, "-O", "exit")

    def write(self, host: str, path: str, content: str | bytes) -> None:
        there = self._there(host, path)
        there.write_bytes(content.encode() if isinstance(content, str) else content)
        os.chown(there, _POSTGRES, _POSTGRES)

    def _there(self, host: str, path: str) -> Path:
        return self.hosts.srv(host) / path.removeprefix("/srv/")

    def _as_postgres(self, host: str, *argv: str) -> "subprocess.CompletedProcess[str]":
        return self.hosts.run(host, argv, user="postgres")
