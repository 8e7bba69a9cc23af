"""WAL pushed to and fetched from another host over SSH, beside scp: test hosts in network namespaces on this machine.

Both ends share this machine's processors, which are the limit: SSH takes most of the time. Segments of 16 MB that zstd
compresses to some 37 %, as WAL of bulk loads is.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.machine import BenchmarkFailed
from bench.pairs import Outcome, run_pairs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.hosts import Hosts, why_no_hosts
from support.wal_link import ARCHIVE, WalLink

SEGMENTS = 200

#: One scp for each takes so long that what is fetched is less.
FETCHED = 16
_SIZE = 16 * 1024 * 1024
_PAGE, _FILLED = 8192, 3000

_PUSH = """
for at in pg_wal/archive_status/*.ready; do
    name=${at##*/} name=${name%.ready}
    sh pgtandem/push-wal "pg_wal/$name" "$name" @FORM@ || exit 1
    mv "$at" "${at%.ready}.done"
done
"""
_SCP_KEPT = """
kept="-o ControlMaster=auto -o ControlPath=/tmp/scp-mux -o ControlPersist=60"
for at in pg_wal/0*; do
    scp -q $kept @OPTIONS@ "$at" @HOST@:in/ || exit 1
done
"""
_FETCH = """
for name in @NAMES@; do
    tries=0
    until sh pgtandem/fetch-wal "$name" pg_wal/RECOVERYXLOG; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || exit 1
    done
    rm pg_wal/RECOVERYXLOG
done
"""
_SCP_EACH = """
for name in @NAMES@; do
    scp -q @OPTIONS@ "@HOST@:plain/$name" pg_wal/RECOVERYXLOG && rm pg_wal/RECOVERYXLOG || exit 1
done
"""


class Way:
    """The node h1, the archive on h2, and segments to carry."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.link = hosts, WalLink(hosts, "h1", ["h2"], put=True)
        self.names = [f"{1:08X}{0:08X}{number:08X}" for number in range(1, SEGMENTS + 1)]
        for name in self.names:
            filled = b"".join(os.urandom(_FILLED) + bytes(_PAGE - _FILLED) for _ in range(_SIZE // _PAGE))
            self.link.write("h1", f"/srv/postgres/data/pg_wal/{name}", filled)
        key = self.link.data.parent / "key"
        shutil.copy(hosts.key, key)
        shutil.chown(key, 64321, 64321)
        key.chmod(0o600)
        self.options = (
            "-i ../key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )
        hosts.run("h2", ["mkdir", "-p", "/srv/postgres/plain"], user="postgres")
        for name in self.names[:FETCHED]:
            content = (self.link.data / "pg_wal" / name).read_bytes()
            self.link.write("h2", f"/srv/postgres/plain/{name}", content)

    def push(self, *form: str) -> float:
        # The last connection may still be tidying up there.
        shutil.rmtree(self.link.archived("h2"), ignore_errors=True)
        self.hosts.run("h2", ["mkdir", "-p", ARCHIVE], user="postgres")
        shutil.rmtree(self.link.data / "pg_wal/pgtandem_archived", ignore_errors=True)
        self._ready()
        return self._timed(_PUSH.replace("@FORM@", " ".join(form)))

    def scp_kept(self) -> float:
        """Nothing is ready meanwhile: the worker of the last push would begin anew beside it. What it leaves, which
        nobody has synced, goes before anything else is timed."""
        self._clear_status()
        self.hosts.run("h2", ["mkdir", "/srv/postgres/in"], user="postgres")
        try:
            return self._timed(_SCP_KEPT)
        finally:
            shutil.rmtree(self.hosts.srv("h2") / "postgres/in")

    def fetch(self) -> float:
        shutil.rmtree(self.link.data / "pg_wal/pgtandem", ignore_errors=True)
        return self._timed(_FETCH)

    def scp_each(self) -> float:
        return self._timed(_SCP_EACH)

    def _clear_status(self) -> None:
        for path in (self.link.data / "pg_wal/archive_status").iterdir():
            path.unlink()

    def _ready(self) -> None:
        self._clear_status()
        for name in self.names:
            self.link.write("h1", f"/srv/postgres/data/pg_wal/archive_status/{name}.ready", "")

    def _timed(self, script: str) -> float:
        script = script.replace("@NAMES@", " ".join(self.names[:FETCHED])).replace("@OPTIONS@", self.options)
        script = script.replace("@HOST@", f"postgres@{self.hosts.address('h2')}")
        began = time.perf_counter()
        done = self.link.in_data(script)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise BenchmarkFailed(done.stderr)
        return seconds


@contextmanager
def _way() -> Iterator[Way]:
    with Hosts(2) as hosts:
        yield Way(hosts)


def wal_between_hosts(pairs: int) -> list[Outcome]:
    """A backlog pushed, beside scp with a kept connection (which syncs nothing); and segments fetched, beside one scp
    for each, as the hand-made recipe does it."""
    if reason := why_no_hosts():
        print(f"wal-between-hosts is left out: {reason}")
        return []
    with _way() as way:
        return [
            run_pairs(
                "push over SSH, zstd; scp, kept", lambda: way.push("zstd", "1"), way.scp_kept, pairs=pairs, target=1 / 3
            ),
            run_pairs("fetch over SSH, zstd; scp each", way.fetch, way.scp_each, pairs=pairs, target=1 / 4),
            run_pairs("push over SSH; scp, kept", way.push, way.scp_kept, pairs=pairs, target=1 / 3),
            run_pairs("fetch over SSH; scp each", way.fetch, way.scp_each, pairs=pairs, target=1 / 4),
        ]
