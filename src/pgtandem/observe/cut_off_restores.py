"""What a restore into a node's place left that was cut off, or any restore beside it while it unpacked."""

import posixpath
from collections.abc import Sequence

from pgtandem.model.facts import Absent, Fact, Known, value_or_none
from pgtandem.model.observed import LEFTOVER_MARK, CutOffRestore, DataDirectory
from pgtandem.model.topology import Node
from pgtandem.observe.directory import observe_postmaster
from pgtandem.plan.recovery import RESTORE_FILE, as_asked_for, in_place_of
from pgtandem.ports import Host, Workspace
from pgtandem.postgres.base_backup import TABLESPACE_MAP


async def observe_cut_off_restores(
    host: Host, beside: Sequence[str], node: Node, data: Fact[DataDirectory], workspace: Workspace
) -> tuple[CutOffRestore, ...]:
    """None while a restore is at work. `beside` is what stands in the folder of the node's data directory. What stands
    beside the node because somebody asked for that is none; where it was to take the node's place, its note says so."""
    parent, own = posixpath.split(node.data_directory)
    before = sorted(name for name in beside if name.startswith(f"{own}-before-restore-"))
    aside = posixpath.join(parent, before[-1]) if before else ""
    directory = value_or_none(data)
    note = directory.files.get(RESTORE_FILE) if directory is not None else None
    in_place = in_place_of(note, node.name)
    restored = [name for name in beside if name.startswith(f"{own}-restored-") and not name.endswith(".log")]
    if not in_place and not restored:
        return ()
    holder = workspace.lock_holder()
    if holder is not None and holder.command == "restore":
        return ()
    found = [CutOffRestore(as_asked_for(note), node.data_directory, aside, in_place=True)] if in_place else []
    for name in restored:
        path = posixpath.join(parent, name)
        if LEFTOVER_MARK in name:
            found.append(CutOffRestore("", path))
            continue
        text = (await host.read_file(posixpath.join(path, RESTORE_FILE)) or b"").decode(errors="replace")
        if in_place_of(text, node.name):
            runs = isinstance(await observe_postmaster(host, path), Known)
            # Between the two renames the node has no data at all.
            gone = bool(aside) and isinstance(data, Absent)
            places = await _own_places(host, path, name.removeprefix(own))
            found.append(
                CutOffRestore(as_asked_for(text), path, aside if gone else "", in_place=gone, runs=runs, places=places)
            )
    return tuple(found)


async def _own_places(host: Host, path: str, ending: str) -> tuple[str, ...]:
    """The folders of that ending to which its links lead, or will once its server has started: whatever else one could
    lead to is not the restore's."""
    names = await host.list_directory(posixpath.join(path, "pg_tblspc")) or ()
    links = ["pg_wal", *(posixpath.join("pg_tblspc", name) for name in names)]
    leads = [await host.read_link(posixpath.join(path, link)) or "" for link in links]
    wanted = (await host.read_file(posixpath.join(path, TABLESPACE_MAP)) or b"").decode(errors="replace")
    leads += [line.partition(" ")[2] for line in wanted.splitlines()]
    return tuple(sorted({place for place in leads if place.endswith(ending)}))
