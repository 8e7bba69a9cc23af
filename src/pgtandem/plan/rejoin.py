"""A former primary, or a standby that went another way, becomes a standby again, by the cheapest way that is right.

It simply follows where its WAL is a part of the primary's; pg_rewind takes back what it alone has; where that cannot
work, a new base backup takes the place of its data. What it alone has is kept aside first, and reported.
"""

from collections.abc import Callable
from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import REWIND_ROLE, NodeName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.plan import WARNING, Condition, Plan, Risk, Step, StepKind
from pgtandem.model.server import Server
from pgtandem.model.topology import Method, Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.changes import change
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.desired import Wish, desired_files
from pgtandem.plan.draft import Draft
from pgtandem.plan.drift import drift_of
from pgtandem.plan.durability import single_failures
from pgtandem.plan.fencing import fence
from pgtandem.plan.hosts import GOES_ON, half_notes, uses_halves
from pgtandem.plan.how_long import copy_takes, rewind_takes
from pgtandem.plan.order import ordered
from pgtandem.plan.outside import immovable, places_to_fill
from pgtandem.plan.packaged import service_of
from pgtandem.plan.primary import replication_role
from pgtandem.plan.refusals import raise_findings, refuse_foreign
from pgtandem.plan.roles import claims_primary, timeline_of
from pgtandem.plan.room import no_room
from pgtandem.plan.rotation import give_passwords
from pgtandem.plan.slots import slot
from pgtandem.plan.standbys import prove
from pgtandem.plan.stray_timelines import set_timelines_aside
from pgtandem.plan.timelines import Parted, parted
from pgtandem.plan.unarchived import archive_rest
from pgtandem.postgres.versions import rewinds_by_role

_OWN_COMMITS, _OWN_RECEIVED = "What it committed on its own", "What it alone has received"


@dataclass(frozen=True, slots=True)
class Apart:
    """A node that cannot simply follow: from where on its WAL may be its own (None where that is not known), and why
    pg_rewind cannot take that back, "" where it can."""

    since: Lsn | None
    why: str
    no_rewind: str


def plan_rejoin(topology: Topology, observed: Observed, name: NodeName, *, copy: bool = False) -> Plan:
    """The plan that makes `name` a standby of the primary; once it is, the plan that converges.

    Raises PgtandemError: PT-3042 where there is nobody to follow or `name` cannot be looked at, PT-3009 where the copy
    does not fit beside the data that it replaces, and what `plan_converge` raises where the node can simply follow.
    """
    refuse_foreign(topology, observed)
    primary = _primary(topology, observed, name)
    node = observed.nodes[name]
    apart = how_apart(topology, observed, primary, name)
    if isinstance(apart, Unknown):
        raise PgtandemError(
            "PT-3042", f"cannot look at {name}", why=apart.sentence, next_step="mend that, then run the same command"
        )
    runs_as_primary = node.running is not None and not node.running.in_recovery
    if apart is None and not (copy and node.directory) and not runs_as_primary:
        return _settled(topology, observed, name)
    draft = Draft(Wish(topology, observed, primary))
    upstream = draft.wish.upstream(name)
    assert upstream is not None
    _fence(draft, name, node, upstream)
    if apart is None and runs_as_primary:
        note = f"{name} runs as a primary too, and has written no more than {primary} has so far."
        return Plan(primary=primary, steps=ordered(draft.steps), notes=(note,), look_again=True)
    rewind = not copy and apart is not None and not apart.no_rewind
    top = observed.nodes[primary].running
    assert top is not None
    full = [] if rewind else [*no_room(draft.wish, (name,), top.size_bytes), *immovable(draft.wish, name)]
    if full and runs_as_primary:
        # It must not go on as one, whether there is room for what comes after that or not.
        (_, problem), *_ = full
        note = f"{WARNING}{problem.what}: {problem.next_step}."
        return Plan(primary=primary, steps=ordered(draft.steps), notes=(note,), look_again=True)
    raise_findings(full, topology)
    if observed.passwords.next:
        give_passwords(draft)
    else:
        replication_role(draft)
    slot(draft, upstream, name)
    if apart is not None:
        _checkpoint(draft, primary)
        _keep(draft, name, node, apart)
    elif node.running is None:
        archive_rest(draft, name)
    if rewind:
        _let_in(draft, primary)
    _data(draft, name, upstream, primary, "" if copy or apart is None else apart.no_rewind, rewind=rewind)
    # Not before: pg_rewind may need the WAL of the timeline that is given up.
    set_timelines_aside(draft, name, (f"{name}.stop", f"{name}.data"))
    draft.add(
        Step(
            f"{name}.start",
            StepKind.START,
            name,
            f"start {name} as a standby",
            f"It follows {upstream} now.",
            Risk.CREATE,
            needs=(f"{name}.data", f"{primary}.timelines"),
            expects=(Condition("port_free", name),),
            proves=(Condition("is_standby", name),),
            service=service_of(node),
        )
    )
    prove(draft, name, f"It must stream from {upstream}, and show a row written on {primary}.")
    limit = topology.replication.copy_bytes_per_second
    notes = [f"{name} has parted from {primary}: {apart.why}"] if apart else []
    if rewind and apart is not None:
        notes += [
            "Way back: pg_rewind takes back what only it has.",
            f"How long: {rewind_takes(top, primary, apart.since, limit)}.",
        ]
    else:
        why = "asked for" if copy or apart is None else apart.no_rewind
        notes += [f"Way back: a new copy: {why}.", f"How long: {copy_takes(top, limit)}."]
        notes += half_notes(draft.wish, name) if uses_halves(draft.wish, name) else []
    if name in topology.confirming(primary) and topology.replication.synchronous.method is not Method.NONE:
        notes.append(f"Commits cannot wait for {name} meanwhile: where too few others confirm them, writes stop.")
    return Plan(
        primary=primary,
        steps=ordered(draft.steps),
        notes=tuple(notes),
        consequences=single_failures(topology, primary),
        look_again=True,
    )


def rejoin_question(name: NodeName, *, copy: bool) -> Callable[[Topology, Observed], Plan]:
    """What `rejoin` asks in every round: a copy that was asked for is planned until it is made, and not once more.

    What was replaced lies beside the new copy until that is proven: where it is seen, the copy was made.
    """

    def question(topology: Topology, observed: Observed) -> Plan:
        nonlocal copy
        copy = copy and not observed.nodes[name].replaced
        return plan_rejoin(topology, observed, name, copy=copy)

    return question


def how_apart(topology: Topology, observed: Observed, primary: NodeName, name: NodeName) -> Apart | Unknown | None:
    """Whether a node has to be brought back, and how: None where it can simply follow, or has no data at all."""
    node, top = observed.nodes[name], observed.nodes[primary].running
    assert top is not None
    for fact in (node.reachable, node.data, node.postmaster):
        if isinstance(fact, Unknown):
            return fact
    if node.directory is None:
        return None
    if node.control is None:
        return Unknown("its control file cannot be read")
    acts = claims_primary(node) or (node.running is not None and not node.running.in_recovery)
    how = parted(node, top)
    if how is None and acts and timeline_of(node) == top.timeline:
        why = f"it went on as a primary on timeline {top.timeline} too"
        return Apart(None, f"{why}.", "both are on the same timeline")
    if how is None:
        return None
    if isinstance(how, Parted) and how.timeline == top.timeline:
        why = f"it has WAL up to {how.reached}, and {primary} came to {how.at} of the same timeline."
        return Apart(None, why, "both are on the same timeline")
    since = how.at if isinstance(how, Parted) else _left(top, timeline_of(node))
    if since is None and acts and node.running is not None:
        since = _left(node.running, top.timeline)  # the one that was promoted left the other's timeline
    why = how.sentence if isinstance(how, Unknown) else f"its WAL goes beyond {since}."
    if isinstance(how, Parted) and how.at is None:
        why = f"it is on timeline {timeline_of(node)}."
    return Apart(since, why, _no_rewind(topology, node, top))


def _left(top: Server, timeline: int) -> Lsn | None:
    return next((switch.at for switch in top.history if switch.timeline == timeline), None)


def _no_rewind(topology: Topology, node: ObservedNode, top: Server) -> str:
    """Why pg_rewind cannot be used; "" where it can (manual, pg_rewind)."""
    control = node.control
    assert control is not None
    full = top.settings.get("full_page_writes")
    if not (control.checksums or control.hints):
        return "it has no data checksums, and wal_log_hints was off"
    if full is not None and full.value == "off":
        return "full_page_writes is off"
    if not rewinds_by_role(topology.postgresql):
        return f"pg_rewind of PostgreSQL {topology.postgresql} reads another server as a superuser only"
    if isinstance(node.programs, Known) and not node.programs.value.rewind:
        return f"there is no pg_rewind in {node.programs.value.directory}"
    clean = control.state in ("shut down", "shut down in recovery") or isinstance(node.postmaster, Known)
    if not clean and topology.postgresql < 13:
        return "its server crashed, and pg_rewind recovers such data from 13 on"
    return ""


def _primary(topology: Topology, observed: Observed, name: NodeName) -> NodeName:
    others = [other for other in observed.primaries() if other != name]
    if len(others) == 1:
        return others[0]
    what = "no other node runs as the primary" if not others else f"{' and '.join(others)} run as primaries"
    raise PgtandemError(
        "PT-3042",
        f"{name} has nobody to follow: {what}",
        why="A node rejoins the one primary that there is.",
        next_step="pgtandem status",
    )


def _settled(topology: Topology, observed: Observed, name: NodeName) -> Plan:
    """What is left to do; where somebody else's trouble refuses that, it is not this node's."""
    try:
        return plan_converge(topology, observed)
    except PgtandemError as refusal:
        if name in (refusal.concerned or {name}):
            raise
        return Plan(primary=None, notes=(f"Not everything is well: {refusal.what}.",))


def _fence(draft: Draft, name: NodeName, node: ObservedNode, upstream: NodeName) -> None:
    """It must not be able to come up as a primary, and must not run while its data is changed."""
    data = node.directory
    assert data is not None
    if not data.standby_signal:
        fence(draft, name, upstream)
    if isinstance(node.postmaster, Known):
        draft.add(
            Step(
                f"{name}.stop",
                StepKind.STOP,
                name,
                f"stop {name}",
                "Its data is about to be changed.",
                Risk.STOP,
                needs=(f"{name}.fence",),
                proves=(Condition("stopped", name),),
                service=service_of(node),
            )
        )


def _let_in(draft: Draft, primary: NodeName) -> None:
    """The primary may have been built before there were records for pg_rewind in its pg_hba.conf."""
    data = draft.wish.seen(primary).directory
    files = desired_files(draft.wish, primary, keep_sync=True)
    if data is not None and data.hba_block != files.hba_block:
        change(draft, primary, files, drift_of(draft.wish, primary, keep_sync=True))


def _checkpoint(draft: Draft, primary: NodeName) -> None:
    draft.add(
        Step(
            f"{primary}.checkpoint",
            StepKind.CHECKPOINT,
            primary,
            f"make a checkpoint on {primary}",
            "Until there is one after a promotion, its control file still tells of the timeline before.",
            Risk.READ,
            expects=(Condition("is_primary", primary),),
        )
    )


def _keep(draft: Draft, name: NodeName, node: ObservedNode, apart: Apart) -> None:
    control, topology = node.control, draft.wish.topology
    assert control is not None
    draft.add(
        Step(
            f"{name}.keep",
            StepKind.KEEP_WAL,
            name,
            f"keep the WAL that only {name} has, beside {draft.wish.node(name).data_directory}",
            f"{_OWN_RECEIVED if control.was_standby else _OWN_COMMITS} is taken back: this is all that is left of it."
            f"{' What it had not archived of before that is archived first.' if topology.archives else ''}",
            Risk.CREATE,
            needs=(f"{name}.stop", f"{name}.fence"),
            expects=(Condition("stopped", name),),
            names=(str(timeline_of(node)), str(apart.since or ""), str(control.wal_segment_bytes)),
        )
    )


def _data(draft: Draft, name: NodeName, upstream: NodeName, primary: NodeName, why: str, *, rewind: bool) -> None:
    directory = draft.wish.node(name).data_directory
    halves = draft.wish.seen(name).leftovers if not rewind and uses_halves(draft.wish, name) else ()
    again = GOES_ON if halves else ""
    step = Step(
        f"{name}.data",
        StepKind.REWIND if rewind else StepKind.REPLACE_DATA,
        name,
        f"rewind {directory} to where it parted from {primary}"
        if rewind
        else f"copy {upstream} anew to {directory}; what is there is kept beside it for now",
        f"Only the pages that differ are read from {primary}, as the role {REWIND_ROLE}, which there is only meanwhile."
        if rewind
        else (f"It cannot be rewound: {why}." if why else "A new copy was asked for.") + again,
        Risk.REPLACE,
        needs=(
            *(f"{name}.keep", f"{name}.archive_rest", f"{name}.stop", f"{name}.fence"),
            *(f"{primary}.files", f"{primary}.checkpoint", f"{upstream}.slot.{name}"),
            *(f"{primary}.role", f"{primary}.rotate"),
        ),
        expects=(
            Condition("data_is_ours", name, name),
            Condition("stopped", name),
            Condition("answers", upstream),
        ),
        proves=(Condition("data_is_ours", name, name),),
        files=desired_files(draft.wish, name),
        names=halves,
        upstream=primary if rewind else upstream,
        places=() if rewind else places_to_fill(draft.wish, name),
    )
    draft.add(replace(step, undo="pgtandem apply (copies it anew)"))
