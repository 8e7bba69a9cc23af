"""A standby: copied from its upstream, or changed; started; proven to stream."""

from dataclasses import replace

from pgtandem.model.facts import Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, NodeFiles, Risk, Step, StepKind
from pgtandem.plan.adopting import take_over
from pgtandem.plan.certificates import streams_encrypted
from pgtandem.plan.changes import change, restart, start
from pgtandem.plan.desired import Wish, delays, desired_files, streams
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.drift import drift_of, unanswered
from pgtandem.plan.hosts import GOES_ON, goes_on
from pgtandem.plan.merging import renews
from pgtandem.plan.outside import places_to_fill
from pgtandem.plan.packaged import service_of
from pgtandem.plan.slots import slot
from pgtandem.plan.stray_timelines import may_lead_astray


def plan_standby(draft: Draft, name: NodeName) -> None:
    wish = draft.wish
    upstream = wish.upstream(name)
    assert upstream is not None
    seen, files = wish.seen(name), desired_files(wish, name)
    if draft.builds(name) and not _foreseen(draft, upstream):
        # Whether the role and the slot are there can only be seen once the upstream runs: the copy is planned then.
        draft.look_again = True
        return
    if draft.builds(name):
        if name in draft.gaps:
            _replace(draft, name, upstream, files)
        else:
            _base_backup(draft, name, upstream, files)
        start(draft, name, "is_standby", (f"{name}.data", f"{name}.keys"))
    else:
        drift = drift_of(wish, name)
        take_over(draft, name)
        change(draft, name, files, drift)
        if seen.running is not None:
            restart(draft, name, drift, ())
        if not isinstance(seen.postmaster, Known) or unanswered(seen):
            if may_lead_astray(wish):
                draft.look_again = True
                return
            start(draft, name, "is_standby", (f"{name}.files", f"{name}.keys"))
    for below in wish.topology.standbys_of(name, wish.primary):
        slot(draft, name, below)
    touched = draft.has(f"{name}.start") or draft.has(f"{name}.restart") or _moves(draft, name)
    if touched or draft.builds(upstream) or not (streams(wish, name) or delays(wish, name)):
        shows = "receive" if wish.node(name).apply_delay else "show"
        prove(draft, name, f"It must stream from {upstream}, and {shows} a row written on {wish.primary}.")
    if seen.replaced or name in draft.gaps:
        _remove_replaced(draft, name, upstream)


def one_after_the_other(draft: Draft) -> None:
    """Standbys that run restart in turn, each streaming again before the next one stops: commits that wait for some of
    them go on, reads find one, and a setting that a server cannot start with stops one server and no more."""
    wish = draft.wish
    ports_stay = all(_listens_where_it_shall(wish, name) for name in wish.topology.names)
    before = ""
    for name in cascade_order(wish)[1:]:
        step_id, upstream = f"{name}.restart", wish.upstream(name)
        if not draft.has(step_id):
            continue
        at = next(number for number, step in enumerate(draft.steps) if step.id == step_id)
        step = draft.steps[at]
        again: tuple[Condition, ...] = ()
        # Where it is to follow somebody else, or somebody moves to another port, it may stream only later.
        if upstream is not None and ports_stay and streams(wish, name) and not _moves(draft, name):
            kind = "streams_or_delays" if wish.node(name).apply_delay else "streams_from"
            again = (Condition(kind, name, upstream),)
        needs = (*step.needs, before) if before else step.needs
        draft.steps[at] = replace(step, needs=needs, proves=(*step.proves, *again))
        before = step_id


def _listens_where_it_shall(wish: Wish, name: NodeName) -> bool:
    postmaster = wish.seen(name).postmaster
    return not isinstance(postmaster, Known) or postmaster.value.port == wish.node(name).port


def _foreseen(draft: Draft, upstream: NodeName) -> bool:
    """Whether it is known if the role and the slots that a standby of this upstream needs are there."""
    return draft.foreseen(draft.wish.primary) and draft.foreseen(upstream)


def _moves(draft: Draft, name: NodeName) -> bool:
    """Whether a running standby is told to stream from elsewhere."""
    drift = drift_of(draft.wish, name)
    return drift.recovery or "primary_conninfo" in drift.written


def _replace(draft: Draft, name: NodeName, upstream: NodeName, files: NodeFiles) -> None:
    """Its data is of no use any more, but for what the new copy takes from it. Where the new one is written into it, it
    stays as it is until all that differs is there; elsewhere until the new one has proven itself."""
    gap, directory = draft.gaps[name], draft.wish.node(name).data_directory
    renewed = renews(draft.wish, name)
    if isinstance(draft.wish.seen(name).postmaster, Known) and not draft.has(f"{name}.stop"):
        draft.add(
            Step(
                f"{name}.stop",
                StepKind.STOP,
                name,
                f"stop {name}",
                f"It can never catch up: it needs WAL segment {gap.segment}. {gap.why}",
                Risk.STOP,
                needs=_before_a_copy(draft, name, upstream),
                proves=(Condition("stopped", name),),
                undo="pgtandem up",
                service=service_of(draft.wish.seen(name)),
            )
        )
    draft.add(
        Step(
            f"{name}.data",
            StepKind.RENEW_DATA if renewed else StepKind.REPLACE_DATA,
            name,
            f"copy {upstream} anew into {directory}; what is there stays as it is until all that differs is here"
            if renewed
            else f"copy {upstream} anew to {directory}; what is there is kept beside it for now",
            f"{name} can never catch up: it needs WAL segment {gap.segment}. {gap.why}" + _goes_on(draft, name),
            Risk.REPLACE,
            needs=(f"{name}.stop", *_before_a_copy(draft, name, upstream)),
            expects=(
                Condition("data_is_ours", name, name),
                Condition("stopped", name),
                Condition("answers", upstream),
            ),
            proves=(Condition("data_is_ours", name, name),),
            undo="pgtandem apply (copies it anew)"
            if renewed
            else f"while {name} is stopped, put the directory back that stands beside {directory}",
            files=files,
            names=draft.wish.seen(name).leftovers if goes_on(draft, name) else (),
            upstream=upstream,
            places=places_to_fill(draft.wish, name),
        )
    )


def _remove_replaced(draft: Draft, name: NodeName, upstream: NodeName) -> None:
    """Only once the new data streams: until then the old one is the only other copy on this node."""
    if not (draft.has(f"{name}.proof") or streams(draft.wish, name)):
        return
    draft.add(
        Step(
            f"{name}.replaced",
            StepKind.REMOVE_REPLACED,
            name,
            f"remove what the new copy of {name} has left"
            if name in draft.gaps and renews(draft.wish, name)
            else f"remove the data of {name} that the new copy took the place of",
            f"The new copy streams, and {draft.wish.primary} has everything that the old one had.",
            Risk.REPLACE,
            needs=(f"{name}.proof",),
            expects=(Condition("streams_from", name, upstream),),
            proves=(Condition("nothing_replaced", name),),
        )
    )


def _before_a_copy(draft: Draft, name: NodeName, upstream: NodeName) -> tuple[str, ...]:
    """What must be done before a standby can be copied from its upstream. What half-made copies have it takes first."""
    primary = draft.wish.primary
    return (
        "host.programs",
        *(() if goes_on(draft, name) else (f"{name}.leftovers",)),
        f"{primary}.role",
        f"{primary}.files",
        f"{upstream}.start",
        f"{upstream}.restart",
        f"{upstream}.slot.{name}",
        f"{upstream}.proof",
        f"{primary}.restart",
    )


def _goes_on(draft: Draft, name: NodeName) -> str:
    return GOES_ON if goes_on(draft, name) else ""


def _base_backup(draft: Draft, name: NodeName, upstream: NodeName, files: NodeFiles) -> None:
    draft.add(
        Step(
            f"{name}.data",
            StepKind.BASE_BACKUP,
            name,
            f"copy {upstream} to {draft.wish.node(name).data_directory}",
            f"{name} has no data yet; a base backup makes it a standby of {upstream}." + _goes_on(draft, name),
            Risk.CREATE,
            needs=_before_a_copy(draft, name, upstream),
            expects=(
                Condition("data_absent", name),
                Condition("answers", upstream),
            ),
            proves=(Condition("data_is_ours", name, name),),
            undo=f"remove {draft.wish.node(name).data_directory}",
            files=files,
            names=draft.wish.seen(name).leftovers if goes_on(draft, name) else (),
            upstream=upstream,
            places=places_to_fill(draft.wish, name),
        )
    )


def prove(draft: Draft, name: NodeName, why: str) -> None:
    wish, upstream = draft.wish, draft.wish.upstream(name)
    step_id = f"{name}.proof"
    if upstream is None or draft.has(step_id):
        return
    here = wish.seen(name).running is not None or draft.has(f"{name}.start")
    if not here or not _foreseen(draft, upstream):
        draft.look_again = True  # it cannot stream if the role or its slot turns out to be missing
        return
    draft.add(
        Step(
            step_id,
            StepKind.PROVE_REPLICATION,
            name,
            f"prove that {name} streams from {upstream}",
            why,
            Risk.READ,
            needs=(
                f"{name}.start",
                f"{name}.restart",
                f"{name}.files",
                f"{upstream}.start",
                f"{upstream}.restart",
                f"{upstream}.proof",
                f"{upstream}.slot.{name}",
                f"{wish.primary}.role",
                f"{wish.primary}.files",
                f"{wish.primary}.start",
                f"{wish.primary}.restart",
            ),
            proves=(Condition("streams_or_delays", name, upstream),)
            if wish.node(name).apply_delay
            else (Condition("streams_from", name, upstream), *streams_encrypted(wish, name)),
            upstream=upstream,
        )
    )
