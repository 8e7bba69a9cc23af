"""The commonest archive commands of others: where they put segments, and the tools whose commands they are."""

import posixpath
import re

from pgtandem.errors import PgtandemError
from pgtandem.model.topology import ForeignArchive
from pgtandem.model.value import dataclass

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


@dataclass(frozen=True, slots=True)
class ArchiveTool:
    """A program that keeps WAL archives: what its archive_command says, what says the restore_command that belongs to
    it, and by which commands it looks at its archive, takes a base backup, restores one, lists them, checks them and
    removes what is not kept."""

    name: str
    program: str
    archives: str
    restores: str
    checks: str
    backs_up: str
    brings_back: str
    lists: str
    verifies: str
    prunes: str


_TOOLS = (
    ArchiveTool(
        *("pgBackRest", "pgbackrest", "archive-push", "archive-get %f"),
        *("pgbackrest check", "pgbackrest backup", "pgbackrest restore", "pgbackrest info", "pgbackrest verify"),
        "pgbackrest expire",
    ),
    ArchiveTool(
        *("Barman", "barman-wal-archive", "barman-wal-archive", "barman-wal-restore"),
        *("barman check", "barman backup", "barman recover", "barman list-backups", "barman verify-backup"),
        "barman cron",
    ),
    ArchiveTool(
        *("WAL-G", "wal-g", "wal-push", "wal-fetch %f"),
        *("wal-g wal-verify integrity", "wal-g backup-push", "wal-g backup-fetch", "wal-g backup-list"),
        *("wal-g wal-verify integrity", "wal-g delete"),
    ),
)


def find_tool(command: str) -> ArchiveTool | None:
    """Whose archive_command it is; None where it is none of theirs, or another kind of command around one of them,
    which says nothing of what is archived ("... || true")."""
    words = command.split()
    if "%p" not in command or any(sign in command for sign in ("|", ";", "&&")):
        return None
    programs = {posixpath.basename(word) for word in words}
    return next((tool for tool in _TOOLS if tool.program in programs and tool.archives in command), None)


def keeper_of(archive: ForeignArchive) -> str:
    """Who keeps an archive, as people call it: the tool, or the program that archives."""
    tool = find_tool(archive.command)
    return tool.name if tool else archive.program


def tool_restore_command(command: str) -> str | None:
    """The restore_command with the same options as this archive_command of a tool; None where it is no tool's."""
    tool = find_tool(command)
    if tool is None:
        return None
    text = command.replace(tool.archives, tool.restores)
    return text if "%f" in text else text.replace("%p", "%f %p")


def not_ours(cluster: str, archive: ForeignArchive, wish: str) -> PgtandemError:
    """What is refused because another tool keeps the archive. `wish` is what was asked for: "check", "back up",
    "restore", "list", "verify" or "prune"."""
    tool, keeper = find_tool(archive.command), keeper_of(archive)
    by_wish = {"check": tool.checks, "back up": tool.backs_up, "restore": tool.brings_back} if tool else {}
    by_wish |= {"list": tool.lists, "verify": tool.verifies, "prune": tool.prunes} if tool else {}
    return PgtandemError(
        "PT-3071",
        f"the archive of cluster {cluster} is kept by {keeper}",
        why="What it holds, base backups among it, only that tool knows: it has commands of its own for that.",
        next_step=by_wish.get(wish, f"ask {keeper}"),
    )
