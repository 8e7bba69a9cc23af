"""PgBouncers: their databases lead to the primary, or to standbys, and their clients wait only while it changes.

The file that pgtandem writes is the wish; what the console shows is what is in force. A database that is paused is a
fact like any other: whichever command finds it so after a run that was cut off lets its clients go on.
"""

from collections.abc import Collection, Iterator

from pgtandem.errors import Problem
from pgtandem.model.facts import Absent, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import WARNING, Condition, Risk, Step, StepKind
from pgtandem.model.pooling import ObservedPgbouncer, PgbouncerConsole
from pgtandem.model.topology import Node, Pgbouncer, Topology
from pgtandem.plan.draft import Draft
from pgtandem.postgres.pgbouncer import database_line, render_databases

_NOT_SEEN = ObservedPgbouncer()


def readable_nodes(topology: Topology, primary: NodeName, away: Collection[NodeName] = ()) -> tuple[Node, ...]:
    """Where read-only databases lead: the standbys that replay without a delay, as many as share the first one's port
    (PgBouncer takes several hosts, and one port); the primary where there is none. `away` are those that cannot serve
    now."""
    standbys = [
        node for node in topology.nodes if node.name != primary and node.name not in away and node.apply_delay is None
    ]
    if not standbys:
        return (topology.node(primary),)
    return tuple(node for node in standbys if node.port == standbys[0].port)


def desired_text(topology: Topology, pgbouncer: Pgbouncer, primary: NodeName, away: Collection[NodeName] = ()) -> str:
    """The owned file."""
    lines = [
        database_line(name, host, port, dbname, pgbouncer.options)
        for name, (host, port, dbname) in _wished(topology, pgbouncer, primary, away).items()
    ]
    return render_databases(topology.cluster, pgbouncer.file, lines)


def _wished(
    topology: Topology, pgbouncer: Pgbouncer, primary: NodeName, away: Collection[NodeName] = ()
) -> dict[str, tuple[str, int, str]]:
    """Of each database where it is to lead: host, port and name."""
    top, readable = topology.node(primary), readable_nodes(topology, primary, away)
    hosts = ",".join(node.address for node in readable)
    wished = {name: (top.address, top.port, dbname) for name, dbname in pgbouncer.databases.items()}
    read_only = {name: (hosts, readable[0].port, dbname) for name, dbname in pgbouncer.read_only_databases.items()}
    return {**wished, **read_only}


def leads_elsewhere(
    topology: Topology, pgbouncer: Pgbouncer, console: PgbouncerConsole, primary: NodeName
) -> tuple[str, ...]:
    """The databases that the PgBouncer has otherwise than they are wished, or not at all."""
    wished = _wished(topology, pgbouncer, primary)
    there = {name: (found.host, found.port, found.dbname) for name, found in console.databases.items()}
    return tuple(name for name, target in wished.items() if there.get(name) != target)


def paused_databases(topology: Topology, observed: Observed) -> tuple[str, ...]:
    """Those whose clients wait now."""
    return tuple(
        name
        for pgbouncer in topology.pgbouncers
        if (seen := observed.pgbouncers.get(pgbouncer.name)) is not None and isinstance(seen.console, Known)
        for name in seen.console.value.paused(pgbouncer.all_databases)
    )


def point_pgbouncers(draft: Draft) -> None:
    """What is wanted of every PgBouncer once the primary runs and the standbys stream."""
    wish, primary = draft.wish, draft.wish.primary
    ready = tuple(f"{primary}.{word}" for word in ("start", "unfence", "files", "restart", "promote", "role"))
    for pgbouncer in wish.topology.pgbouncers:
        seen = wish.observed.pgbouncers.get(pgbouncer.name, _NOT_SEEN)
        text = desired_text(wish.topology, pgbouncer, primary)
        console = seen.console.value if isinstance(seen.console, Known) else None
        elsewhere = console is not None and leads_elsewhere(wish.topology, pgbouncer, console, primary)
        draft.notes += _out_of_reach(pgbouncer, seen)
        needs = ready
        if not isinstance(seen.file, Unknown) and (seen.file != Known(text) or elsewhere):
            readable = readable_nodes(wish.topology, primary) if pgbouncer.read_only_databases else ()
            _repoint(draft, pgbouncer, (*ready, *(f"{node.name}.proof" for node in readable)))
            needs = (*ready, _id(pgbouncer, "repoint"))
        paused = console.paused(pgbouncer.all_databases) if console is not None else ()
        if paused:
            _resume(draft, pgbouncer, paused, needs)


def pause_pgbouncers(
    draft: Draft, needs: tuple[str, ...], seconds: float, expects: tuple[Condition, ...]
) -> tuple[str, ...]:
    """Before the primary is stopped: its clients wait from now on. Returns the ids of the steps.

    `expects` is what the stop needs: looked at before anybody waits. PAUSE is proven by its own answer, which comes
    when nothing runs any more.
    """
    added = []
    for pgbouncer in draft.wish.topology.pgbouncers:
        if not pgbouncer.databases:
            continue
        draft.add(
            Step(
                _id(pgbouncer, "pause"),
                StepKind.PAUSE,
                NodeName(pgbouncer.name),
                f"let the clients of {_names(pgbouncer.databases)} wait (PAUSE)",
                "They see no error, only one pause. It begins when the transactions that run have ended; where that "
                f"and what follows takes more than {seconds:g} s, everything goes back.",
                Risk.RELOAD,
                needs=needs,
                expects=(Condition("console_answers", NodeName(pgbouncer.name)), *expects),
                undo="pgtandem apply",
                names=tuple(pgbouncer.databases),
                within_seconds=seconds,
            )
        )
        added.append(_id(pgbouncer, "pause"))
    return tuple(added)


def lead_to_new_primary(draft: Draft, away: Collection[NodeName]) -> None:
    """At a role change: the databases lead to the new primary, and clients go on once it is there.

    While clients wait, nothing connects: what is paused is pointed anew already before the promotion. `away` are the
    nodes that cannot serve reads now; the read-only databases find their place when everything else is done.
    """
    wish, primary = draft.wish, draft.wish.primary
    promoted = f"{primary}.promote"
    for pgbouncer in wish.topology.pgbouncers:
        seen = wish.observed.pgbouncers.get(pgbouncer.name, _NOT_SEEN)
        draft.notes += _out_of_reach(pgbouncer, seen)
        if isinstance(seen.file, Unknown):
            continue
        pause = _id(pgbouncer, "pause")
        pauses = draft.has(pause)
        _repoint(draft, pgbouncer, (pause if pauses else promoted,), away, lone=not pauses)
        paused = isinstance(seen.console, Known) and seen.console.value.paused(pgbouncer.all_databases)
        if pauses or paused:
            names = dict.fromkeys((*(pgbouncer.databases if pauses else ()), *(paused or ())))
            _resume(draft, pgbouncer, tuple(names), (promoted, _id(pgbouncer, "repoint")), after_promotion=True)


def objections(topology: Topology, observed: Observed) -> Iterator[Problem]:
    """What keeps a planned change of the primary from going unnoticed by the clients of a PgBouncer."""
    for pgbouncer in topology.pgbouncers:
        seen = observed.pgbouncers.get(pgbouncer.name, _NOT_SEEN)
        fact = seen.console if isinstance(seen.console, Unknown) else seen.file
        if isinstance(fact, Unknown):
            yield Problem(
                pgbouncer.name,
                f"PgBouncer {pgbouncer.name} is out of reach",
                f"{fact.sentence} Its clients would see errors, and go on to the old primary.",
                fact.next_step or f"mend that, or take [pgbouncers.{pgbouncer.name}] out of the topology file",
            )


def pooling_notes(topology: Topology, observed: Observed) -> Iterator[str]:
    """What a person should know before clients are made to wait."""
    for pgbouncer in topology.pgbouncers:
        seen = observed.pgbouncers.get(pgbouncer.name, _NOT_SEEN)
        if isinstance(seen.console, Known) and seen.console.value.pool_mode == "session" and pgbouncer.databases:
            yield (
                f"{WARNING}PgBouncer {pgbouncer.name} pools sessions: the pause begins only when every client has "
                "disconnected (pool_mode = transaction waits for transactions alone)."
            )


def _repoint(
    draft: Draft,
    pgbouncer: Pgbouncer,
    needs: tuple[str, ...],
    away: Collection[NodeName] = (),
    *,
    lone: bool = False,
) -> None:
    primary = draft.wish.primary
    draft.add(
        Step(
            _id(pgbouncer, "repoint"),
            StepKind.REPOINT,
            NodeName(pgbouncer.name),
            _repoint_in_words(pgbouncer, primary, readable_nodes(draft.wish.topology, primary, away)),
            f"Written to {pgbouncer.file}, which it reads again (RELOAD).",
            Risk.RELOAD,
            needs=needs,
            undo="pgtandem apply",
            names=(desired_text(draft.wish.topology, pgbouncer, primary, away),),
            lone=lone,
        )
    )


def _repoint_in_words(pgbouncer: Pgbouncer, primary: NodeName, readable: tuple[Node, ...]) -> str:
    said = [f"{_names(pgbouncer.databases)} to {primary}"] if pgbouncer.databases else []
    if pgbouncer.read_only_databases:
        said.append(f"{_names(pgbouncer.read_only_databases)} to {_names([node.name for node in readable])}")
    return f"lead {' and '.join(said)}"


def _resume(
    draft: Draft,
    pgbouncer: Pgbouncer,
    names: tuple[str, ...],
    needs: tuple[str, ...],
    *,
    after_promotion: bool = False,
) -> None:
    """The promotion proves that there is a primary: who waits for it waits for no further look."""
    draft.add(
        Step(
            _id(pgbouncer, "resume"),
            StepKind.RESUME,
            NodeName(pgbouncer.name),
            f"let the clients of {_names(names)} go on (RESUME)",
            f"{draft.wish.primary} is the primary, and they wait.",
            Risk.RELOAD,
            needs=needs,
            expects=() if after_promotion else (Condition("is_primary", draft.wish.primary),),
            proves=(Condition("resumed", NodeName(pgbouncer.name), " ".join(names)),),
            names=names,
            lone=after_promotion,
        )
    )


def _out_of_reach(pgbouncer: Pgbouncer, seen: ObservedPgbouncer) -> Iterator[str]:
    if isinstance(seen.file, Unknown):
        yield (
            f"{WARNING}PgBouncer {pgbouncer.name} is left as it is: {pgbouncer.file} is out of reach. "
            f"{seen.file.sentence}{f' Then: {seen.file.next_step}.' if seen.file.next_step else ''}"
        )
    elif isinstance(seen.console, Unknown):
        written = "is there" if not isinstance(seen.file, Absent) else "is written"
        yield (
            f"{WARNING}PgBouncer {pgbouncer.name} cannot be asked: {seen.console.sentence} Its file {written}; it "
            "reads it when it starts, or at RELOAD."
        )


def _names(databases: Collection[str]) -> str:
    *most, last = databases
    return f"{', '.join(most)} and {last}" if most else last


def _id(pgbouncer: Pgbouncer, word: str) -> str:
    return f"{pgbouncer.name}.{word}"
