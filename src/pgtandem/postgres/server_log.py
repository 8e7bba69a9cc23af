"""What a server's log says, where no view tells it."""

import re
from collections.abc import Iterable

_REMOVED = re.compile(r"requested WAL segment ([0-9A-F]{24}) has already been removed")
_RESTORED = "restored log file"


def segment_asked_in_vain(lines: Iterable[str]) -> str | None:
    """The WAL segment that a standby has asked its upstream for twice in these lines, and was told that it is removed;
    None where it is not so.

    Between two requests it tries the archive (manual, 26.2.2): what it got from there is not in vain.
    """
    asked = None
    for line in lines:
        match = _REMOVED.search(line)
        if match and match.group(1) == asked:
            return asked
        if match:
            asked = match.group(1)
        elif _RESTORED in line:
            asked = None
    return None
