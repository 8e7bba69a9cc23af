"""How long moving data takes, in words that promise nothing: what is known is the size, and the rate is assumed."""

from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Server

#: What a gigabit network carries: slower than most disks, faster than some clouds.
_ASSUMED_BYTES_PER_SECOND = 100e6


def copy_takes(server: Server) -> str:
    """A base backup of a server."""
    seconds = server.size_bytes / _ASSUMED_BYTES_PER_SECOND
    return f"a copy of {size(server.size_bytes)} takes about {_duration(seconds)} at 100 MB/s, which are assumed"


def rewind_takes(server: Server, name: NodeName, since: Lsn | None) -> str:
    """A rewind against `server`, the primary `name`, of a node that parted from it at `since`."""
    written = ""
    if since is not None and server.current_lsn is not None:
        written = f" ({name} has written {size(max(server.current_lsn - since, 0))} of WAL since)"
    return f"that depends on how many pages have changed since then{written}; {copy_takes(server)}"


def size(count: int) -> str:
    for unit, amount in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= amount:
            return f"{count / amount:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
