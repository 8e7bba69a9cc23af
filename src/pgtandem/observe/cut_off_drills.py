"""What a restore drill left that was killed: a folder, a half-made one, or a whole server that goes on running."""

import posixpath
from collections.abc import Sequence

from pgtandem.model.facts import Known
from pgtandem.model.topology import Node
from pgtandem.observe.directory import observe_postmaster
from pgtandem.observe.paths import is_leftover
from pgtandem.plan.recovery import RESTORE_FILE, is_drills
from pgtandem.plan.restored_places import DRILL_NOTE, drill_directory
from pgtandem.ports import Host, Workspace


async def observe_cut_off_drills(
    host: Host, beside: Sequence[str], node: Node, workspace: Workspace
) -> tuple[tuple[str, bool], ...]:
    """Each folder in the drill's own place, and where a note there leads, and whether a server runs in it; none while a
    drill is at work. `beside` is what stands in the folder of the node's data directory: most times that is all there
    is to look at."""
    directory = drill_directory(node)
    own = posixpath.basename(directory)
    names = [name for name in beside if name.startswith(own)]
    holder = workspace.lock_holder() if names else None
    if not names or (holder is not None and holder.command == "drill"):
        return ()
    found = await _in(host, directory, names)
    parent = posixpath.dirname(directory)
    for name in names:
        if name.startswith(own + DRILL_NOTE):
            text = await host.read_file(posixpath.join(parent, name)) or b""
            there = text.decode("utf-8", "surrogateescape").strip()
            if there.startswith("/"):
                found += await _in(host, there, await host.list_directory(posixpath.dirname(there)) or ())
    return tuple(found)


async def _in(host: Host, directory: str, names: Sequence[str]) -> list[tuple[str, bool]]:
    """That folder and half-made ones of it, of the names that are beside it."""
    parent, own = posixpath.split(directory)
    found = []
    for name in names:
        if name != own and not is_leftover(name, directory):
            continue
        path = posixpath.join(parent, name)
        if name == own:
            note = await host.read_file(posixpath.join(path, RESTORE_FILE)) or b""
            if not is_drills(note.decode(errors="replace")):
                continue
        found.append((path, isinstance(await observe_postmaster(host, path), Known)))
    return found
