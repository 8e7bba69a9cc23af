"""Giving restored data to a node: the present data is set aside, and never removed here."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.apply.node_files import write_node_files
from pgtandem.apply.swapped_places import swap_place, swaps_of
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.observed import ControlData, Marker
from pgtandem.model.plan import Step
from pgtandem.model.restore import RESTORED
from pgtandem.observe.directory import observe_marker, observe_postmaster
from pgtandem.observe.paths import log_file
from pgtandem.plan.recovery import RESTORE_FILE, in_place_of, render_order, same_target
from pgtandem.ports import Host
from pgtandem.postgres.controldata import parse_control_data
from pgtandem.postgres.history import segment_timeline
from pgtandem.postgres.segments import segment_number, segment_of

_STOP_SECONDS = 600.0


async def put_back(context: Context, step: Step) -> str:
    """Two renames, after everything that could fail. Cut off between them there is no data directory, and the next run
    makes the second one. Raises PgtandemError PT-4002."""
    order, (aside,) = step.restore, step.names
    assert order is not None
    host, final = context.host(step.node), context.node(step.node).data_directory
    if await host.list_directory(order.directory) is None:
        note = (await host.read_file(posixpath.join(final, RESTORE_FILE)) or b"").decode(errors="replace")
        if same_target(note, order) and in_place_of(note, step.node):
            return ""
        raise _gone(f"{order.directory} is not there any more")
    marker = await observe_marker(host, order.directory)
    if marker not in (Marker(context.topology.cluster, RESTORED), Marker(context.topology.cluster, step.node)):
        raise _gone(f"{order.directory} holds no restored server")
    await _stop(context, step, host, order.directory)
    await _have_it_archived(host, order.directory, await _end_of(context, step, host, order.directory))
    await write_node_files(context, step, order.directory)
    await host.write_file(posixpath.join(order.directory, RESTORE_FILE), render_order(order).encode())
    suffix = aside.removeprefix(final)
    old = final if await host.list_directory(final) else aside
    for swap in await swaps_of(host, order, context.node(step.node).wal_directory, old, suffix):
        await swap_place(host, swap, order.directory, old)
    await host.sync_tree(order.directory)
    if await host.list_directory(final):
        if await observe_marker(host, final) != Marker(context.topology.cluster, step.node):
            raise _gone(f"{final} is not the data directory of {step.node} any more")
        await host.rename(final, aside)
    await host.rename(order.directory, final)
    return f"what {step.node} had is in {aside}"


async def forget_restore(context: Context, step: Step) -> str:
    """The log of the server that stood beside the cluster goes first: without the note nobody comes back for it."""
    host, order = context.host(step.node), step.restore
    assert order is not None
    await host.remove_file(log_file(order.directory))
    await host.remove_file(posixpath.join(context.node(step.node).data_directory, RESTORE_FILE))
    return ""


def _gone(what: str) -> PgtandemError:
    return PgtandemError(
        "PT-4002", what, why="Nothing was replaced.", next_step="run the same command again: it looks anew"
    )


async def _stop(context: Context, step: Step, host: Host, directory: str) -> None:
    fact = await observe_postmaster(host, directory)
    if not isinstance(fact, Known):
        return
    argv = [context.program(step, "pg_ctl"), "stop", "-W", "-s", "-m", "fast", "-D", directory]
    await host.run(argv, deadline_seconds=60)

    async def test() -> bool | None:
        return None if await host.process_alive(fact.value.pid) else True

    if not await context.wait(test, _STOP_SECONDS):
        raise PgtandemError("PT-4005", f"the restored server in {directory} did not stop")


async def _end_of(context: Context, step: Step, host: Host, directory: str) -> ControlData:
    """Raises PgtandemError PT-4002 for data whose recovery has not ended."""
    done = await host.run([context.program(step, "pg_controldata"), directory], deadline_seconds=20)
    control = parse_control_data(done.text) if done.exit_code == 0 else None
    if control is None or control.state != "shut down":
        state = control.state if control else done.complaint
        raise _gone(f"the restored server in {directory} has not ended its recovery: {state}")
    return control


async def _have_it_archived(host: Host, directory: str, control: ControlData) -> None:
    """It archived nothing while it stood beside the cluster; from now on its timeline is the cluster's. What it has
    finished is marked as a server that archives would have marked it: not the segment in which it stopped, which it
    goes on with, and not those behind, which are prepared and have the names but nothing of theirs."""
    wal, size = posixpath.join(directory, "pg_wal"), control.wal_segment_bytes
    names, stopped = sorted(await host.list_directory(wal) or ()), segment_of(control.checkpoint_lsn, size)
    finished = [
        name
        for name in names
        if (number := segment_number(name, size)) is not None
        and number < stopped
        and segment_timeline(name) == control.timeline
    ]
    for name in (f"{control.timeline:08X}.history", *finished):
        done = posixpath.join(wal, "archive_status", f"{name}.done")
        if name in names and await host.read_file(done) is None:
            await host.write_file(posixpath.join(wal, "archive_status", f"{name}.ready"), b"")
