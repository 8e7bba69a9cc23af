"""A real standby that is so many segments behind, and catches up: from an archive over SSH, from one beside it.

PostgreSQL 15 of Debian on test hosts (network namespaces on this machine, which does the work of both ends). The WAL is
that of bulk loads into a table that is emptied now and then. Measured is the time from the standby's start until it has
replayed the last segment; every run begins with the same data directory.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.machine import BenchmarkFailed, rest
from bench.pairs import Outcome, run_pairs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psycopg

from pgtandem.postgres.archive_scripts import SYSTEM_FILE, restore_command
from pgtandem.postgres.wal_fetch import RESTORE_SCRIPT, RESTORE_TEXT
from pgtandem.postgres.wal_over_ssh import FETCH_COMMAND, HOSTS_FILE
from support.hosts import Hosts, why_no_hosts
from support.wal_link import ARCHIVE, SYSTEM, WalLink

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
SEGMENTS = int(os.environ.get("PGTANDEM_BENCH_SEGMENTS", "100"))

#: What of streaming, and of replay alone, catching up from the archive is to reach: their time over ours.
TARGET = 1 / 0.9

_HOME = "/srv/postgres"
_PORT = 5432
_SECONDS = 600.0
_LOAD = """
INSERT INTO bulk SELECT n, md5(n::text), repeat('x', n % 80) FROM generate_series(1, 400000) n
"""
_COMMON = f"""
port = {_PORT}
listen_addresses = '*'
unix_socket_directories = '.'
shared_buffers = '256MB'
max_wal_size = '4GB'
checkpoint_timeout = '1h'
wal_keep_size = '8GB'
"""


class Behind:
    """The archive and the primary on h2, and a stopped standby on h1 that lacks what was written since."""

    def __init__(self, hosts: Hosts, segments: int) -> None:
        self.hosts, self.link = hosts, WalLink(hosts, "h1", ["h2"])
        self.scripts = self.link.data / "pgtandem"
        for path, text in ((RESTORE_SCRIPT, RESTORE_TEXT), (SYSTEM_FILE, f"{SYSTEM}\n")):
            self.link.write("h1", f"{_HOME}/data/{path}", text)
        shutil.move(self.scripts, self.link.data.parent / "scripts")
        key = self.link.data.parent / "key"
        shutil.copy(hosts.key, key)
        shutil.chown(key, 64321, 64321)
        key.chmod(0o600)
        self.primary = hosts.srv("h2") / "postgres/primary"
        self._postgres("h2", "initdb", "-D", f"{_HOME}/primary", "-U", "postgres", "--auth=trust", "--encoding=UTF8")
        with (self.primary / "postgresql.conf").open("a") as file:
            file.write(_COMMON)
        with (self.primary / "pg_hba.conf").open("a") as file:
            file.write("host all,replication postgres all trust\n")
        self._postgres("h2", "pg_ctl", "-D", f"{_HOME}/primary", "-l", f"{_HOME}/log", "-w", "start")
        copy = ("-h", hosts.address("h2"), "-U", "postgres", "-D", f"{_HOME}/template", "-c", "fast", "-X", "stream")
        self._postgres("h1", "pg_basebackup", *copy)
        self.template = self.link.data.parent / "template"
        self.names, self.target = self._write_wal(segments)
        self._keep_wal()

    def _write_wal(self, segments: int) -> tuple[list[str], str]:
        """Their names, and the last LSN in them."""
        with psycopg.connect(host=str(self.primary), port=_PORT, user="postgres", autocommit=True) as primary:
            primary.execute("CREATE TABLE bulk (n int, text text, more text)")
            begin = self._segment_of(primary)
            done = 0
            while done < segments - 3:
                primary.execute(_LOAD)
                if done % 20 > 14:
                    primary.execute("TRUNCATE bulk")
                done = self._segment_of(primary) - begin
            target = primary.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            assert target
            end = self._segment_of(primary)
            primary.execute("SELECT pg_switch_wal()")
        return [f"{1:08X}{number // 256:08X}{number % 256:08X}" for number in range(begin, end + 1)], str(target[0])

    @staticmethod
    def _segment_of(primary: "psycopg.Connection[tuple[str, ...]]") -> int:
        row = primary.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()
        assert row
        return int(row[0][8:16], 16) * 256 + int(row[0][16:24], 16)

    def _keep_wal(self) -> None:
        """In the archive on h2, beside it for scp, and in an archive on h1."""
        self.hosts.run("h2", ["mkdir", "-p", f"{_HOME}/plain"], user="postgres")
        self.hosts.run("h1", ["mkdir", "-p", f"{_HOME}/archive/{SYSTEM}"], user="postgres")
        for name in self.names:
            command = f'cp "$1/{name}" "$2/" && cp "$1/{name}" plain/'
            self.hosts.run(
                "h2", ["sh", "-c", f"cd {_HOME} && {command}", "-", "primary/pg_wal", ARCHIVE], user="postgres"
            )
            content = (self.primary / "pg_wal" / name).read_bytes()
            self.link.write("h1", f"{_HOME}/archive/{SYSTEM}/{name}", content)

    def from_archive_over_ssh(self) -> float:
        return self._catch_up(FETCH_COMMAND)

    def by_scp(self) -> float:
        options = "-i ../key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        return self._catch_up(f"scp -q -o LogLevel=ERROR {options} postgres@{self.hosts.address('h2')}:plain/%f %p")

    def by_streaming(self) -> float:
        return self._catch_up("", f"host={self.hosts.address('h2')} port={_PORT} user=postgres")

    def from_archive_here(self) -> float:
        """With that archive alone: a node that may ask other hosts too logs in there for each name that is not here."""
        return self._catch_up(restore_command(f"{_HOME}/archive"), alone=True)

    def by_replay_alone(self) -> float:
        return self._catch_up("", there=True)

    def _catch_up(self, restore: str, conninfo: str = "", *, there: bool = False, alone: bool = False) -> float:
        data = self.link.data
        shutil.rmtree(data, ignore_errors=True)
        self._as_postgres("h1", "cp", "-a", f"{_HOME}/template", f"{_HOME}/data")
        self._as_postgres("h1", "cp", "-a", f"{_HOME}/scripts", f"{_HOME}/data/pgtandem")
        if alone:
            (data / HOSTS_FILE).unlink()
        if there:
            self._as_postgres("h1", "sh", "-c", f"cp {_HOME}/archive/{SYSTEM}/* {_HOME}/data/pg_wal/")
        settings = {"restore_command": restore, "primary_conninfo": conninfo}
        text = "".join(f"{key} = '{value.replace(chr(39), chr(39) * 2)}'\n" for key, value in settings.items())
        self.link.write("h1", f"{_HOME}/data/postgresql.auto.conf", text)
        self.link.write("h1", f"{_HOME}/data/standby.signal", "")
        rest()
        log = self.link.data.parent / "log"
        log.unlink(missing_ok=True)
        began = time.perf_counter()
        self._postgres("h1", "pg_ctl", "-D", f"{_HOME}/data", "-l", f"{_HOME}/log", "-W", "start")
        try:
            while not self._replayed():
                if time.perf_counter() - began > _SECONDS:
                    raise BenchmarkFailed(f"the standby did not catch up: {log.read_text()[-2000:]}")
                time.sleep(0.02)
            return time.perf_counter() - began
        finally:
            self._postgres("h1", "pg_ctl", "-D", f"{_HOME}/data", "-m", "immediate", "-w", "stop")
            self.link.hang_up()

    def _replayed(self) -> bool:
        if self._standby is None:
            try:
                self._standby = psycopg.connect(host=str(self.link.data), port=_PORT, user="postgres", autocommit=True)
            except psycopg.OperationalError:
                return False
        row = self._standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (self.target,)).fetchone()
        if row and row[0]:
            self._standby.close()
            self._standby = None
            return True
        return False

    _standby: "psycopg.Connection[tuple[bool, ...]] | None" = None

    def _postgres(self, host: str, program: str, *arguments: str) -> None:
        self._as_postgres(host, str(PROGRAMS / program), *arguments)

    def _as_postgres(self, host: str, *argv: str) -> None:
        done = self.hosts.run(host, argv, user="postgres")
        if done.returncode:
            raise BenchmarkFailed(f"{' '.join(argv)}: {done.stdout}{done.stderr}")


@contextmanager
def _behind(segments: int) -> Iterator[Behind]:
    with Hosts(2) as hosts:
        yield Behind(hosts, segments)


def catching_up(pairs: int) -> list[Outcome]:
    """From the archive: over SSH, beside one scp for each segment and beside streaming; and from an archive on the
    standby's own host, beside replay of WAL that is all there."""
    if reason := why_no_hosts():
        print(f"catching-up is left out: {reason}")
        return []
    if not (PROGRAMS / "postgres").exists():
        print("catching-up is left out: there is no PostgreSQL 15 of Debian here")
        return []
    outcomes = []
    with _behind(SEGMENTS) as behind:
        outcomes += [
            run_pairs("catching up over SSH; streaming", behind.from_archive_over_ssh, behind.by_streaming, pairs=pairs,
                      target=TARGET),
            run_pairs("catching up here; replay alone", behind.from_archive_here, behind.by_replay_alone, pairs=pairs,
                      target=TARGET),
            run_pairs("catching up over SSH; scp each", behind.from_archive_over_ssh, behind.by_scp, pairs=pairs,
                      target=1 / 4),
        ]  # fmt: skip
    return outcomes
