"""Where things of a node are that stand beside its data directory."""

import posixpath

from pgtandem.model.observed import LEFTOVER_MARK, REWOUND_MARK

REPLACED_MARK = ".pgtandem-old."
MERGE_MARK = ".pgtandem-merge."


def log_file(data_directory: str) -> str:
    """What the server writes to stderr."""
    return data_directory + ".log"


def staging_directory(data_directory: str, token: str) -> str:
    """Where a data directory is made before it gets its name, in one rename, whole."""
    return f"{data_directory}{LEFTOVER_MARK}{token}"


def is_leftover(name: str, data_directory: str) -> bool:
    """Whether a name beside a data directory is a half-made copy of it."""
    return name.startswith(posixpath.basename(data_directory) + LEFTOVER_MARK)


def rewinding_directory(data_directory: str, token: str) -> str:
    """Where a data directory is while pg_rewind is at work in it: it is a half-made copy from then on."""
    return f"{data_directory}{REWOUND_MARK}{token}"


def replaced_directory(data_directory: str, token: str) -> str:
    """Where a data directory is kept that a new copy takes the place of, until that one streams."""
    return f"{data_directory}{REPLACED_MARK}{token}"


def is_replaced(name: str, data_directory: str) -> bool:
    """Whether a name beside a data directory is that of one which a new copy took the place of."""
    return name.startswith(posixpath.basename(data_directory) + REPLACED_MARK)


def merge_directory(data_directory: str, token: str) -> str:
    """What is received of a new copy that is written into the old data, from when it is whole. While the two are put
    together the data directory lies in it."""
    return f"{data_directory}{MERGE_MARK}{token}"


def is_merge(name: str, data_directory: str) -> bool:
    """Whether a name beside a data directory is that of such a folder."""
    return name.startswith(posixpath.basename(data_directory) + MERGE_MARK)


def diverged_directory(data_directory: str, timeline: int, since: str) -> str:
    """Where the WAL is kept that only this node had, from a position on; never removed by pgtandem."""
    return f"{data_directory}-diverged-{timeline}-{since.replace('/', '-') or 'all'}"
