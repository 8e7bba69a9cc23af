"""The commonest archive commands of others: where they put segments."""

import posixpath
import re

_TARGET = re.compile(r"""(?P<path>(?:[A-Za-z0-9_.@-]+:)?/[^\s"'|;&<>()]*)/%f""")


def archive_directory(command: str) -> str | None:
    """The folder on the server's own host that a command copies each segment to under its own name; None where that is
    not what it does, as far as can be seen (another host, a program of its own, a compressed file)."""
    found = {match["path"] for match in _TARGET.finditer(command) if not match.string[match.end() :][:1].isalnum()}
    suffixed = re.search(r"%f\.[A-Za-z0-9]+", command)
    if len(found) != 1 or suffixed or "%p" not in command or any(word in command for word in ("gzip", "|")):
        return None
    path = found.pop()
    return posixpath.normpath(path) if path.startswith("/") else None
