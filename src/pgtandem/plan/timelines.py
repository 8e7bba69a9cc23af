"""Whether a node can simply follow the primary: its WAL must not go on where the primary's timeline left that one."""

from pgtandem.model.facts import Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.observed import ObservedNode
from pgtandem.model.server import Server
from pgtandem.model.value import dataclass
from pgtandem.plan.roles import timeline_of


@dataclass(frozen=True, slots=True)
class Parted:
    """A node's WAL goes beyond `at`, where the primary left `timeline` or, on its own timeline, has come to; `reached`
    is how far at least, None where the primary never was on that timeline."""

    timeline: int
    at: Lsn | None
    reached: Lsn | None


def parted(node: ObservedNode, primary: Server) -> Parted | Unknown | None:
    """How a node's WAL departs from the primary's; None where it does not, Unknown where that cannot be seen.

    The primary's history names the timelines that it came from, and where each was left.
    """
    timeline = timeline_of(node)
    if timeline == 0:
        return None
    if timeline == primary.timeline:
        return _ahead(node, primary)
    left = next((switch.at for switch in primary.history if switch.timeline == timeline), None)
    if left is None:
        return Parted(timeline, None, _reached(node))
    reached = _reached(node)
    if reached is None:
        return Unknown("the end of its WAL is not known")
    control = node.control
    if node.running is None and control is not None and not control.was_standby:
        # The record of the last checkpoint begins at `reached`: it must be among those that the primary has.
        if reached >= left:
            return Parted(timeline, left, reached)
        clean = control.state == "shut down"
        return None if clean else Unknown("it was not shut down cleanly, so that it may have written more")
    return Parted(timeline, left, reached) if reached > left else None


def _ahead(node: ObservedNode, primary: Server) -> Parted | None:
    """A standby with WAL that the primary of the same timeline never wrote: that one was a standby itself, and was
    started as a primary behind everybody's back, or came back from an older disk. A standby that is sent WAL may have
    got more since the primary was looked at; this one is sent none."""
    server, end = node.running, primary.current_lsn
    if server is None or not server.in_recovery or server.receiver is not None or end is None:
        return None
    reached = _reached(node)
    return Parted(primary.timeline, end, reached) if reached is not None and reached > end else None


def _reached(node: ObservedNode) -> Lsn | None:
    """How far a node's WAL certainly goes."""
    server, control = node.running, node.control
    if server is not None:
        known = [lsn for lsn in (server.current_lsn, server.receive_lsn, server.replay_lsn) if lsn is not None]
        return max(known, default=None)
    if control is None:
        return None
    return control.min_recovery_lsn if control.was_standby else control.checkpoint_lsn
