"""The commonest archive commands of others: where they put segments, and the tools whose commands they are."""

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


#: What a tool's archive_command says, and what says the restore_command that belongs to it.
_TOOLS = (
    ("pgBackRest", "pgbackrest", "archive-push", "archive-get %f"),
    ("Barman", "barman-wal-archive", "barman-wal-archive", "barman-wal-restore"),
    ("WAL-G", "wal-g", "wal-push", "wal-fetch %f"),
)


def archive_tool(command: str) -> str | None:
    """Whose archive_command it is: pgBackRest, Barman or WAL-G; None where it is none of theirs, or another kind of
    command around one of them, which says nothing of what is archived ("... || true")."""
    words = command.split()
    if "%p" not in command or any(sign in command for sign in ("|", ";", "&&")):
        return None
    programs = {posixpath.basename(word) for word in words}
    return next((tool for tool, program, verb, _ in _TOOLS if program in programs and verb in command), None)


def tool_restore_command(command: str) -> str | None:
    """The restore_command with the same options as this archive_command of a tool; None where it is no tool's."""
    for tool, _, verb, restore in _TOOLS:
        if archive_tool(command) == tool:
            text = command.replace(verb, restore)
            return text if "%f" in text else text.replace("%p", "%f %p")
    return None
