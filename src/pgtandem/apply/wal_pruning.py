"""Old WAL is taken out of the archive. What may go is for others to say: here nothing behind that ever goes."""

import posixpath

from pgtandem.model.topology import Topology
from pgtandem.observe.archived import archive_folder
from pgtandem.ports import HostFailure, World
from pgtandem.postgres.archive_content import CHECKSUMS, prunable, prunable_checksums
from pgtandem.postgres.stream_scripts import STREAMED

_REMOVE = 'cd "$1" && while read -r name; do rm -f -- "$name" || exit 1; done && sync .'
_SECONDS = 600.0


async def remove_wal_before(topology: Topology, world: World, system: str, first: int, segment_bytes: int) -> int:
    """Removes the WAL before the segment of number `first` from the archive, on every host of it, oldest first, and the
    checksums that are of nothing else. Returns how many files went. History files stay.

    Safe to repeat, and to stop anywhere: what is left is older than anything that is needed. Raises HostFailure,
    HostUnreachable and CommandTimeout.
    """
    archive, count = topology.archive, 0
    if archive is None:
        return 0
    folder = archive_folder(archive, system)
    for address in topology.archive_hosts:
        host = world.host(address)
        stored = await host.list_directory(folder)
        if stored is None:
            continue
        streamed = await host.list_directory(posixpath.join(folder, STREAMED)) or ()
        groups = await host.list_directory(posixpath.join(folder, CHECKSUMS)) or ()
        for place, names in (
            (folder, prunable(stored, first, segment_bytes)),
            (posixpath.join(folder, STREAMED), prunable(streamed, first, segment_bytes)),
            (posixpath.join(folder, CHECKSUMS), prunable_checksums(groups, first, segment_bytes)),
        ):
            if names:
                text = "".join(f"{name}\n" for name in names).encode()
                done = await host.run(["sh", "-c", _REMOVE, "sh", place], stdin=text, deadline_seconds=_SECONDS)
                if done.exit_code:
                    raise HostFailure(host.name, f"could not remove old WAL in {place}", done.complaint)
        count += len(prunable((*stored, *streamed), first, segment_bytes))
    return count
