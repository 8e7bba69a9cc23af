"""What pg_waldump shows of a part of the WAL, in words. It ends with an error wherever the WAL ends."""

import re

from pgtandem.model.lsn import Lsn

_RECORD = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+)")
_COMMIT = re.compile(r"desc: COMMIT\b")
#: What it says where there is not one record behind the position that it was given.
_NOTHING = ("could not find a valid record after", "first record is after")


def committed_in_words(shown: str, complaint: str, since: Lsn) -> str:
    """How many transactions were committed after `since`, and how many bytes of WAL were written, as far as it was
    read. `complaint` is what pg_waldump ended with."""
    ends = _RECORD.findall(shown)
    if not ends:
        if not complaint or any(words in complaint for words in _NOTHING):
            return f"no transaction was committed after {since}"
        said = complaint.splitlines()[-1].removeprefix("pg_waldump: ").removeprefix("error: ").rstrip(".")
        return f"what was committed after {since} cannot be told from it ({said})"
    commits, written = len(_COMMIT.findall(shown)), max(Lsn.parse(ends[-1]) - since, 0)
    return f"{commits} transactions were committed after {since}, about {written} bytes of WAL"
