"""What a step says of a copy that used what was there: "2.2 MB of 296.4 MB were sent, the rest was here"."""

import re

_UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_PARTS = re.compile(
    r"([\d.]+) (\w+) of ([\d.]+) (\w+) were (?:sent|written)(?: and written into the old data)?, "
    "the rest was here with the same content"
)


def sizes_said(said: str) -> tuple[float, float]:
    """How many bytes were sent or written, and of how many. Raises ValueError where nothing is said of it."""
    found = _PARTS.search(" ".join(said.split()))
    if found is None:
        raise ValueError(said)
    return float(found[1]) * _UNITS[found[2]], float(found[3]) * _UNITS[found[4]]
