"""Standbys that can never catch up: WAL that they need is neither on their upstream nor in the archive any more.

Only what is certain counts. Where a fact is missing, or WAL may still come (the primary has it and will archive it),
the standby is started and waited for, and its own log says if that was in vain.
"""

from pgtandem.model.archived import Runs
from pgtandem.model.facts import Absent, Known
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ControlData, ObservedNode
from pgtandem.model.server import Server
from pgtandem.model.value import dataclass
from pgtandem.plan.desired import Wish
from pgtandem.postgres.segments import first_missing, segment_name, segment_of


@dataclass(frozen=True, slots=True)
class Gap:
    """The first WAL segment that a standby needs and cannot get, and whether a new copy may take the place of its data
    directory: that is so where the primary surely has everything that the standby has."""

    segment: str
    why: str
    replaceable: bool


def gaps(wish: Wish) -> dict[NodeName, Gap]:
    """The standbys that can never catch up, from the top of the cascade down."""
    found: dict[NodeName, Gap] = {}
    pending = [wish.primary]
    while pending:
        upstream = pending.pop(0)
        for name in wish.topology.standbys_of(upstream, wish.primary):
            gap = _gap(wish, name, upstream, found)
            if gap is not None:
                found[name] = gap
            pending.append(name)
    return found


def _gap(wish: Wish, name: NodeName, upstream: NodeName, above: dict[NodeName, Gap]) -> Gap | None:
    node, primary = wish.seen(name), wish.seen(wish.primary).running
    control = node.control
    if control is None or primary is None or primary.in_recovery:
        return None
    size = control.wal_segment_bytes
    needed = _needed(node, control)
    begins = _upstream_begins(wish, upstream, above, primary, size)
    archived = _archived(wish)
    if needed is None or begins is None or archived is None:
        return None
    if wish.topology.archive is not None:
        if primary.oldest_lsn is None:
            return None
        # The primary archives a segment before it removes it.
        begins = min(begins, segment_of(primary.oldest_lsn, size))
    missing = first_missing(needed, begins, archived)
    if missing is None:
        return None
    where = f"{upstream} has removed it"
    if upstream in above or isinstance(wish.seen(upstream).data, Absent):
        where = f"{upstream} will not have it, since it is copied anew"
    archive = "is not in the archive" if wish.topology.archive is not None else "there is no WAL archive"
    return Gap(
        segment_name(control.timeline, missing, size),
        f"{where}, and {'it ' if archive.startswith('is') else ''}{archive}.",
        _replaceable(wish, node, control, primary),
    )


def _needed(node: ObservedNode, control: ControlData) -> int | None:
    """The number of the first segment that a standby surely has to get, None where that is not known.

    A running one that has asked its upstream shows where it asked from; the request begins with the segment in which
    its own WAL ends. Of a stopped one only the files tell, and the last of them may be whole: then it needs the next.
    """
    own = node.wal.value.last_segment if isinstance(node.wal, Known) else None
    server = node.running
    if server is not None and server.receive_lsn is not None and not server.replay_paused:
        position = max(server.receive_lsn, server.replay_lsn or server.receive_lsn)
        return max(segment_of(position, control.wal_segment_bytes), own or 0)
    return None if own is None else own + 1


def _upstream_begins(
    wish: Wish, upstream: NodeName, above: dict[NodeName, Gap], primary: Server, size: int
) -> int | None:
    """The number of the first segment that the upstream has, or will have once it is copied from the primary: a base
    backup brings WAL from its own checkpoint on."""
    if upstream not in above and not isinstance(wish.seen(upstream).data, Absent):
        server = wish.seen(upstream).running
        return segment_of(server.oldest_lsn, size) if server is not None and server.oldest_lsn is not None else None
    if wish.upstream(upstream) != wish.primary or primary.current_lsn is None:
        return None
    return segment_of(primary.current_lsn, size)


def _archived(wish: Wish) -> Runs | None:
    """What the archive has; None where that is not known."""
    if wish.topology.foreign_archive is not None:
        return None
    if wish.topology.archive is None:
        return ()
    archive = wish.observed.archive
    if isinstance(archive, Absent):
        return ()
    if not isinstance(archive, Known) or not isinstance(archive.value.segments, Known):
        return None
    return archive.value.segments.value


def _replaceable(wish: Wish, node: ObservedNode, control: ControlData, primary: Server) -> bool:
    """Its directory was never anything but a standby of this primary: the same cluster, the same timeline, and its WAL
    ends before WAL that the primary has removed already. That it carries the marker was looked at before."""
    data = node.directory
    return (
        data is not None
        and data.marker is not None
        and data.standby_signal
        and control.was_standby
        and control.system_identifier == primary.system_identifier
        and control.timeline == primary.timeline
        and (node.running is None or node.running.in_recovery)
    )
