"""An unplanned change of the primary: it is gone, and the standby that received the most takes over.

Fenced first: every node that could be, or come back as, a primary is seen to be down and made a standby-to-be, or
somebody says that it is dead. Then the successor is promoted and the others follow it; the old primary comes back by
`rejoin`.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.beyond import Beyond
from pgtandem.model.candidates import Candidate
from pgtandem.model.facts import Absent, Known, Unknown
from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.model.observed import Observed, ObservedNode, PostmasterState
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.topology import Method, Topology
from pgtandem.plan.candidates import failover_candidates
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.desired import Wish, settings_in_place
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.durability import single_failures
from pgtandem.plan.fencing import fence
from pgtandem.plan.leaving import leave_first, without_upstreams
from pgtandem.plan.order import ordered
from pgtandem.plan.pgbouncers import lead_to_new_primary
from pgtandem.plan.promotion import hand_in_wal, promote, settle_wal
from pgtandem.plan.refusals import refuse_foreign
from pgtandem.plan.rejoin import Apart, how_apart, plan_rejoin
from pgtandem.plan.roles import claims_primary, is_fenced, seen_as_standby, timeline_of
from pgtandem.plan.slots import slot
from pgtandem.plan.standbys import plan_standby
from pgtandem.plan.stream import plan_stream, stream_slot
from pgtandem.plan.streamed import stream_from_successor, take_what_was_streamed
from pgtandem.plan.switchover import has_everything, objection


def lost_nodes(topology: Topology, observed: Observed) -> tuple[NodeName, ...]:
    """The nodes that may be the primary that is gone: all that are not seen to be standbys, or to have no data."""
    return tuple(name for name in topology.names if not seen_as_standby(observed.nodes[name]))


def gone_nodes(topology: Topology, observed: Observed, lost: tuple[NodeName, ...]) -> tuple[NodeName, ...]:
    """The nodes without data, where none of `lost` is seen to have been the primary: it may have been one of them,
    whose disk is gone, and what it acknowledged counts all the same."""
    latest = max((timeline_of(node) for node in observed.nodes.values()), default=0)
    for node in map(observed.nodes.__getitem__, lost):
        if timeline_of(node) == latest and (claims_primary(node) or is_fenced(node)):
            return ()
    return tuple(name for name in topology.names if isinstance(observed.nodes[name].data, Absent) and name not in lost)


def choose_for_failover(topology: Topology, observed: Observed, *, archive_lost: bool = False) -> NodeName:
    """The best candidate. Raises PgtandemError PT-3042 with every objection to every standby."""
    running = observed.primaries()
    if len(running) == 1 and _was_chosen(observed.nodes[running[0]]):
        return running[0]
    _refuse_running(observed, None)
    promised = [name for name, node in observed.nodes.items() if _may_be_promoted(observed, node)]
    if len(promised) == 1:
        return promised[0]
    lost = lost_nodes(topology, observed)
    gone = gone_nodes(topology, observed, lost)
    candidates = failover_candidates(topology, observed, lost, gone, archive_lost=archive_lost)
    if candidates and candidates[0].fit:
        return candidates[0].name
    raise _nobody(candidates)


def plan_failover(
    topology: Topology, observed: Observed, to: NodeName, *, dead: bool = False, archive_lost: bool = False
) -> Plan:
    """The plan that makes `to` the primary; once it is, the plan that converges as far as that is possible.

    `dead` says that whoever cannot be reached is certainly off, `archive_lost` that what the archive alone had
    confirmed may be lost. Raises PgtandemError: PT-3042 where `to` may not be promoted or a primary runs, PT-3043 where
    the old primary may still be at work.
    """
    refuse_foreign(topology, observed)
    if observed.primaries() == (to,):
        return _settled(topology, observed, to)
    _refuse_running(observed, to)
    lost = lost_nodes(topology, observed)
    gone = gone_nodes(topology, observed, lost)
    candidates = failover_candidates(topology, observed, lost, gone, archive_lost=archive_lost)
    candidate = next((found for found in candidates if found.name == to), None)
    if candidate is None:
        raise PgtandemError(
            "PT-3042",
            f"{to} cannot be promoted: it is not seen to be a standby",
            why="It may be the primary itself, or cannot be looked at.",
            next_step="pgtandem status",
        )
    promised = _may_be_promoted(observed, observed.nodes[to])
    if not candidate.fit and not promised:
        raise _nobody((candidate,), f"{to} may not be promoted")
    if promised and observed.nodes[to].running is None:
        return plan_converge(topology, observed)
    others = [name for name in observed.nodes if name != to and _may_be_promoted(observed, observed.nodes[name])]
    problems = [*_unfenced(topology, observed, (*lost, *others), dead)]
    if problems:
        raise PgtandemError("PT-3043", "the old primary may still be at work", problems=tuple(problems))
    unsure = any(not _looked_at(observed.nodes[name]) for name in lost)
    for_now = without_upstreams(topology, lost) if unsure else topology
    draft = Draft(Wish(for_now, observed, to))
    settle_wal(draft, to)
    for name in lost:
        _fence(draft, name, candidate)
    # Whatever started before the fence stood is seen now; what starts later is a standby.
    down = tuple(Condition("stopped", name) for name in lost if _looked_at(observed.nodes[name]))
    if candidate.needs_streamed:
        take_what_was_streamed(draft, to)
    needs = tuple(step.id for step in draft.steps)
    slots = _slots(draft, to, () if unsure else lost)
    promote(draft, to, needs, "It has received the most.", down, after=slots)
    lead_to_new_primary(draft, lost)
    hand_in_wal(draft, to)
    _slots_of_lost(draft, to)
    _follow(draft, to, lost, candidates)
    if candidate.needs_streamed or unsure:
        stream_from_successor(draft, to, lost)
    if unsure:
        leave_first(draft, to)
    return Plan(
        primary=to,
        steps=ordered(draft.steps),
        candidates=candidates,
        notes=(*_loss(topology, draft, (*lost, *gone), candidate, archive_lost=archive_lost), *draft.notes),
        consequences=single_failures(topology, to),
        look_again=True,
    )


def _looked_at(node: ObservedNode) -> bool:
    return not any(isinstance(fact, Unknown) for fact in (node.reachable, node.data, node.postmaster))


def _was_chosen(node: ObservedNode) -> bool:
    return node.directory is not None and node.directory.promotion is not None


def _may_be_promoted(observed: Observed, node: ObservedNode) -> bool:
    """Whether an earlier run may have told it to: see `promotion`."""
    latest = max((timeline_of(other) for other in observed.nodes.values()), default=0)
    return node.directory is not None and (node.directory.promotion or 0) >= latest > 0


def _refuse_running(observed: Observed, to: NodeName | None) -> None:
    running = [name for name in observed.primaries() if name != to]
    if not running:
        return
    raise PgtandemError(
        "PT-3042",
        f"{' and '.join(running)} {'runs' if len(running) == 1 else 'run'} as the primary",
        why="A failover is for a primary that is gone; one that runs hands over without losing a row.",
        next_step="pgtandem switchover" if len(running) == 1 else "pgtandem status",
    )


def _unfenced(topology: Topology, observed: Observed, names: tuple[NodeName, ...], dead: bool) -> Iterator[Problem]:
    """The nodes that nothing keeps from being a primary."""
    for name in dict.fromkeys(names):
        node = observed.nodes[name]
        state = node.postmaster.value.state if isinstance(node.postmaster, Known) else None
        if state is PostmasterState.STARTING:
            yield Problem(
                name, f"{name} is starting up", "It may come back as the primary by itself.", "pgtandem status"
            )
            continue
        unknown = next(
            (fact for fact in (node.reachable, node.data, node.postmaster) if isinstance(fact, Unknown)), None
        )
        if unknown is not None and not dead:
            yield Problem(
                name,
                f"could not look at {name}, which may be the primary",
                unknown.sentence,
                "make its host reachable; or switch that machine off and add --the-primary-is-dead: if it lives after "
                "all, both accept rows, and those of one are lost",
            )
        elif unknown is None and name in topology.names and _may_be_promoted(observed, node):
            yield Problem(
                name,
                f"{name} was told to become the primary, and may do so",
                "An earlier failover was cut off.",
                f"pgtandem failover --to {name}",
            )


def _slots(draft: Draft, to: NodeName, lost: tuple[NodeName, ...]) -> tuple[str, ...]:
    """The slots of those that will follow, before it is promoted: whatever happens after that, it keeps what they need.
    A failover does not fail because one cannot be made."""
    before = len(draft.steps)
    for below in draft.wish.topology.standbys_of(to, to):
        if below not in lost:
            slot(draft, to, below)
    stream_slot(draft, to)
    draft.steps[before:] = [replace(step, lone=True) for step in draft.steps[before:]]
    return tuple(step.id for step in draft.steps[before:])


def _slots_of_lost(draft: Draft, to: NodeName) -> None:
    """Those of nodes that come back by a rejoin, which writes need not wait for."""
    before = len(draft.steps)
    for below in draft.wish.topology.standbys_of(to, to):
        if not draft.has(f"{to}.slot.{below}"):
            slot(draft, to, below)
    draft.steps[before:] = [replace(step, needs=(*step.needs, f"{to}.promote")) for step in draft.steps[before:]]


def _fence(draft: Draft, name: NodeName, candidate: Candidate) -> None:
    """A node that is down must only be able to come back as a standby; one that hangs is ended first."""
    node = draft.wish.seen(name)
    if isinstance(node.reachable, Unknown) or node.directory is None or node.control is None:
        return
    if not node.directory.standby_signal:
        fence(draft, name, draft.wish.upstream(name) or candidate.name)
    if isinstance(node.postmaster, Known):
        draft.add(
            Step(
                f"{name}.end",
                StepKind.END_SERVER,
                name,
                f"end {name}, which answers nobody",
                "It may still be the primary.",
                Risk.STOP,
                needs=(f"{name}.fence",),
                proves=(Condition("stopped", name),),
            )
        )
    if candidate.received is not None and _beyond(node, candidate) is None:
        draft.add(
            Step(
                f"{name}.loss",
                StepKind.TELL_LOSS,
                name,
                f"see what {name} has that {candidate.name} has not",
                f"That is lost to the cluster; its WAL stays on {name} until it rejoins, and is kept aside then.",
                Risk.READ,
                needs=(f"{name}.fence", f"{name}.end"),
                expects=(Condition("stopped", name),),
                names=(str(timeline_of(node)), str(candidate.received)),
            )
        )


def _follow(draft: Draft, to: NodeName, lost: tuple[NodeName, ...], candidates: tuple[Candidate, ...]) -> None:
    """The standbys that run, and are not ahead of the new primary, follow it."""
    wish = draft.wish
    by_name = {candidate.name: candidate for candidate in candidates}
    received = by_name[to].received
    for name in cascade_order(wish)[1:]:
        own = by_name[name].received if name in by_name else None
        upstream = wish.upstream(name)
        if name in lost or own is None or received is None or own > received:
            continue
        if upstream is None or upstream in lost or wish.seen(upstream).directory is None:
            continue
        before = len(draft.steps)
        plan_standby(draft, name)
        needed = (f"{to}.promote", f"{upstream}.slot.{name}")
        draft.steps[before:] = [replace(step, needs=(*step.needs, *needed)) for step in draft.steps[before:]]


def _settled(topology: Topology, observed: Observed, to: NodeName) -> Plan:
    """What is left to do: a standby that cannot follow is brought back first. The old primary may be out of reach, or
    have to rejoin, which refuses the usual plan; that takes a person's word."""
    astray = [name for name in topology.names if name != to and _is_astray(topology, observed, to, name)]
    try:
        return plan_rejoin(topology, observed, astray[0]) if astray else plan_converge(topology, observed)
    except PgtandemError as refusal:
        left = [problem.what for problem in refusal.problems] or [refusal.what]
        steps = [problem.next_step for problem in refusal.problems] or [refusal.next_step]
        said = [f"Left: {what}; {then}" if then else f"Left: {what}" for what, then in zip(left, steps, strict=True)]
        steps_left = _followers(topology, observed, to, refusal)
        return Plan(primary=to, steps=steps_left, notes=tuple(said), look_again=bool(steps_left))


def _followers(topology: Topology, observed: Observed, to: NodeName, refusal: PgtandemError) -> tuple[Step, ...]:
    """A failover that was cut off may have left standbys behind: those that can simply follow do, whatever stands in
    the way of others. Commits may wait for them."""
    draft = Draft(Wish(topology, observed, to))
    for name in cascade_order(draft.wish)[1:]:
        server, upstream = observed.nodes[name].running, draft.wish.upstream(name)
        if server is None or not server.in_recovery or name in refusal.concerned or upstream is None:
            continue
        if how_apart(topology, observed, to, name) is not None or observed.nodes[upstream].running is None:
            continue
        slot(draft, upstream, name)
        plan_standby(draft, name)
    if topology.stream_confirms and isinstance(observed.stream, Known):
        # Told by `apply` where it cannot be started.
        with suppress(PgtandemError):
            plan_stream(draft)
    return ordered(draft.steps)


def _is_astray(topology: Topology, observed: Observed, to: NodeName, name: NodeName) -> bool:
    """Whether a node was nothing but a standby all the time, and its WAL goes another way than the new primary's."""
    node = observed.nodes[name]
    standby = node.running.in_recovery if node.running else node.control is not None and node.control.was_standby
    return standby and isinstance(how_apart(topology, observed, to, name), Apart)


def _beyond(node: ObservedNode, candidate: Candidate) -> Beyond | None:
    """What only this node has, where that was read already, and nothing can have been added since."""
    fact = node.beyond
    down = isinstance(node.postmaster, Absent)
    return fact.value if down and isinstance(fact, Known) and fact.value.since == candidate.received else None


def _loss(
    topology: Topology, draft: Draft, lost: tuple[NodeName, ...], candidate: Candidate, *, archive_lost: bool
) -> Iterator[str]:
    """What is lost at most, as far as it can be said before."""
    observed = draft.wish.observed
    server = observed.nodes[candidate.name].running
    if not lost or server is None:
        yield "Lost: nothing that any node is seen to have."
        return
    if archive_lost and any(STREAM_NAME in topology.confirmers(name) for name in lost):
        yield (
            f"Lost: commits that were acknowledged to clients and that {candidate.name} did not receive, where the "
            "archive alone had confirmed them."
        )
        return
    if topology.replication.synchronous.method is not Method.NONE and not _waits_for_nobody(observed, lost):
        left_out = " or ".join(former.name for former in observed.former)
        unless = f", unless {left_out}, which is not in the topology file any more, alone had confirmed it"
        yield f"Lost: no commit that was acknowledged to a client{unless if left_out else ''}."
        for name in lost:
            beyond = _beyond(observed.nodes[name], candidate)
            if beyond is not None and beyond.commits:
                yield f"Not acknowledged, and lost: what only {name} has: {beyond}."
        return
    if len(lost) == 1 and has_everything(observed, lost[0], candidate.name):
        yield f"Lost: nothing; {lost[0]} was shut down cleanly, and {candidate.name} has its last record."
        return
    found = {name: _beyond(observed.nodes[name], candidate) for name in lost}
    for name, beyond in found.items():
        if beyond is not None:
            nothing = "" if beyond.commits else "nothing that a client committed; "
            yield f"Lost: {nothing}what {name} has and {candidate.name} has not: {beyond}."
    unread = [name for name, beyond in found.items() if beyond is None]
    if not unread:
        return
    age = server.last_commit_age_seconds
    since = f"in the {age:.0f} s before now" if age is not None else "for an unknown time"
    silent = [name for name in unread if not draft.has(f"{name}.loss")]
    yield (
        f"Lost: what {' or '.join(unread)} committed and {candidate.name} did not receive: at most what was committed "
        f"{since}; how many bytes and transactions "
        + (
            f"is unknown, since nobody can read the WAL of {' and '.join(silent)}."
            if silent
            else f"is told before {candidate.name} is promoted."
        )
    )


def _waits_for_nobody(observed: Observed, lost: tuple[NodeName, ...]) -> bool:
    """Whether a node's own file says that its commits waited for no standby: the wish was not in force there yet."""
    seen = [settings_in_place(observed.nodes[name]) for name in lost if observed.nodes[name].directory]
    return any(settings.get("synchronous_standby_names") == "" for settings in seen)


def _nobody(candidates: tuple[Candidate, ...], what: str = "no standby may be promoted") -> PgtandemError:
    problems = tuple(objection(candidate.name, check) for candidate in candidates for check in candidate.objections)
    return PgtandemError(
        "PT-3042",
        what,
        why="" if problems else "There is no standby that is seen.",
        next_step="" if problems else "pgtandem status",
        problems=problems,
    )
