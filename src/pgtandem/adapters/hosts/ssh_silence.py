"""Whether an ssh process still waits for the first packet of its host.

ssh's ConnectTimeout is for the connection and for what the host's sshd says first. An sshd under load may take its
time for that; a host that answers no attempt to connect within seconds is off or cut off, and every look at a cluster
with a dead host would wait for the rest of the time in vain. Linux tells in which state the connection is (proc(5)).
"""

import os
from collections.abc import Callable, Sequence

#: Time for the third packet of an attempt to be answered: Linux sends them after 0, 1 and 3 s.
KNOCKING_SECONDS = 4.5

_SYN_SENT = "02"


def knocks_in_vain(pid: int) -> bool:
    """Whether a connection of this process has not been answered yet. False where the system does not tell."""
    return _has(pid, lambda row: row[3] == _SYN_SENT)


def repeats_in_vain(pid: int) -> bool:
    """Whether a connection of this process has sent something that it had to send again, and that was not taken yet.
    False where the system does not tell."""
    return _has(pid, lambda row: int(row[4].split(":")[0], 16) > 0 and int(row[6], 16) > 0)


def _has(pid: int, fits: Callable[[Sequence[str]], bool]) -> bool:
    try:
        own = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        return any(f"socket:[{row[9]}]" in own for row in _connections(pid) if fits(row))
    except OSError:
        return False


def _connections(pid: int) -> list[list[str]]:
    """The rows of all connections in that process's network."""
    rows: list[list[str]] = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as lines:
            rows += [line.split() for line in lines][1:]
    return rows
