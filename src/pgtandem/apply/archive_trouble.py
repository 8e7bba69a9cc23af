"""Why WAL did not get into the archive: what the archive command said, and how much room there is."""

import re
from collections.abc import Sequence

from pgtandem.apply.context import Context
from pgtandem.errors import is_full
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.observe.archive_folder import observe_archive_folder
from pgtandem.plan.archive_room import archive_room, make_room

#: How urgent the server's own lines are.
_OF_THE_SERVER = re.compile(r"\b[A-Z]+[0-9]?:  ")
_RAISED = re.compile(r"[\w.]+(?:Error|Exception)\b")


async def why_not_archived(
    context: Context, name: NodeName, said_before: list[str], *, failed: bool
) -> tuple[str, str]:
    """Why ("" where nothing tells), and what to do about it, without what comes afterwards. `said_before` are the lines
    of the server's log from before it was tried (`Context.log_lines`); `failed` says that the server has counted a
    failure since."""
    lines = await context.log_since(name, said_before)
    hangs = not failed and seems_to_hang(lines)
    said = "" if hangs else "\n".join(by_the_command(lines)) or await context.log_tail(name)
    why, does = f"The log of {name} says:\n{said}" if said else "", "mend what the log names"
    if hangs:
        why = (
            f"The archive command of {name} has neither ended nor failed, and the log has nothing of it: it hangs, or "
        )
        why += "what waits before it takes long. The server runs it, and no other, until it ends."
        does = "see what it waits for (ps -ef --forest, below the archiver); a changed command runs once that is ended"
    seen = Observed({}, archive=await observe_archive_folder(context.topology, context.world))
    room = archive_room(context.topology, seen)
    if room is not None and (room.segments == 0 or (is_full(said) and room.scarce)):
        return f"{why}\nThe archive's disk has {room}.".strip(), f"make room: {make_room(context.topology)}"
    if is_full(said):
        does = "make room on the archive's disk (df, df -i for the number of files, and quotas)"
    return why, does


def seems_to_hang(lines: Sequence[str]) -> bool:
    """Whether a server's log since the command was tried has nothing of it: one that is not found, or is ended by a
    signal, is not counted as failed either."""
    return not by_the_command(lines) and not any("archive command" in line for line in lines)


def by_the_command(lines: Sequence[str]) -> list[str]:
    """What the archive command said itself, of a server's log. What Python has to say at its end of what it could not
    tidy up (barman-wal-archive, whose other end is gone) hides what a tool has said."""
    said, ignored = [], False
    for line in lines:
        ignored = ignored or line.lstrip().startswith("Exception ignored in")
        if not ignored and not _OF_THE_SERVER.search(line):
            said.append(line)
        ignored = ignored and not _RAISED.match(line)
    return list(dict.fromkeys(said))[-4:]
