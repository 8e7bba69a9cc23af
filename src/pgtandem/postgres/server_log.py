"""What a server's log says, where no view tells it."""

import re
from collections.abc import Iterable

_REMOVED = re.compile(r"requested WAL segment ([0-9A-F]{24}) has already been removed")
_RESTORED = "restored log file"
#: How a program complains on stderr: its name first (lz4 a number of its own). The server's own lines have two spaces
#: behind the colon, and what goes on over several lines (a statement, with whatever stands in it) is indented.
_COMPLAINT = re.compile(r"(?:[\w./@-]+|Error \d+ ): (?! )")
_OF_A_RESTORE = ("restore-wal: ", "fetch-wal: ")


def said_by_the_archive_command(lines: Iterable[str]) -> str:
    """The last two complaints of programs in these lines, which are those of the archive command where that is what
    fails now; "" where there are none."""
    found = [line for line in lines if _COMPLAINT.match(line) and not line.startswith(_OF_A_RESTORE)]
    return "; ".join(list(dict.fromkeys(found[-2:])))


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
