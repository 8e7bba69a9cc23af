"""A backlog of WAL, drained by a real server's archiver: ours, basic_archive, pgBackRest, plain cp.

Debian's PostgreSQL 15, which has basic_archive. The backlog is the same for each: 200 names (60 beside pgBackRest) for
the content of some 20 segments of a bulk load, all of it in memory. Measured is the time from the server's start to the
last segment that is not ready any more, and the processor time of the archiver and all that it starts.
"""

import ctypes
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.machine import BenchmarkFailed, free_ports, fresh_folder, server_account
from bench.pairs import Outcome, run_pairs
from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT, ARCHIVE_TEXT, SYSTEM_FILE, archive_command

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
SEGMENTS = 200

#: pgBackRest takes so long for each that its pairs have fewer.
FEW = 60
_FIRST = 0x100
_SECONDS = 600.0
_BULK = """
CREATE TABLE bulk AS SELECT n, md5(n::text) AS text, repeat('x', n % 80) AS more FROM generate_series(1, 1900000) n;
CHECKPOINT;
"""
_PR_SET_CHILD_SUBREAPER = 36


class Backlog:
    """A stopped server whose archiver has so many segments to do when it starts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.archive = folder, folder / "data", folder / "archive"
        self.account = server_account()
        self.port = free_ports(1)[0]
        self.cpu_seconds: dict[str, list[float]] = {}
        if self.account:
            shutil.chown(folder, self.account)
        self._do("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8")
        self._do("pg_resetwal", "-D", str(self.data), "-l", f"00000001000000{_FIRST >> 8:02X}00000001")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nunix_socket_directories = '{folder}'\nlisten_addresses = ''\n")
            file.write("max_wal_size = '8GB'\nwal_recycle = off\narchive_mode = on\nshared_preload_libraries = ''\n")
            file.write("include 'archive.conf'\n")
        self.configure({"archive_command": ""})
        self._start()
        self._do("psql", "-h", str(folder), "-p", str(self.port), "-U", "postgres", "-qc", _BULK)
        self._stop("fast")
        self._reap()
        self.store = folder / "store"
        self.store.mkdir()
        here = sorted(path for path in (self.data / "pg_wal").iterdir() if len(path.name) == 24)[:-1]
        self.contents = [Path(shutil.copy(path, self.store)) for path in here]
        for path in self.contents:
            self._own(path)
        (self.data / "pgtandem").mkdir(mode=0o700)
        (self.data / ARCHIVE_SCRIPT).write_text(ARCHIVE_TEXT)
        # The script compares it with the control file's.
        self.system = str(int.from_bytes((self.data / "global/pg_control").read_bytes()[:8], sys.byteorder))
        (self.data / SYSTEM_FILE).write_text(f"{self.system}\n")
        for path in [self.data / "pgtandem", *(self.data / "pgtandem").iterdir(), self.store]:
            self._own(path)
        if len(self.contents) < 10:
            raise BenchmarkFailed(f"only {len(self.contents)} segments were made")

    def drain(self, name: str, settings: Mapping[str, str], segments: int = SEGMENTS) -> float:
        """Seconds until all of it is archived by these settings; into an archive that is empty before."""
        shutil.rmtree(self.archive, ignore_errors=True)
        (self.archive / self.system).mkdir(parents=True)
        for path in (self.archive, self.archive / self.system):
            self._own(path)
        status = self.data / "pg_wal" / "archive_status"
        for path in [*status.iterdir(), *(self.data / "pg_wal").glob("0000000100000000*")]:
            path.unlink()
        # The server's own segments are no part of it: who archives ahead would have done them as well.
        for path in (self.data / "pg_wal").glob("0000000100000001*"):
            (status / f"{path.name}.done").touch()
            self._own(status / f"{path.name}.done")
        for number in range(1, segments + 1):
            os.link(self.contents[number % len(self.contents)], self.data / "pg_wal" / f"{1:08X}{0:08X}{number:08X}")
            ready = status / f"{1:08X}{0:08X}{number:08X}.ready"
            ready.touch()
            self._own(ready)
        for path in self.contents:
            path.read_bytes()
        self.configure(settings)
        os.sync()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._start()
        began = time.perf_counter()
        while any(
            entry.name.startswith("0000000100000000") and entry.name.endswith(".ready") for entry in os.scandir(status)
        ):
            if time.perf_counter() - began > _SECONDS:
                raise BenchmarkFailed(f"{name} did not archive everything: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        self._stop("immediate")
        self._reap()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.cpu_seconds.setdefault(name, []).append(used / segments)
        return seconds

    def configure(self, settings: Mapping[str, str]) -> None:
        text = "".join(f"{key} = '{value}'\n" for key, value in settings.items())
        (self.data / "archive.conf").write_text(text)
        self._own(self.data / "archive.conf")

    def processor_milliseconds(self) -> str:
        """Per segment, by name, in the middle of all runs."""
        rows = (f"{name} {median(used) * 1000:.0f}" for name, used in self.cpu_seconds.items())
        return "processor ms per segment: " + ", ".join(rows)

    def _reap(self) -> None:
        """Who was started in the background is ours now: it counts too."""
        end = time.perf_counter() + 30
        while time.perf_counter() < end:
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.02)
            except ChildProcessError:
                return

    def _start(self) -> None:
        self._do("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "start")

    def _stop(self, how: str) -> None:
        self._do("pg_ctl", "-D", str(self.data), "-m", how, "-w", "stop")

    def _do(self, program: str, *arguments: str) -> None:
        who = {"user": self.account, "group": self.account, "extra_groups": []} if self.account else {}
        with (self.folder / "said").open("wb") as said:
            done = subprocess.run(
                [str(PROGRAMS / program), *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said,
                stderr=subprocess.STDOUT, check=False, **who,  # type: ignore[call-overload]
            )  # fmt: skip
        if done.returncode:
            raise BenchmarkFailed(f"{program} failed: {(self.folder / 'said').read_text()}")

    def _own(self, path: Path) -> None:
        if self.account:
            shutil.chown(path, self.account, self.account)


@contextmanager
def _backlog() -> Iterator[Backlog]:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with fresh_folder() as folder:
        yield Backlog(folder)


def _pgbackrest(backlog: Backlog, compress: str) -> Mapping[str, str]:
    """archive-push as it is configured for each segment by itself, without asynchronous pushing."""
    repository = backlog.folder / "repo"
    text = (
        f"[global]\\nrepo1-path={repository}\\ncompress-type={compress}\\ncompress-level=1\\nlock-path={backlog.folder}\\n"
        f"log-level-file=off\\nlog-level-console=error\\nspool-path={backlog.folder}\\n"
        f"[shop]\\npg1-path={backlog.data}\\npg1-port={backlog.port}\\npg1-socket-path={backlog.folder}\\npg1-user=postgres\\n"
    ).replace("\\n", "\n")
    (backlog.folder / "pgbackrest.conf").write_text(text)
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir()
    backlog._own(repository)
    backlog.configure({"archive_command": ""})
    backlog._start()
    who = {"user": backlog.account, "group": backlog.account, "extra_groups": []} if backlog.account else {}
    command = f"pgbackrest --config={backlog.folder}/pgbackrest.conf --stanza=shop"
    done = subprocess.run(
        [*command.split(), "stanza-create"], capture_output=True, text=True, cwd=backlog.folder, check=False,
        **who,  # type: ignore[call-overload]
    )  # fmt: skip
    backlog._stop("fast")
    if done.returncode:
        raise BenchmarkFailed(f"pgbackrest stanza-create: {done.stdout}{done.stderr}")
    return {"archive_command": f"{command} archive-push %p"}


def archiving(pairs: int) -> list[Outcome]:
    """Our archive-wal, uncompressed beside basic_archive and cp, and beside pgBackRest with and without zstd."""
    if not (PROGRAMS / "postgres").exists():
        print("archiving is left out: there is no PostgreSQL 15 of Debian here, which has basic_archive")
        return []
    with _backlog() as backlog:
        place = str(backlog.archive)
        ours = {"archive_command": archive_command(place)}
        packed = {"archive_command": archive_command(place, ("zstd", "1"))}
        basic = {"archive_library": "basic_archive", "basic_archive.archive_directory": f"{place}/{backlog.system}"}
        plain = {"archive_command": f"cp %p {place}/%f"}

        def drained(name: str, settings: Mapping[str, str], segments: int = SEGMENTS) -> Callable[[], float]:
            return lambda: backlog.drain(name, settings, segments)

        def pushed(compress: str) -> Callable[[], float]:
            return lambda: backlog.drain(f"pgBackRest {compress}", _pgbackrest(backlog, compress), FEW)

        outcomes = [
            run_pairs("backlog, basic_archive", drained("ours", ours), drained("basic_archive", basic), pairs=pairs,
                      target=1.0),
            run_pairs("backlog, cp (not durable)", drained("ours", ours), drained("cp", plain), pairs=pairs),
        ]  # fmt: skip
        if shutil.which("pgbackrest"):
            for compress, settings in (("none", ours), ("zst", packed)):
                outcomes.append(
                    run_pairs(
                        f"backlog, pgBackRest {compress}",
                        drained("ours, few" if compress == "none" else "ours zstd, few", settings, FEW),
                        pushed(compress),
                        pairs=pairs,
                        target=1 / 1.5,
                    )
                )
        print(backlog.processor_milliseconds())
        return outcomes
