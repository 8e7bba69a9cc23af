"""Whether an ssh process still waits for the first packet of its host.

ssh's ConnectTimeout is for the connection and for what the host's sshd says first. An sshd under load may take its
time for that; a host that answers no attempt to connect within seconds is off or cut off, and every look at a cluster
with a dead host would wait for the rest of the time in vain. Linux tells in which state the connection is (proc(5)).
"""

import os

#: Time for the third packet of an attempt to be answered: Linux sends them after 0, 1 and 3 s.
KNOCKING_SECONDS = 4.5

_SYN_SENT = "02"


def knocks_in_vain(pid: int) -> bool:
    """Whether a connection of this process has not been answered yet. False where the system does not tell."""
    try:
        own = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        return any(f"socket:[{inode}]" in own for inode in _unanswered(pid))
    except OSError:
        return False


def _unanswered(pid: int) -> list[str]:
    """The inodes of all connections that were not answered, in that process's network."""
    inodes = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as lines:
            rows = [line.split() for line in lines]
        inodes += [row[9] for row in rows if row[3] == _SYN_SENT]
    return inodes
