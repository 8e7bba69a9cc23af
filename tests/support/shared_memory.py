"""What a server that was killed leaves in the kernel: a segment of shared memory, of which a machine has 4096."""

import contextlib
import shutil
import subprocess
from pathlib import Path

_TABLE = Path("/proc/sysvipc/shm")
#: The one file has it signed, the other not.
_KEY = 0xFFFFFFFF


def forget_shared_memory(base: Path) -> None:
    """Removes the segments of dead servers whose data is somewhere below `base`: those that their postmaster.pid names
    by key and number, and that no process has."""
    if not _TABLE.exists() or shutil.which("ipcrm") is None:
        return
    named = set()
    for path in base.rglob("postmaster.pid"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            key, number = path.read_text().splitlines()[6].split()
            named.add((int(key) & _KEY, int(number)))
    for line in _TABLE.read_text().splitlines()[1:] if named else ():
        key, number, _, _, _, _, attached, *_ = line.split()
        if attached == "0" and (int(key) & _KEY, int(number)) in named:
            subprocess.run(["ipcrm", "-m", number], capture_output=True, check=False)
