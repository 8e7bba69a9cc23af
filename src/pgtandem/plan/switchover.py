"""A planned change of the primary: the old one is stopped, the new one has everything, and everybody follows it.

One round makes the new primary and brings every other node behind it; what is left (its own settings, needless slots,
the archive's proof) is then what converging with the new primary comes to. Cut off anywhere, the same question goes
on, and the usual question (`plan_converge`) goes back or on, whichever is safe: see `promotion`.
"""

from collections.abc import Iterator
from dataclasses import replace

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.candidates import Check
from pgtandem.model.facts import Absent
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.candidates import Limits, switchover_candidate, switchover_candidates
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.desired import Wish
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.durability import single_failures
from pgtandem.plan.fencing import fence
from pgtandem.plan.minor_versions import restarts_for_that_alone
from pgtandem.plan.order import ordered
from pgtandem.plan.packaged import service_of
from pgtandem.plan.pgbouncers import lead_to_new_primary, objections, pause_pgbouncers, pooling_notes
from pgtandem.plan.preflight import primary_objections, rewind_notes
from pgtandem.plan.promotion import promote, settle_wal
from pgtandem.plan.refusals import refuse_foreign, refuse_unsafe
from pgtandem.plan.roles import decide_primary, is_fenced, promised_primaries
from pgtandem.plan.slots import slot
from pgtandem.plan.standbys import plan_standby, prove
from pgtandem.plan.stream import stream_slot

#: What may be left to do when a switchover begins: it changes nothing that the switchover needs.
_HARMLESS = (
    StepKind.DROP_SLOT,
    StepKind.DROP_ROLE,
    StepKind.FORGET_NODE,
    StepKind.FORGET_PROMOTION,
    StepKind.REMOVE_LEFTOVERS,
)


#: What is done first, and then looked at again.
_FIRST = (StepKind.PROVE_REPLICATION, StepKind.RESUME)


def choose_successor(topology: Topology, observed: Observed, limits: Limits) -> NodeName:
    """The node that becomes the primary where nobody named one: the best candidate; where a switchover was cut off,
    the node that was chosen then.

    Raises PgtandemError PT-3042 with every objection to every standby, and what `decide_primary` raises.
    """
    primary = decide_primary(topology, observed)
    data = observed.nodes[primary].directory
    unfinished = data is not None and data.promotion is not None
    if unfinished or (observed.primaries() and any(is_fenced(node) for node in observed.nodes.values())):
        return primary
    if observed.nodes[primary].running is None:
        standbys = [name for name in topology.names if name != primary and has_everything(observed, primary, name)]
        return standbys[0] if standbys else _first_direct(topology, primary)
    candidates = switchover_candidates(topology, observed, primary, limits)
    if candidates and candidates[0].fit:
        return candidates[0].name
    problems = tuple(objection(candidate.name, check) for candidate in candidates for check in candidate.objections)
    raise PgtandemError("PT-3042", f"no standby can take over from {primary} now", problems=problems)


def plan_switchover(topology: Topology, observed: Observed, to: NodeName, limits: Limits) -> Plan:
    """The plan that makes `to` the primary; once it is, the plan that converges.

    Raises PgtandemError: PT-3042 with everything that stands in the way, and what `plan_converge` raises.
    """
    refuse_foreign(topology, observed)
    primary = decide_primary(topology, observed)
    if primary == to or promised_primaries(observed):
        return plan_converge(topology, observed)
    refuse_unsafe(Wish(topology, observed, primary))
    old = observed.nodes[primary]
    draft = Draft(Wish(topology, observed, to))
    if is_fenced(old):
        stopping = not isinstance(old.postmaster, Absent)
        if not stopping and not has_everything(observed, primary, to):
            # It goes on as the primary first; then everything is done from the beginning.
            return replace(plan_converge(topology, observed), look_again=True)
        stopped = _end(draft, primary, ()) if stopping else ""
    else:
        first = plan_converge(topology, observed)
        if first.steps and all(step.kind in _FIRST for step in first.steps):
            # A standby that is coming back: seen to stream, it can take over. Nor do clients wait for a preflight.
            return replace(first, look_again=True)
        _refuse(topology, observed, primary, to, limits)
        stopped = _stop(draft, primary, to, limits)
    _confirm(draft, primary, to, stopped)
    promote(draft, to, (f"{to}.received",), f"It has everything that {primary} ever wrote.")
    lead_to_new_primary(draft, (primary,))
    _follow(draft, primary, to)
    return Plan(
        primary=to,
        steps=ordered(draft.steps),
        notes=(
            f"Writes pause from the stop of {primary} until {to} is promoted.",
            *rewind_notes(topology, observed),
            *pooling_notes(topology, observed),
            *draft.notes,
        ),
        consequences=single_failures(topology, to),
        look_again=True,
    )


def has_everything(observed: Observed, old: NodeName, to: NodeName) -> bool:
    """Whether a standby has replayed the last record of a primary that was shut down cleanly."""
    control, server = observed.nodes[old].control, observed.nodes[to].running
    if control is None or control.state != "shut down" or server is None or not server.in_recovery:
        return False
    same = server.timeline == control.timeline and server.system_identifier == control.system_identifier
    return same and server.replay_lsn is not None and server.replay_lsn > control.checkpoint_lsn


def _first_direct(topology: Topology, primary: NodeName) -> NodeName:
    standbys = topology.confirming(primary)
    if not standbys:
        raise PgtandemError(
            "PT-3042",
            f"there is no standby that could take over from {primary}",
            why="No other node follows it directly and without a delay.",
            next_step="add one to the topology file, then pgtandem apply",
        )
    return standbys[0]


def _refuse(topology: Topology, observed: Observed, primary: NodeName, to: NodeName, limits: Limits) -> None:
    problems = tuple(_objections(topology, observed, primary, to, limits))
    if len(problems) == 1:
        only = problems[0]
        raise PgtandemError(
            "PT-3042", f"cannot switch over to {to}: {only.what}", why=only.why, next_step=only.next_step
        )
    if problems:
        raise PgtandemError(
            "PT-3042", f"cannot switch over to {to}: {len(problems)} things stand in the way", problems=problems
        )


def _objections(
    topology: Topology, observed: Observed, primary: NodeName, to: NodeName, limits: Limits
) -> Iterator[Problem]:
    top = observed.nodes[primary].running
    if top is None:
        yield Problem(primary, f"the primary {primary} does not run", next_step="pgtandem apply")
        return
    for check in switchover_candidate(topology, observed, primary, to, limits).objections:
        yield objection(to, check)
    yield from objections(topology, observed)
    yield from primary_objections(observed, primary)
    if is_under_way(observed, primary):
        return
    left = [step for step in plan_converge(topology, observed).steps if step.kind not in _HARMLESS]
    if restarts_for_that_alone(Wish(topology, observed, primary), primary):
        left = [step for step in left if step.id != f"{primary}.restart"]  # it is about to be
    if left:
        steps = "; ".join(f"{step.node}: {step.what}" for step in left[:3]) + ("; ..." if len(left) > 3 else "")
        yield Problem("", "the cluster is not what the topology file says", f"To do: {steps}.", "pgtandem apply")


def objection(name: NodeName, check: Check) -> Problem:
    return Problem(name, f"{check.rule} of {name}: {check.value}", f"Needed: {check.threshold}.", check.advice)


def is_under_way(observed: Observed, primary: NodeName) -> bool:
    """Whether an earlier run has fenced a primary that still runs: what differs from the topology is its doing."""
    data = observed.nodes[primary].directory
    return data is not None and data.standby_signal


def _stop(draft: Draft, old: NodeName, to: NodeName, limits: Limits) -> str:
    """The steps up to the clean end of the old primary; returns the id of the last one."""
    wish = draft.wish
    for below in wish.topology.standbys_of(to, to):
        slot(draft, to, below)
    stream_slot(draft, to)
    settle_wal(draft, to)
    before = tuple(step.id for step in draft.steps)
    draft.add(
        Step(
            f"{old}.checkpoint",
            StepKind.CHECKPOINT,
            old,
            f"make a checkpoint on {old}",
            "What it writes now, its shutdown does not have to write while everybody waits.",
            Risk.READ,
            needs=before,
            expects=(Condition("is_primary", old),),
        )
    )
    primary = (Condition("is_primary", old),)
    fence(draft, old, to, needs=(f"{old}.checkpoint",), expects=primary, undo="pgtandem apply")
    streams = (Condition("streams_from", to, old),)
    pauses = pause_pgbouncers(draft, (f"{old}.fence",), limits.pause_seconds, streams)
    return _end(draft, old, () if pauses else streams, pauses, limits.pause_seconds if pauses else 0.0)


def _end(
    draft: Draft, old: NodeName, expects: tuple[Condition, ...], pauses: tuple[str, ...] = (), seconds: float = 0.0
) -> str:
    draft.add(
        Step(
            f"{old}.stop",
            StepKind.STOP,
            old,
            f"stop {old}",
            "A clean shutdown sends its last record to every standby before it ends.",
            Risk.STOP,
            needs=(f"{old}.fence", *pauses),
            expects=expects,
            proves=(Condition("stopped", old),),
            undo="pgtandem apply",
            service=service_of(draft.wish.seen(old)),
            within_seconds=seconds,
        )
    )
    return f"{old}.stop"


def _confirm(draft: Draft, old: NodeName, to: NodeName, stopped: str) -> None:
    draft.add(
        Step(
            f"{to}.received",
            StepKind.CONFIRM_RECEIVED,
            to,
            f"see that {to} has the last record of {old}",
            "Only then nothing can be lost.",
            Risk.READ,
            needs=(stopped,),
            undo="pgtandem apply",
            upstream=old,
        )
    )


def _follow(draft: Draft, old: NodeName, to: NodeName) -> None:
    """Every other node behind the new primary, as the topology has it."""
    wish, before = draft.wish, len(draft.steps)
    fenced = draft.has(f"{old}.fence") or is_fenced(wish.seen(old))
    assert fenced
    if not draft.has(f"{old}.fence"):
        plan_standby(draft, old)
    else:
        draft.add(
            Step(
                f"{old}.start",
                StepKind.START,
                old,
                f"start {old} as a standby",
                f"It follows {wish.upstream(old)} now.",
                Risk.CREATE,
                expects=(Condition("port_free", old),),
                proves=(Condition("is_standby", old),),
                service=service_of(draft.wish.seen(old)),
            )
        )
    prove(draft, old, f"It must stream from {wish.upstream(old)}, and show a row written on {to}.")
    for name in cascade_order(wish)[1:]:
        if name != old:
            plan_standby(draft, name)
            if wish.upstream(name) == old:
                prove(draft, name, f"{old} was away for a moment.")
    draft.steps[before:] = [replace(step, needs=(*step.needs, f"{to}.promote")) for step in draft.steps[before:]]
