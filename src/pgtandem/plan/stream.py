"""The archive's stream: its slot on the primary, and the receiver on the archive's host.

The receiver looks for the primary by itself, so a role change only has to leave it a slot there. docs/decisions/0036.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Absent, Known, Unknown, value_or_none
from pgtandem.model.names import REPLICATION_ROLE, STREAM_NAME, NodeName
from pgtandem.model.plan import WARNING, Condition, Risk, Step, StepKind
from pgtandem.model.stream import ObservedStream
from pgtandem.model.topology import Node, Topology
from pgtandem.plan.conditions import judge
from pgtandem.plan.desired import Wish, settings_in_place
from pgtandem.plan.draft import Draft
from pgtandem.plan.keeper import UNIT_STEP, forget_unit, keep_receiver, unit_of
from pgtandem.plan.roles import is_fenced, seen_as_standby
from pgtandem.plan.slot_cap import up_to_the_cap
from pgtandem.plan.slots import before_standbys_move
from pgtandem.plan.tls import speaks_tls
from pgtandem.postgres.certificates import VERIFY
from pgtandem.postgres.conninfo import parse_conninfo, render_conninfo
from pgtandem.postgres.stream_scripts import PASSFILE, ROOT, RUN, RUN_TEXT, STARTED, WANTED, render_source
from pgtandem.postgres.sync_names import listed_names
from pgtandem.topology.places import host_name

#: libpq of this version and later, and pg_receivewal is not older than the servers.
_KNOWS_USER_TIMEOUT = 12


def receiver_conninfo(topology: Topology, nodes: Sequence[Node], *, verify: bool) -> str:
    """How the receiver gets to whichever of the nodes is the primary; files are those beside it."""
    further: dict[str, str | int] = {"sslmode": VERIFY, "sslrootcert": ROOT} if verify else {}
    if topology.postgresql >= _KNOWS_USER_TIMEOUT:
        # It reports every 10 s, and what is not acknowledged keeps TCP from asking whether the other end lives.
        further["tcp_user_timeout"] = 15_000
    return render_conninfo(
        {
            "host": ",".join(node.address for node in nodes),
            "port": ",".join(str(node.port) for node in nodes),
            "user": REPLICATION_ROLE,
            "passfile": PASSFILE,
            "application_name": STREAM_NAME,
            "target_session_attrs": "read-write",
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            **further,
        }
    )


def receiver_files(wish: Wish, program: str, sources: Collection[NodeName]) -> dict[str, str]:
    """What the receiver is to run with; it takes WAL of nobody but the sources."""
    authority = value_or_none(wish.observed.authority)
    verify = wish.topology.tls is not None and authority is not None
    verify = verify and all(speaks_tls(wish, name) for name in wish.topology.names)
    nodes = [node for node in wish.topology.nodes if node.name in sources]
    conninfo = receiver_conninfo(wish.topology, nodes, verify=verify)
    files = {RUN: RUN_TEXT, STARTED: render_source(program, conninfo), WANTED: ""}
    return {**files, ROOT: authority.text} if verify and authority is not None else files


def safe_sources(wish: Wish) -> tuple[NodeName, ...]:
    """The primary, and those of whom it is seen that they are no other one: a receiver takes whoever accepts writes,
    and what it confirms to a primary that was given up is lost."""
    nodes = wish.observed.nodes
    return tuple(
        name
        for name in wish.topology.names
        if name == wish.primary or seen_as_standby(nodes[name]) or is_fenced(nodes[name])
    )


def _sources(wish: Wish, seen: ObservedStream, *, streams: bool) -> tuple[NodeName, ...]:
    """Beside those, whom it knows already while it streams from where it should: a standby's host that is away for a
    moment changes nothing."""
    known: set[tuple[str, str]] = set()
    started = (seen.files.get(STARTED) or "").partition("\n")[2].strip()
    if seen.running and streams:
        with suppress(ValueError):
            told = parse_conninfo(started)
            known = set(zip(told.get("host", "").split(","), told.get("port", "").split(","), strict=False))
    safe = safe_sources(wish)
    return tuple(
        node.name for node in wish.topology.nodes if node.name in safe or (node.address, str(node.port)) in known
    )


def plan_stream(draft: Draft) -> None:
    topology, stream = draft.wish.topology, draft.wish.observed.stream
    _forgotten_last(draft)
    streams = judge(Condition("archive_streams", draft.wish.primary), draft.wish.observed) is True
    if not topology.streams_to_archive:
        if isinstance(stream, Known):
            _end(draft, stream.value)
        elif streams and isinstance(stream, Absent):
            raise _elsewhere(draft.wish, "the topology file does not say where any more")
        return
    if topology.archive and streams and isinstance(stream, Known) and not stream.value.there:
        raise _elsewhere(draft.wish, f"{topology.archive.directory} is not there", moved=True)
    stream_slot(draft, draft.wish.primary)
    if isinstance(stream, Unknown):
        draft.notes.append(f"{WARNING}the receiver of the archive's stream cannot be looked at: {stream.sentence}")
        return
    seen = stream.value if isinstance(stream, Known) else ObservedStream()
    if not isinstance(seen.program, Known):
        raise _no_program(topology)
    keep_receiver(draft, seen)
    _receive(draft, seen, seen.program.value)


def _forgotten_last(draft: Draft) -> None:
    """Where commits are no longer to wait for the stream, standbys name it until the primary does not: by their files a
    failover knows who may have confirmed something, where nobody can look at the primary."""
    wish, name = draft.wish, draft.wish.primary
    named = settings_in_place(wish.seen(name)).get("synchronous_standby_names", "")
    if STREAM_NAME not in listed_names(named) or wish.topology.stream_confirms:
        return
    others = [f"{other}.files" for other in wish.topology.names if other != name]
    draft.steps[:] = [
        replace(step, needs=(*step.needs, f"{name}.files")) if step.id in others else step for step in draft.steps
    ]


def stream_slot(draft: Draft, name: NodeName) -> None:
    """On the primary, and on who is about to be: a slot that nobody moves would hold WAL on a standby."""
    if not draft.wish.topology.streams_to_archive:
        return
    seen = draft.wish.seen(name)
    if seen.running is not None and not draft.builds(name):
        if judge(Condition("slot_usable", name, STREAM_NAME), draft.wish.observed) is True:
            return
    elif not draft.builds(name):
        draft.look_again = True
        return
    most = up_to_the_cap(draft.wish.topology.postgresql)
    lost = seen.running is not None and STREAM_NAME in seen.running.slots
    draft.add(
        Step(
            f"{name}.slot.archive",
            StepKind.CREATE_SLOT,
            name,
            f"{'make' if lost else 'create'} the replication slot {STREAM_NAME}{' anew' if lost else ''}",
            ("It no longer holds the WAL that it was to hold. " if lost else "")
            + f"{name} then keeps the WAL that the archive's stream still needs{most}.",
            Risk.CREATE,
            needs=(f"{name}.start", f"{name}.files", *before_standbys_move(draft, name)),
            expects=(Condition("answers", name),),
            proves=(Condition("slot_usable", name, STREAM_NAME),),
            undo=f"SELECT pg_drop_replication_slot('{STREAM_NAME}')",
            names=(STREAM_NAME,),
        )
    )


def _receive(draft: Draft, seen: ObservedStream, program: str) -> None:
    """Started, started anew with other files, or waited for."""
    wish, name = draft.wish, draft.wish.primary
    if wish.seen(name).running is None and not draft.builds(name):
        draft.look_again = True
        return
    streams = judge(Condition("archive_streams", name), wish.observed) is True
    wanted = receiver_files(wish, program, _sources(wish, seen, streams=streams))
    as_wished = all(seen.files.get(file) == text for file, text in wanted.items())
    files = as_wished and (seen.passfile_ok or bool(wish.observed.passwords.next))
    if seen.running and files and streams:
        return
    what, why = "stream WAL to the archive as it is written", "Whole segments alone would leave out the last one."
    if seen.running and as_wished:
        what = "see that WAL is streamed to the archive" if files else "give the receiver of the stream its password"
        why = f"It runs, and {name} sends it nothing." if files else "It has another one than its role."
    elif seen.running:
        what, why = "start the stream of the archive anew", "It was started with other files than it should have."
    elif seen.there:
        what, why = "start the stream of the archive again", "Its receiver does not run."
    start_stream(draft, wanted, what, why, unit=unit_of(draft, seen))


def start_stream(
    draft: Draft, files: Mapping[str, str], what: str, why: str, *, unit: str = "", after: tuple[str, ...] = ()
) -> None:
    """The receiver runs with these files and gets WAL of the primary, once those steps are done, by `unit` if any."""
    name, archive = draft.wish.primary, draft.wish.topology.archive
    assert archive is not None
    where = host_name(archive.host) if archive.host is not None and not archive.host.is_local else None
    draft.add(
        Step(
            "stream.start",
            StepKind.START_STREAM,
            name,
            what + (f", on {where}" if where else ""),
            why,
            Risk.CREATE,
            needs=(
                *("archive.folder", f"{name}.start", f"{name}.files", f"{name}.restart", f"{name}.role"),
                *(f"{name}.slot.archive", f"{name}.rotate", UNIT_STEP, *after),
            ),
            expects=(Condition("is_primary", name),),
            proves=(Condition("archive_streams", name),),
            undo="stream = false under [archive], and apply",
            names=tuple(word for file, text in files.items() for word in (file, text)),
            service=unit,
        )
    )


def _end(draft: Draft, seen: ObservedStream) -> None:
    """Only once no commit waits for it any more."""
    name = draft.wish.primary
    draft.add(
        Step(
            "stream.stop",
            StepKind.STOP_STREAM,
            name,
            "end the stream of the archive",
            "The topology file no longer asks for it.",
            Risk.CREATE,
            needs=(f"{name}.files", f"{name}.sync"),
            undo="stream = true under [archive], and apply",
        )
    )
    forget = forget_unit(seen, name, "There is nothing left for it to start.", ("stream.stop",))
    if forget is not None:
        draft.add(forget)
    draft.add(
        Step(
            "stream.remove",
            StepKind.REMOVE_STREAM,
            name,
            "remove what was streamed, once all of it is archived",
            "The archive has it as whole segments then.",
            Risk.CREATE,
            needs=("stream.stop", "stream.unit.remove", f"{name}.start", f"{name}.restart"),
            expects=(Condition("is_primary", name),),
        )
    )


def _elsewhere(wish: Wish, what: str, *, moved: bool = False) -> PgtandemError:
    """A receiver in a place that nobody can look at: it would go on for ever, and keep the slot from any other."""
    server = wish.seen(wish.primary).running
    senders = server.senders if server else ()
    whence = next((each.client_address for each in senders if each.application_name == STREAM_NAME), None)
    why = f"Its receiver runs{f' on {whence}' if whence else ''} and has to be ended where it is."
    next_step = "put [archive] back as it was with stream = false, then pgtandem apply; after that change it"
    if moved:
        why = f"That folder was moved or removed, or its disk is not mounted; or this file names another one now. {why}"
        next_step = f"put the folder back; or, where another one is meant: {next_step}"
    return PgtandemError(
        "PT-3013",
        f"WAL of {wish.primary} is streamed to an archive, and {what}",
        why=why,
        next_step=next_step,
    )


def _no_program(topology: Topology) -> PgtandemError:
    assert topology.archive is not None
    assert topology.archive.host is not None
    where = host_name(topology.archive.host) or "this machine"
    return PgtandemError(
        "PT-3072",
        f"there is no pg_receivewal of PostgreSQL {topology.postgresql} or newer on {where}",
        why="archive.stream needs it on the archive's host.",
        next_step=f"apt-get install postgresql-client-{topology.postgresql}   or   "
        f"dnf install postgresql{topology.postgresql}   or   stream = false",
    )
