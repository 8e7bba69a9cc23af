"""What pg_waldump shows of a part of the WAL. It ends with an error wherever the WAL ends."""

import re
from datetime import datetime

from pgtandem.model.beyond import Beyond
from pgtandem.model.facts import Unknown
from pgtandem.model.lsn import Lsn

#: Only what ends a transaction: of all records a line each would be too much to read.
ONLY_TRANSACTIONS = ("-r", "Transaction")

_RECORD = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+)")
#: Where a commit begins, and how long its record is.
_COMMITTED = re.compile(r"rec/tot\): *\d+/ *(\d+),.* lsn: ([0-9A-F]+/[0-9A-F]+),.* desc: COMMIT\b")
_COMMIT = re.compile(r"desc: COMMIT\b(?: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?))?")
#: The last record that it has read, where what follows is none.
_ENDED = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)")
#: What it says where there is not one record behind the position that it was given.
_NOTHING = ("could not find a valid record after", "first record is after")


def read_beyond(shown: str, complaint: str, since: Lsn) -> Beyond | Unknown:
    """How many transactions were committed after `since`, and how many bytes of WAL were written up to the last of
    them (behind that, a shutdown may fill a whole segment with nothing), as far as it was read. `complaint` is what
    pg_waldump ended with."""
    ends = [*_RECORD.findall(shown), *_ENDED.findall(complaint)]
    if not ends:
        if not complaint or any(words in complaint for words in _NOTHING):
            return Beyond(since, 0, 0)
        said = complaint.splitlines()[-1].removeprefix("pg_waldump: ").removeprefix("error: ").rstrip(".")
        return Unknown(f"what was committed after {since} cannot be told from it ({said})")
    commits = _COMMIT.findall(shown)
    times = [datetime.fromisoformat(text) for text in commits if text]
    seconds = (max(times) - min(times)).total_seconds() if len(times) > 1 else None
    committed = [Lsn.parse(at) - since + int(length) for length, at in _COMMITTED.findall(shown)]
    return Beyond(since, len(commits), max(committed or [Lsn.parse(ends[-1]) - since, 0]), seconds)


def committed_in_words(shown: str, complaint: str, since: Lsn) -> str:
    found = read_beyond(shown, complaint, since)
    return found.reason if isinstance(found, Unknown) else str(found)
