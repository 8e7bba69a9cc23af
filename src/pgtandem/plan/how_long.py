"""How long moving data takes, in words that promise nothing: what is known is the size, and the rate is assumed."""

from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.server import Server
from pgtandem.model.words import duration_in_words, size_in_words

#: What a gigabit network carries: slower than most disks, faster than some clouds.
_ASSUMED_BYTES_PER_SECOND = 100e6


def copy_takes(server: Server, limit: int | None) -> str:
    """A base backup of a server, which may take so many bytes per second."""
    rate, which = _ASSUMED_BYTES_PER_SECOND, "100 MB/s, which are assumed"
    if limit is not None and limit < rate:
        rate, which = limit, "the rate of replication.max_copy_rate"
    size, time = size_in_words(server.size_bytes), duration_in_words(max(server.size_bytes / rate, 1))
    return f"a copy of {size} takes about {time} at {which}"


def rewind_takes(server: Server, name: NodeName, since: Lsn | None, limit: int | None) -> str:
    """A rewind against `server`, the primary `name`, of a node that parted from it at `since`."""
    written = ""
    if since is not None and server.current_lsn is not None:
        written = f" ({name} has written {size_in_words(max(server.current_lsn - since, 0))} of WAL since)"
    return f"that depends on how many pages have changed since then{written}; {copy_takes(server, limit)}"
