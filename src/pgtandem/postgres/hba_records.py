"""Records of pg_hba.conf that are not pgtandem's: those for replication, found and changed where a plan says so.

A record is a line; one that is continued on the next line (a backslash at its end, from 14 on) is left alone.
"""

from collections.abc import Collection, Iterator

from pgtandem.postgres.hba import BEGIN, END

TAKEN_OUT = "# taken out by pgtandem: "


def records_for(text: str, users: Collection[str]) -> tuple[str, ...]:
    """The records for replication that let in nobody but these users."""
    return tuple(line for line in _records(text) if _is_for(line, users))


def md5_records(text: str, but: Collection[str] = ()) -> tuple[str, ...]:
    """The records for replication that ask for MD5, without those that are for the users of `but` alone."""
    return tuple(line for line in _records(text) if _asks_md5(line) and not _is_for(line, but))


def without_records(text: str, users: Collection[str]) -> str:
    """The file with the records of `records_for` as comments."""
    out = set(records_for(text, users))
    return "".join(TAKEN_OUT + line if line.rstrip("\r\n") in out else line for line in text.splitlines(keepends=True))


def with_scram(text: str) -> str:
    """The file with SCRAM in place of MD5 in the records of `md5_records`."""
    changed = set(md5_records(text))
    lines = []
    for line in text.splitlines(keepends=True):
        if line.rstrip("\r\n") in changed:
            words, before = _words(line), line
            head, _, tail = before.rpartition(words[-1])
            line = f"{head}scram-sha-256{tail}"
        lines.append(line)
    return "".join(lines)


def _records(text: str) -> Iterator[str]:
    """Lines outside of pgtandem's block, without their line breaks."""
    before, _, after = text.partition(BEGIN + "\n")
    continued = False
    for line in (before + after.partition(END)[2] if END in after else text).splitlines():
        whole, continued = not continued and not line.endswith("\\"), line.endswith("\\")
        if whole and _words(line):
            yield line


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _is_for(line: str, users: Collection[str]) -> bool:
    words = _words(line)
    if len(words) < 4 or words[1] != "replication":
        return False
    named = [user.strip('"') for user in words[2].split(",")]
    return all(user in users for user in named)


def _asks_md5(line: str) -> bool:
    words = _words(line)
    return len(words) >= 4 and "replication" in words[1].split(",") and words[-1] == "md5"
