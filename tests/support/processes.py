"""The processes of this machine, and waiting for something that a test expects not to happen."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path


def command_lines() -> list[tuple[int, str]]:
    """The process id and command line of every process, its words parted by blanks."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            found.append((int(entry), words.replace(b"\0", b" ").decode(errors="replace")))
    return found


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX"


def children(pid: int) -> list[int]:
    """The processes that a process started itself."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [child for child in pids if (fields := _stat(child)) and int(fields[1]) == pid]


def within(seconds: float, condition: Callable[[], object]) -> bool:
    """Whether a condition comes true in time; for what a test expects not to happen."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(0.005)
    return True
