"""Giving restored data to a node: the present data is set aside, and never removed here."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.apply.node_files import write_node_files
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.lsn import Timeline
from pgtandem.model.observed import Marker
from pgtandem.model.plan import Step
from pgtandem.model.restore import RESTORED
from pgtandem.observe.directory import observe_marker, observe_postmaster
from pgtandem.plan.recovery import RESTORE_FILE, same_target
from pgtandem.ports import Host
from pgtandem.postgres.controldata import parse_control_data
from pgtandem.postgres.history import is_segment, segment_timeline

_STOP_SECONDS = 600.0


async def put_back(context: Context, step: Step) -> str:
    """Two renames, after everything that could fail. Cut off between them there is no data directory, and the next run
    makes the second one. Raises PgtandemError PT-4002."""
    order, (aside,) = step.restore, step.names
    assert order is not None
    host, final = context.host(step.node), context.node(step.node).data_directory
    if await host.list_directory(order.directory) is None:
        note = await host.read_file(posixpath.join(final, RESTORE_FILE)) or b""
        if same_target(note.decode(errors="replace"), order):
            return ""
        raise _gone(f"{order.directory} is not there any more")
    marker = await observe_marker(host, order.directory)
    if marker not in (Marker(context.topology.cluster, RESTORED), Marker(context.topology.cluster, step.node)):
        raise _gone(f"{order.directory} holds no restored server")
    await _stop(context, step, host, order.directory)
    await _have_it_archived(host, order.directory, await _timeline(context, step, host, order.directory))
    await write_node_files(context, step, order.directory)
    await host.sync_tree(order.directory)
    if await host.list_directory(final):
        if await observe_marker(host, final) != Marker(context.topology.cluster, step.node):
            raise _gone(f"{final} is not the data directory of {step.node} any more")
        await host.rename(final, aside)
    await host.rename(order.directory, final)
    return f"what {step.node} had is in {aside}"


async def forget_restore(context: Context, step: Step) -> str:
    await context.host(step.node).remove_file(posixpath.join(context.node(step.node).data_directory, RESTORE_FILE))
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


async def _timeline(context: Context, step: Step, host: Host, directory: str) -> Timeline:
    """Raises PgtandemError PT-4002 for data whose recovery has not ended."""
    done = await host.run([context.program(step, "pg_controldata"), directory], deadline_seconds=20)
    control = parse_control_data(done.text) if done.exit_code == 0 else None
    if control is None or control.state != "shut down":
        state = control.state if control else done.complaint
        raise _gone(f"the restored server in {directory} has not ended its recovery: {state}")
    return control.timeline


async def _have_it_archived(host: Host, directory: str, timeline: Timeline) -> None:
    """It archived nothing while it stood beside the cluster; from now on its timeline is the cluster's. What it
    wrote is marked as a server that archives would have marked it."""
    wal = posixpath.join(directory, "pg_wal")
    names = await host.list_directory(wal) or ()
    written = sorted(name for name in names if is_segment(name) and segment_timeline(name) == timeline)
    for name in (f"{timeline:08X}.history", *written[:-1]):
        done = posixpath.join(wal, "archive_status", f"{name}.done")
        if name in names and await host.read_file(done) is None:
            await host.write_file(posixpath.join(wal, "archive_status", f"{name}.ready"), b"")
