"""A data directory as far as the scripts that archive and fetch WAL see one, and the server's archiver."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT, ARCHIVE_TEXT, SYSTEM_FILE, archive_command
from pgtandem.postgres.wal_fetch import RESTORE_SCRIPT, RESTORE_TEXT, SPOOL
from support.servers import wait_until

MEGABYTE = 1 << 20
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


def segment(number: int, timeline: int = 1) -> str:
    """With segments of one megabyte, of which 4096 share the middle part of the name."""
    return f"{timeline:08X}{number // 4096:08X}{number % 4096:08X}"


class Archiving:
    """`data` and `archive`, whose name has a space, below a folder."""

    def __init__(self, folder: Path, *form: str) -> None:
        self.data, self.archive, self.form = folder / "data", folder / "the archive" / "7000", form
        (self.data / "pgtandem").mkdir(parents=True)
        (self.data / "pg_wal" / "archive_status").mkdir(parents=True)
        self.archive.mkdir(parents=True)
        for path, text in (
            (ARCHIVE_SCRIPT, ARCHIVE_TEXT),
            (RESTORE_SCRIPT, RESTORE_TEXT),
            (SYSTEM_FILE, "7000\n"),
            ("standby.signal", ""),
        ):
            (self.data / path).write_text(text)
        self.start()

    def start(self, pid: int = 4711, began: int = 1700000000) -> None:
        """What a started server leaves in its data directory."""
        (self.data / "postmaster.pid").write_text(f"{pid}\n/data\n{began}\n")

    # --- archiving

    def wal(self, name: str) -> Path:
        return self.data / "pg_wal" / name

    def ready(self, name: str) -> Path:
        return self.data / "pg_wal" / "archive_status" / f"{name}.ready"

    def finish(self, *names: str, content: bytes | None = None) -> None:
        """The server has finished these files, each with a content of its own."""
        for name in names:
            random = os.urandom(MEGABYTE // 2) + bytes(MEGABYTE // 2)
            self.wal(name).write_bytes(random if content is None else content)
            self.ready(name).touch()

    def call(self, name: str) -> "subprocess.CompletedProcess[str]":
        """One call of archive_command."""
        with self.calling(name) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess([name], process.returncode, out, err)

    @contextmanager
    def calling(self, name: str) -> "Iterator[subprocess.Popen[str]]":
        """A call that goes on meanwhile; it and its worker are a process group, as below a server."""
        command = archive_command(str(self.archive.parent), self.form).replace("%p", f"pg_wal/{name}")
        process = subprocess.Popen(
            ["sh", "-c", command.replace("%f", name)],
            cwd=self.data,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            yield process

    def archive_all(self) -> list[str]:
        """What the server does: one after the other, in order, until one fails. Returns what is archived."""
        done = []
        for path in sorted(self.ready("x").parent.glob("*.ready")):
            name = path.name.removesuffix(".ready")
            if self.call(name).returncode:
                break
            path.rename(path.with_suffix(".done"))
            done.append(name)
        return done

    def stored(self) -> list[str]:
        return sorted(path.name for path in self.archive.iterdir() if path.is_file())

    def content(self, stored: str) -> bytes:
        """What is in a stored file, by the standard tools."""
        path = self.archive / stored
        program = {".zst": ["zstd", "-dcq"], ".lz4": ["lz4", "-dcq"]}.get(path.suffix, ["cat"])
        return subprocess.run([*program, str(path)], check=True, capture_output=True).stdout

    def check(self) -> str:
        """What a person would type to check the archive; "" when every file is what its line says."""
        command = "cat checksums/* | sort -u >../now; cksum $(ls | grep '^0') | sort | diff - ../now"
        return subprocess.run(["sh", "-c", command], cwd=self.archive, capture_output=True, text=True).stdout

    def working(self) -> list[int]:
        """The processes of the worker in the background."""
        return self._processes(f"{ARCHIVE_SCRIPT}\0-\0work")

    # --- fetching

    def fetch(self, name: str, path: str = "pg_wal/RECOVERYXLOG") -> "subprocess.CompletedProcess[str]":
        command = ["sh", RESTORE_SCRIPT, name, path, str(self.archive.parent)]
        return subprocess.run(command, cwd=self.data, capture_output=True, text=True, timeout=120)

    def fetched(self, name: str) -> bytes:
        done = self.fetch(name)
        assert (done.returncode, done.stderr) == (0, "")
        content = self.wal("RECOVERYXLOG").read_bytes()
        self.wal("RECOVERYXLOG").unlink()
        return content

    def spooled(self) -> list[str]:
        return sorted(path.name for path in (self.data / SPOOL).glob("[0-9A-F]*") if len(path.name) == 24)

    def fetching(self) -> list[int]:
        return self._processes(RESTORE_SCRIPT)

    def _processes(self, words: str) -> list[int]:
        """Those that run in this data directory or in the archive."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                here = entry.name.isdecimal() and os.readlink(entry / "cwd").startswith(str(self.data.parent))
                if here and words in (entry / "cmdline").read_text(errors="replace"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def end(self) -> None:
        """Ends what is still running for this data directory."""

        def nobody_left() -> bool:
            left = self._processes("")
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        wait_until(nobody_left, "what archives has ended")


def names(numbers: Sequence[int]) -> list[str]:
    return [segment(number) for number in numbers]
