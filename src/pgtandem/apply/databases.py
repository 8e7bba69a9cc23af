"""What is changed over SQL: the replication role, slots, reloads, settings of ALTER SYSTEM; and the proof by a row."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import ABSENT, Known, Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import REPLICATION_ROLE, NodeName, SlotName
from pgtandem.model.plan import Condition, Step
from pgtandem.observe.archived import archived_names
from pgtandem.observe.parts import SERVER
from pgtandem.plan.conditions import judge
from pgtandem.ports import DatabaseUnreachable
from pgtandem.postgres.scram import verifier
from pgtandem.postgres.server_log import segment_asked_in_vain

#: What a standby says whose upstream lacks what follows (in the language of the server).
_REMOVED = "has already been removed"
_STREAM_SECONDS = 120.0
_ROW_SECONDS = 60.0
#: How often the standby's log is read meanwhile.
_LOG_SECONDS = 1.0


async def create_role(context: Context, step: Step) -> str:
    salt = context.world.workspace.token().encode()
    stored = verifier(context.replication_secret().reveal(), salt)
    await (await context.session(step.node)).put_replication_role(REPLICATION_ROLE, stored)
    return ""


async def drop_role(context: Context, step: Step) -> str:
    session = await context.session(step.node)
    for name in step.names:
        await session.drop_role(name)
    return ""


async def create_slots(context: Context, step: Step) -> str:
    """A slot that was lost is dropped first: it can never serve again."""
    session = await context.session(step.node)
    seen = (await context.observer.nodes({step.node: SERVER})).nodes[step.node].running
    for name in step.names:
        slot = seen.slots.get(name) if seen else None
        if slot and slot.wal_status == "lost":
            await session.drop_slot(SlotName(name))
        await session.create_slot(SlotName(name))
    return ""


async def drop_slots(context: Context, step: Step) -> str:
    session = await context.session(step.node)
    for name in step.names:
        await session.drop_slot(SlotName(name))
    return ""


async def reset_settings(context: Context, step: Step) -> str:
    session = await context.session(step.node)
    for name in step.names:
        await session.reset_setting(name)
    await session.reload()
    return ""


async def reload(context: Context, step: Step) -> str:
    await (await context.session(step.node)).reload()
    return ""


async def prove_replication(context: Context, step: Step) -> str:
    """The standby streams, and a row that is written on the primary now is read on it; on a delayed one it is enough
    that the row's WAL has been received, or that it delays what it has: nobody waits for that.

    Raises PgtandemError PT-4008 when it does not stream, PT-4012 when it never can,
    PT-6002 when the row does not arrive.
    """
    assert step.upstream is not None
    await _streams(context, step, step.upstream)
    observed = await context.observer.nodes(dict.fromkeys(context.topology.names, SERVER))
    delay, seen = context.node(step.node).apply_delay, observed.nodes[step.node].running
    if delay and seen and seen.delaying and seen.receiver is None:
        return f"it replays what it has, {delay} late, and streams again after that"
    primaries = observed.primaries()
    if len(primaries) != 1:
        raise PgtandemError("PT-4008", f"there is no single primary to prove {step.node} against")
    token = context.world.workspace.token()
    began = context.world.clock.monotonic()
    primary, standby = await context.session(primaries[0]), await context.session(step.node)
    await primary.write_proof(token)
    if delay:
        return await _received(context, step, primaries[0], delay)

    async def arrived() -> bool | None:
        """Other standbys are proven at the same time: what the primary shows by now is this row or a later one."""
        seen = await standby.read_proof()
        return True if seen == token or seen == await primary.read_proof() else None

    if not await context.wait(arrived, _ROW_SECONDS, pause=0.002):
        raise PgtandemError(
            "PT-6002",
            f"a row written on {primaries[0]} did not arrive on {step.node} within {_ROW_SECONDS:g} seconds",
            why="It streams, but does not replay.\n" + await context.log_tail(step.node),
        )
    milliseconds = (context.world.clock.monotonic() - began) * 1000
    return f"a row written on {primaries[0]} was read on {step.node} after {milliseconds:.0f} ms"


async def _received(context: Context, step: Step, primary: NodeName, delay: str) -> str:
    """What is on the primary by now is on the standby, not replayed yet. Raises PgtandemError PT-6002."""
    began = context.world.clock.monotonic()
    here = (await context.observer.nodes({primary: SERVER})).nodes[primary].running
    assert here is not None
    written = here.current_lsn
    assert written is not None

    async def arrived() -> bool | None:
        there = (await context.observer.nodes({step.node: SERVER})).nodes[step.node].running
        return True if there and there.receive_lsn and there.receive_lsn >= written else None

    if not await context.wait(arrived, _ROW_SECONDS, pause=0.01):
        raise PgtandemError(
            "PT-6002",
            f"WAL of a row written on {primary} did not arrive on {step.node} within {_ROW_SECONDS:g} seconds",
            why="It streams, but is far behind.\n" + await context.log_tail(step.node),
        )
    milliseconds = (context.world.clock.monotonic() - began) * 1000
    return (
        f"a row written on {primary} was received on {step.node} after {milliseconds:.0f} ms; it is shown there "
        f"{delay} later"
    )


async def _streams(context: Context, step: Step, upstream: NodeName) -> None:
    delayed = context.node(step.node).apply_delay is not None
    condition = Condition("streams_or_delays" if delayed else "streams_from", step.node, upstream)
    known, clock = await context.log_lines(step.node), context.world.clock
    look_at = clock.monotonic() + _LOG_SECONDS
    gone: PgtandemError | None = None

    async def test() -> bool | None:
        nonlocal gone, look_at
        if await context.postmaster(step.node) is None:
            return False
        try:
            observed = await context.observer.nodes({upstream: SERVER, **({step.node: SERVER} if delayed else {})})
        except DatabaseUnreachable:
            return None
        if judge(condition, observed) is True:
            return True
        if clock.monotonic() >= look_at:
            gone = await _waits_in_vain(context, step.node, upstream, await context.log_since(step.node, known))
            look_at = clock.monotonic() + _LOG_SECONDS
        return False if gone else None

    replayed = await _replayed(context, step.node)
    while not await context.wait(test, _STREAM_SECONDS):
        if gone:
            raise gone
        if (before := replayed) and (replayed := await _replayed(context, step.node)) and replayed > before:
            continue  # it catches up from the archive
        tail = await context.log_tail(step.node)
        raise PgtandemError(
            "PT-4008",
            f"{step.node} does not stream from {upstream}",
            why=f"Its log says:\n{tail}" if tail else "Its log says nothing about it.",
            next_step="mend what the log names, and run the same command again"
            + (f"; where WAL is gone or damaged: pgtandem rejoin {step.node} --copy" if _REMOVED in tail else ""),
        )


async def _replayed(context: Context, name: NodeName) -> Lsn | None:
    try:
        server = (await context.observer.nodes({name: SERVER})).nodes[name].running
    except DatabaseUnreachable:
        return None
    return server.replay_lsn if server else None


async def _waits_in_vain(
    context: Context, name: NodeName, upstream: NodeName, lines: list[str]
) -> PgtandemError | None:
    """Why a standby waits in vain for a WAL segment, by what its log says. What the primary still has will be in the
    archive, if there is one, and what is in the archive will be fetched: that is worth waiting for."""
    segment = segment_asked_in_vain(lines)
    if segment is None or not context.topology.archives:
        return None if segment is None else _never_streams(context, name, upstream, segment)
    observed = await context.observer.nodes(dict.fromkeys(context.topology.names, SERVER))
    for primary in observed.primaries():
        folder = posixpath.join(context.node(primary).data_directory, "pg_wal")
        if segment in (await context.host(primary).list_directory(folder) or ()):
            return None
    systems = {node.running.system_identifier for node in observed.nodes.values() if node.running}
    archived = await archived_names(context.topology, context.world, systems.pop()) if len(systems) == 1 else ABSENT
    if isinstance(archived, Unknown):
        return PgtandemError(
            "PT-4008",
            f"{name} does not stream from {upstream} yet: it needs WAL segment {segment}",
            why=f"{upstream} has removed it, and the archive that may have it cannot be asked: {archived.sentence}",
            next_step=f"make the archive's host reachable: {name} goes on by itself then",
        )
    if isinstance(archived, Known) and segment in archived.value:
        return None
    return _never_streams(context, name, upstream, segment)


def _never_streams(context: Context, name: NodeName, upstream: NodeName, segment: str) -> PgtandemError:
    archive = context.topology.archive
    elsewhere = f"the archive {archive.directory} does not have it" if archive else "there is no WAL archive"
    if context.topology.foreign_archive is not None:
        elsewhere = "its restore_command did not bring it"
    directory = context.node(name).data_directory
    return PgtandemError(
        "PT-4012",
        f"{name} can never catch up with {upstream}: it needs WAL segment {segment}",
        why=f"Its log says that {upstream} has removed it, and {elsewhere}.",
        next_step=f"run the same command again: {name} is then copied anew, where that loses nothing; or stop it and "
        f"move {directory} away first",
    )
