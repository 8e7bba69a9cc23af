"""Copies of a node on one machine: pgtandem's step that makes one, against pg_basebackup as it is shipped.

Both are durable at their end, both begin with a checkpoint at once, and both copy the same running, idle primary.
Ours is the whole step of the plan (the backup, the copy, its check, its own files, the sync of the file system, the
rename); the other one the whole program.

Copies of many files stay until the last pair is done, and the first begins when what was deleted before is forgotten:
ext4 gives no inode out again that was deleted in the last minutes, and looks at each of them for every file that it
makes, which takes whoever copies next two to five times as long as the copy itself.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg

from bench.clusters import running_cluster
from bench.machine import PGTANDEM, BenchmarkFailed, embedded_programs, free_ports, rest, server_account, timed
from bench.pairs import Outcome, run_pairs

#: At most this part of the time of pg_basebackup: a half for few big files, a third for many small ones.
BIG_TARGET, SMALL_TARGET = 0.5, 0.333

Connection = psycopg.Connection[tuple[object, ...]]

#: A minute, and five more for what is not written out (fs/ext4/ialloc.c, recently_deleted).
_DELETED_IS_FORGOTTEN_SECONDS = 370

#: Five files each.
_TABLES = 3800

#: As many copies of those as there are runs, where no block is shared.
_XFS_BYTES = 20 * 1000**3


def copy_of_big_files(pairs: int) -> list[Outcome]:
    """A primary of 4 GB, or as many megabytes as PGTANDEM_BENCH_MEGABYTES says."""
    megabytes = int(os.environ.get("PGTANDEM_BENCH_MEGABYTES", "4000"))
    fill = partial(_fill_with_rows, megabytes=megabytes)
    return [_measured(f"copy of {megabytes / 1000:g} GB on one machine", fill, pairs, BIG_TARGET, _remove)]


def copy_of_small_files(pairs: int) -> list[Outcome]:
    """A primary of 19,000 files and about a gigabyte: on the file system of temporary files, and on XFS, whose blocks
    can be shared, for who may mount one."""
    name = f"copy of {5 * _TABLES} small files on one machine"
    outcomes = [_measured(name, _fill_with_tables, pairs, SMALL_TARGET, _put_by)]
    if os.geteuid() == 0 and shutil.which("mkfs.xfs"):
        with _xfs():
            outcomes.append(_measured(f"{name}, on XFS", _fill_with_tables, pairs, SMALL_TARGET, _put_by))
    return outcomes


def _measured(
    name: str, fill: Callable[[Connection], None], pairs: int, target: float, done_with: Callable[[Path], None]
) -> Outcome:
    """`done_with` takes a copy away, so that the next can be made in its place."""
    with running_cluster(0, "--no-archive") as (folder, ports):
        with _connect(folder, ports[0]) as connection:
            fill(connection)
            if done_with is _put_by and _is_ext4(folder):
                time.sleep(_DELETED_IS_FORGOTTEN_SECONDS)
            connection.execute("CHECKPOINT")
        with _standby_in_the_file(folder):
            other = partial(_other, folder, ports[0], done_with)
            return run_pairs(name, partial(_ours, folder, done_with), other, pairs=pairs, target=target)


def _is_ext4(folder: Path) -> bool:
    return _said("stat", "-f", "-c", "%T", str(folder)) == "ext2/ext3"


@contextmanager
def _xfs() -> Iterator[None]:
    """Meanwhile temporary folders lie on a fresh XFS, in a file of the disk that they are on."""
    before = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="pgtandem-bench-") as folder:
        image, place = Path(folder, "image"), Path(folder, "mounted")
        with image.open("wb") as file:
            file.truncate(_XFS_BYTES)
        place.mkdir()
        _said("mkfs.xfs", "-q", str(image))
        _said("mount", "-o", "loop", str(image), str(place))
        try:
            Path(folder).chmod(0o755)
            place.chmod(0o1777)
            tempfile.tempdir = str(place)
            yield
        finally:
            tempfile.tempdir = before
            _said("umount", str(place))


def _said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"{argv[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def _connect(folder: Path, port: int) -> Connection:
    passfile = str(folder / ".pgtandem" / "passfile")
    return psycopg.connect(host="127.0.0.1", port=port, user="postgres", passfile=passfile, autocommit=True)


def _fill_with_rows(connection: Connection, megabytes: int) -> None:
    """A row has about a kilobyte."""
    connection.execute("CREATE TABLE big (id bigint, text text)")
    for _ in range(max(megabytes // 100, 1)):
        connection.execute(
            "INSERT INTO big SELECT g, repeat(md5(random()::text || g), 30) FROM generate_series(1, 100000) AS rows(g)"
        )


def _fill_with_tables(connection: Connection) -> None:
    for number in range(_TABLES):
        connection.execute(f"CREATE TABLE small_{number} (id int PRIMARY KEY, text text)".encode())
        connection.execute(
            f"INSERT INTO small_{number} SELECT g, repeat('x', 500) FROM generate_series(1, 400) AS series(g)".encode()
        )


@contextmanager
def _standby_in_the_file(folder: Path) -> Iterator[None]:
    file = folder / "pgtandem.toml"
    with file.open("a") as text:
        text.write(f"\n[nodes.db2]\nport = {free_ports(8)[0]}\n")
    yield


def _ours(folder: Path, done_with: Callable[[Path], None]) -> float:
    """The seconds of the step that makes db2's data directory; afterwards db2 is gone again."""
    timed([PGTANDEM, "apply", "--yes"], cwd=folder)
    entries = [json.loads(line) for line in (folder / ".pgtandem" / "journal.jsonl").read_text().splitlines()]
    done = [entry for entry in entries if entry["event"] == "step done" and entry["step"] == "db2.data"]
    if not done or "by the kernel" not in done[-1]["remark"]:
        raise BenchmarkFailed(f"db2 was not copied by the kernel: {done[-1:]}")
    data = folder / "data" / "db2"
    stop = [f"{embedded_programs()}/pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop"]
    timed(stop, cwd=Path("/"), account=server_account())
    done_with(data)
    return float(done[-1]["seconds"])


def _other(folder: Path, port: int, done_with: Callable[[Path], None]) -> float:
    """The seconds of pg_basebackup to an empty folder beside it."""
    account = server_account()
    passfile = folder / "data" / "passfile"
    shutil.copy(folder / ".pgtandem" / "passfile", passfile)
    if account:
        shutil.chown(passfile, account, account)
    copy = folder / "data" / "copy"
    argv = [f"{embedded_programs()}/pg_basebackup", "-d", f"host=127.0.0.1 port={port} user=postgres"]
    argv += ["-D", str(copy), "--checkpoint=fast"]
    try:
        return timed(argv, cwd=Path("/"), environment={"PGPASSFILE": str(passfile)}, account=account)
    finally:
        passfile.unlink()
        done_with(copy)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    rest()


def _put_by(folder: Path) -> None:
    """Gives a copy another name beside it; the benchmark's folder goes with all of them."""
    folder.rename(folder.with_name(f"{folder.name}-{time.monotonic_ns()}"))
    rest()
