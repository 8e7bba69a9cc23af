"""Who restores from a backup just now: a small file beside the backups, which its owner writes anew every minute.

The lock of a cluster is in the folder of its topology file, and two folders of two machines do not see each other's.
So a restore says in the archive itself what it reads. One that was killed says nothing any more, and after a while its
file counts no longer; the time is told by the clock of the archive's host alone.
"""

import json
import posixpath
from collections.abc import Collection
from datetime import datetime

from pgtandem.model.backup import Reader
from pgtandem.ports import Host, LockHolder

_PREFIX = ".in-use."
_MINUTES = 15


def reader_file(folder: str, token: str) -> str:
    """In the folder of a cluster's backups."""
    return posixpath.join(folder, f"{_PREFIX}{token}")


def render_reader(holder: LockHolder | None, command: str, labels: tuple[str, ...]) -> bytes:
    who = f"the {command}"
    if holder is not None:
        since = datetime.fromtimestamp(holder.since).strftime("%Y-%m-%d %H:%M:%S")
        who += f" by {holder.account} on host {holder.machine} (process {holder.pid}, since {since})"
    return json.dumps({"who": who, "labels": labels}).encode() + b"\n"


async def observe_readers(host: Host, folder: str, names: Collection[str]) -> list[Reader]:
    """Those of them that were written lately; `names` is what is in the folder. Raises HostFailure."""
    files = [name for name in names if name.startswith(_PREFIX)]
    if not files:
        return []
    # What cannot be told is taken for living: to remove a backup can wait.
    old = await host.look(["find", folder, "-maxdepth", "1", "-name", f"{_PREFIX}*", "-mmin", f"+{_MINUTES}"])
    gone = {posixpath.basename(path) for path in old.text.splitlines()}
    found = []
    for name in files:
        text = None if name in gone else await host.read_file(posixpath.join(folder, name))
        try:
            value = json.loads(text or b"")
            found.append(Reader(str(value["who"]), tuple(map(str, value["labels"]))))
        except (ValueError, TypeError, KeyError):
            continue  # it went, or was never one of ours
    return found


async def remove_old_readers(host: Host, folder: str) -> None:
    """The files of those that were killed. Raises what `Host.run` raises."""
    rule = ["-type", "f", "-mmin", f"+{4 * _MINUTES}", "-exec", "rm", "-f", "{}", "+"]
    await host.run(["find", folder, "-maxdepth", "1", "-name", f"{_PREFIX}*", *rule])
