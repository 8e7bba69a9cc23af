"""What a running primary has written and the archive has not: it gets there when the segment that it is in is finished.

Somebody who asks for a moment of some minutes ago means the rows that were there; that they stand in a segment which is
not full yet is nothing that one should have to know.
"""

from pgtandem.model.facts import Known
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.restore import Interval, Target, TargetKind
from pgtandem.model.server import Server
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.intervals import latest_timeline
from pgtandem.postgres.segments import segment_name


@dataclass(frozen=True, slots=True)
class NotArchived:
    """WAL that `node` has, up to `end` on `timeline`, and that the archive lacks: that ends at `archived_to`. `failing`
    where the archive does not take it now."""

    node: NodeName
    timeline: Timeline
    archived_to: Lsn
    end: Lsn
    segment_bytes: int
    failing: bool = False


def not_archived(
    observed: Observed, found: tuple[Interval, ...], target: Target, timeline: Timeline | None
) -> NotArchived | None:
    """What would have to be archived before this target can be restored to, or belongs to the latest that there is;
    None where it is not that. `found` is what can be restored, and does not lead there; `timeline` is the one that was
    asked for, if any."""
    wished = latest_timeline(found)
    on_it = [each for each in found if each.timeline == wished]
    primaries = observed.primaries()
    if not on_it or len(primaries) != 1:
        return None
    last = max(on_it, key=lambda each: each.end)
    server = observed.nodes[primaries[0]].running
    if server is None or timeline not in (None, server.timeline) or not _begins_there(server, last):
        return None
    if server.current_lsn is None or server.current_lsn <= last.end:
        return None
    if last.hole or server.archiver is None or _is_elsewhere(target, last, server):
        return None
    failing = server.archiver.failing
    if failing and target.kind is not TargetKind.LATEST:
        return None  # nothing gets there before that is mended
    return NotArchived(primaries[0], server.timeline, last.end, server.current_lsn, last.backup.segment_bytes, failing)


def _begins_there(server: Server, last: Interval) -> bool:
    """Whether the segment that the primary is to finish first is what follows in the archive. After a promotion the
    archive has nothing of the new timeline at first: that begins in the segment in which the one before was left."""
    if server.timeline == last.timeline:
        return True
    if not server.history or server.history[-1].timeline != last.timeline:
        return False
    left, size = server.history[-1].at.position, last.backup.segment_bytes
    return left // size * size <= last.end.position <= left


def _is_elsewhere(target: Target, last: Interval, server: Server) -> bool:
    """Whether it is not between the end of what is archived and what the primary has written."""
    if target.lsn is not None:
        return server.current_lsn is None or not last.end <= target.lsn <= server.current_lsn
    if target.moment is not None:
        return target.moment <= _written_until(last, server)
    return False


def _written_until(last: Interval, server: Server) -> float:
    """When the end of what is archived was written, at the latest. The archive knows when it got it: that may be much
    later, where it had been out of reach."""
    archived, size = server.archiver, last.backup.segment_bytes
    in_archive = last.end_time or last.backup.ended
    if archived is None or archived.last_archived_wal is None or archived.last_archived_ready is None:
        return in_archive
    ends_in = segment_name(last.timeline, max(last.end.position - 1, 0) // size, size)
    its_last = archived.last_archived_wal[: len(ends_in)] == ends_in
    return min(in_archive, archived.last_archived_ready) if its_last else in_archive


def plan_finish_segment(topology: Topology, observed: Observed, wal: NotArchived) -> Plan:
    """The plan that brings this WAL into the archive; empty once it is there, or where that is not the primary now."""
    node = observed.nodes[wal.node]
    server = node.running
    if server is None or server.in_recovery or server.timeline != wal.timeline or server.archiver is None:
        return Plan(primary=None, steps=())
    # Of one timeline, names are in the order of what they hold; that of a backup's note begins like its segment's.
    wanted = segment_name(wal.timeline, max(wal.end.position - 1, 0) // wal.segment_bytes, wal.segment_bytes)
    last = (server.archiver.last_archived_wal or "")[:24]
    if last[:8] == wanted[:8] and last >= wanted:
        return Plan(primary=None, steps=())
    step = Step(
        "archive.newer",
        StepKind.ARCHIVE_NEWER,
        wal.node,
        "finish one WAL segment and see it in the archive",
        "What was asked for is in a segment that is not full yet.",
        Risk.READ,
        expects=(Condition("is_primary", wal.node),),
        programs=node.programs.value.directory if isinstance(node.programs, Known) else "",
    )
    return Plan(primary=None, steps=(step,))
