"""The effects of role changes. Between the stop of a primary and the promotion of its successor writes pause: what is
done there is done with as few questions as prove it."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.apply.handing_in import hand_in_wal
from pgtandem.apply.left_behind import end_left_behind
from pgtandem.apply.node_files import write_node_files
from pgtandem.apply.servers import shutdown_ended
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn
from pgtandem.model.observed import ControlData
from pgtandem.model.plan import Step
from pgtandem.plan.promotion import PROMOTION_FILE, render_promotion
from pgtandem.ports import DatabaseRefused, DatabaseUnreachable
from pgtandem.postgres.conf import RECOVERY_FILE
from pgtandem.postgres.controldata import parse_control_data
from pgtandem.postgres.history import is_segment, segment_timeline
from pgtandem.postgres.versions import has_standby_signal, promotes_by_function

_CHECKPOINT_SECONDS = 3600.0
#: After a checkpoint that took longer than this, a second one takes what was written meanwhile.
_LONG_CHECKPOINT_SECONDS = 0.5
_RECEIVE_SECONDS = 20.0
_PROMOTE_SECONDS = 120.0
#: How often the WAL summarizer is woken meanwhile.
_WAKE_SECONDS = 0.1
_END_SECONDS = 20.0

_UNDONE = "pgtandem status   (nobody was promoted: the old primary goes on; then try again)"


async def checkpoint(context: Context, step: Step) -> str:
    """Raises PgtandemError PT-4003 where it does not end within an hour."""
    clock = context.world.clock
    began = clock.monotonic()
    while True:
        this = clock.monotonic()
        try:
            await (await context.session(step.node)).checkpoint()
        except (DatabaseRefused, DatabaseUnreachable):
            # A statement may only take half a minute; the checkpoint goes on without it, and the next one joins it.
            if clock.monotonic() - this < 5:
                raise
        else:
            if clock.monotonic() - this < _LONG_CHECKPOINT_SECONDS:
                return ""
        if clock.monotonic() - began > _CHECKPOINT_SECONDS:
            raise PgtandemError("PT-4003", f"the checkpoint of {step.node} does not end")


async def fence(context: Context, step: Step) -> str:
    """What makes it a standby at its next start; the running server reads none of it. Of one that was killed nobody may
    be left who commits."""
    await write_node_files(context, step, context.node(step.node).data_directory)
    return await end_left_behind(context, step.node)


async def unfence(context: Context, step: Step) -> str:
    """Only of a server that is a primary or does not run: a standby without its signal would come up as a primary.

    Raises PgtandemError PT-4002.
    """
    await shutdown_ended(context, step.node)
    postmaster = await context.postmaster(step.node)
    if postmaster is not None and (await (await context.session(step.node)).position())[0]:
        raise PgtandemError("PT-4002", f"{step.node} runs as a standby by now", why="Its signal file stays.")
    signal = "standby.signal" if has_standby_signal(context.topology.postgresql) else RECOVERY_FILE
    await context.host(step.node).remove_file(posixpath.join(context.node(step.node).data_directory, signal))
    return ""


async def confirm_received(context: Context, step: Step) -> str:
    """The old primary was shut down cleanly, and the successor has replayed its very last record.

    Raises PgtandemError PT-4041.
    """
    assert step.upstream is not None
    control = await control_data(context, step)
    if control.state != "shut down":
        raise PgtandemError(
            "PT-4041",
            f"{step.upstream} was not shut down cleanly",
            why=f"Its control file says: {control.state}. What its standbys lack cannot be known.",
            next_step=_UNDONE,
        )
    session = await context.session(step.node)
    at: Lsn | None = None

    async def test() -> bool | None:
        nonlocal at
        _, at = await session.position()
        return True if at is not None and at > control.checkpoint_lsn else None

    if not await context.wait(test, _RECEIVE_SECONDS, pause=0.002):
        raise PgtandemError(
            "PT-4041",
            f"{step.node} does not have the last record of {step.upstream}",
            why=f"That begins at {control.checkpoint_lsn}, and {step.node} has replayed up to {at}.",
            next_step=_UNDONE,
        )
    return ""


async def control_data(context: Context, step: Step) -> ControlData:
    """The control file of the step's upstream. Raises PgtandemError PT-4001."""
    assert step.upstream is not None
    directory = context.node(step.upstream).data_directory
    done = await context.host(step.upstream).run(
        [context.program(step, "pg_controldata"), directory], deadline_seconds=20
    )
    try:
        if done.exit_code == 0:
            return parse_control_data(done.text)
        why = done.complaint
    except ValueError as error:
        why = str(error)
    raise PgtandemError("PT-4001", f"could not read the control file in {directory}", why=why)


async def promote(context: Context, step: Step) -> str:
    """Notes first who was chosen: from then on nobody else can become the primary. Raises PgtandemError PT-4042."""
    name, host = step.node, context.host(step.node)
    directory = context.node(name).data_directory
    session = await context.session(name)
    if not (await session.position())[0]:
        return "it was the primary already"
    note = render_promotion(name, int(step.names[0]))
    await host.write_file(posixpath.join(directory, PROMOTION_FILE), note.encode())
    if promotes_by_function(context.topology.postgresql):
        await session.promote()
    else:
        done = await host.run([context.program(step, "pg_ctl"), "promote", "-W", "-s", "-D", directory])
        if done.exit_code:
            raise PgtandemError("PT-4042", f"could not promote {name}", why=done.complaint)

    now, wakes = context.world.clock.monotonic, True
    next_wake = now() + _WAKE_SECONDS

    async def test() -> bool | None:
        nonlocal wakes, next_wake
        if not (await session.position())[0]:
            return True
        if wakes and now() >= next_wake:
            wakes, next_wake = await session.wake_summarizer(), now() + _WAKE_SECONDS
        return None

    if not await context.wait(test, _PROMOTE_SECONDS, pause=0.002):
        raise PgtandemError(
            "PT-4042",
            f"{name} did not become the primary within {_PROMOTE_SECONDS:g} seconds",
            why=await context.log_tail(name),
            next_step="see what holds it up (its log, a WAL receiver that hangs), then run the same command again: it "
            "goes on with this node",
        )
    return ""


async def forget_promotion(context: Context, step: Step) -> str:
    """What the archive lacks of the WAL before it is handed in first: whatever promoted it may have been cut off."""
    path = posixpath.join(context.node(step.node).data_directory, PROMOTION_FILE)
    said = await hand_in_wal(context, step) if step.names else ""
    await context.host(step.node).remove_file(path)
    return said


async def settle_wal(context: Context, step: Step) -> str:
    """Marks segments of earlier timelines as archived that the server itself neither archived nor meant to; it does the
    same for what it streams (XLogArchiveForceDone), except where the stream broke off or it was the primary itself."""
    host, wal = context.host(step.node), posixpath.join(context.node(step.node).data_directory, "pg_wal")
    status = posixpath.join(wal, "archive_status")
    marked = set(await host.list_directory(status) or ())
    timeline = int(step.names[0])
    for name in await host.list_directory(wal) or ():
        if not is_segment(name) or segment_timeline(name) >= timeline:
            continue
        if not {f"{name}.ready", f"{name}.done"} & marked:
            await host.write_file(posixpath.join(status, f"{name}.done"), b"")
    return ""


async def end_server(context: Context, step: Step) -> str:
    """An immediate shutdown of a server that answers nobody. Raises PgtandemError PT-4005 when it does not end."""
    postmaster = await context.postmaster(step.node)
    if postmaster is None:
        return "it did not run"
    host = context.host(step.node)
    await context.leave(step.node)
    await host.end_process(postmaster.pid)

    async def test() -> bool | None:
        return None if await host.process_alive(postmaster.pid) else True

    if not await context.wait(test, _END_SECONDS):
        raise PgtandemError(
            "PT-4005",
            f"{step.node} does not end (process {postmaster.pid})",
            why="It did not obey an immediate shutdown: it is frozen, or waits for its disk.",
            next_step=f"kill -9 {postmaster.pid}, then run the same command again",
        )
    return ""
