"""Where WAL is: in a standby's own pg_wal, and in the archive. Only looked at for standbys that do not stream.

And which timelines the archive knows above the primary's: a server that starts as a standby follows the latest.
"""

import posixpath
from collections.abc import Sequence

from pgtandem.model.archived import Runs
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.observed import ControlData, LocalWal
from pgtandem.model.topology import Archive
from pgtandem.ports import Host, HostFailure, HostUnreachable
from pgtandem.postgres.archive_content import wal_name
from pgtandem.postgres.segments import HEADER_BYTES, holds_its_segment, runs_of, segment_number
from pgtandem.postgres.stream_scripts import STREAMED

#: A server prepares hardly more segments than this ahead.
_MOST_FILES = 1000


async def observe_local_wal(host: Host, directory: str, control: ControlData) -> Fact[LocalWal]:
    """Up to which segment a data directory has WAL of its own; Absent where it has none."""
    folder, size = posixpath.join(directory, "pg_wal"), control.wal_segment_bytes
    try:
        names = await host.list_directory(folder) or ()
        numbered = [(number, name) for name in names if (number := segment_number(name, size)) is not None]
        newest = sorted(numbered)[-_MOST_FILES:]
        if not newest:
            return ABSENT
        paths = [posixpath.join(folder, name) for _, name in newest]
        done = await host.run(["head", "-q", "-c", str(HEADER_BYTES), *paths], deadline_seconds=30)
    except (HostFailure, HostUnreachable) as failure:
        return Unknown(f"{failure.what}: {failure.why}")
    heads = done.stdout
    if done.exit_code or len(heads) != HEADER_BYTES * len(newest):
        # A running server may have renamed one meanwhile.
        return Unknown(f"the WAL in {folder} could not be read: {done.complaint}")
    held = [
        number
        for place, (number, _) in enumerate(newest)
        if holds_its_segment(heads[place * HEADER_BYTES : (place + 1) * HEADER_BYTES], number, size)
    ]
    return Known(LocalWal(max(held))) if held else ABSENT


async def observe_archived(
    hosts: Sequence[Host], archive: Archive, system_identifier: str, segment_bytes: int
) -> Fact[Runs]:
    """The segments that the archive has of a cluster, by number; a standby asks all hosts that have a part of it."""
    names: set[str] = set()
    try:
        for host in hosts:
            folder = posixpath.join(archive.directory, system_identifier)
            names.update(await host.list_directory(folder) or ())
            if archive.stream:
                names.update(await host.list_directory(posixpath.join(folder, STREAMED)) or ())
    except (HostFailure, HostUnreachable) as failure:
        return Unknown(f"{failure.what}: {failure.why}")
    stored = (found[0] for name in names if (found := wal_name(name)))
    numbers = (segment_number(name, segment_bytes) for name in stored)
    return Known(runs_of(number for number in numbers if number is not None))


async def observe_newer(
    hosts: Sequence[Host], archive: Archive, system_identifier: str, timeline: int
) -> tuple[int, ...] | Unknown:
    """The timelines above this one that have a history file in the archive, up to the first that has none: a server
    looks for the latest in the same way (findNewestTimeLine), so that what comes after a gap is nobody's danger."""
    folder, newer = posixpath.join(archive.directory, system_identifier), timeline + 1

    def places(name: str) -> tuple[str, ...]:
        return (posixpath.join(folder, name), *((posixpath.join(folder, STREAMED, name),) if archive.stream else ()))

    try:
        while any([await host.read_file(path) for host in hosts for path in places(f"{newer:08X}.history")]):
            newer += 1
    except (HostFailure, HostUnreachable) as failure:
        return Unknown(f"{failure.what}: {failure.why}")
    return tuple(range(timeline + 1, newer))
