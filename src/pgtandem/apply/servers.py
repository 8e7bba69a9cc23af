"""Starting and stopping server processes. A server is up when it answers, and down when its process has ended."""

import asyncio
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pgtandem.apply.context import Context
from pgtandem.apply.left_behind import end_left_behind
from pgtandem.errors import PgtandemError, is_full
from pgtandem.model.names import NodeName
from pgtandem.model.observed import PostmasterState
from pgtandem.model.plan import Step
from pgtandem.observe.paths import log_file
from pgtandem.ports import BuiltNode, Completed, Host
from pgtandem.postgres.base_backup import LABEL_FILE
from pgtandem.postgres.versions import has_init_sync_method

#: How long a start may take while the process lives: crash recovery of a busy server takes minutes, not seconds.
START_SECONDS = 3600.0
#: How long a fast shutdown may take: it waits for the archiver and for standbys to get the last record.
STOP_SECONDS = 600.0
_APPEAR_SECONDS = 10.0
#: How long a unit may say that it is starting: pg_ctlcluster goes on looking at a server for six seconds.
_SETTLE_SECONDS = 30.0
#: A server that was killed stays in the process table until its parent reaps it; while its number is there, the new one
#: believes that it runs. That passes by itself within seconds.
#: A killed server's process is told of as alive until it is reaped, and PostgreSQL then starts nothing on its data.
GHOST, GHOST_SECONDS = 'lock file "postmaster.pid" already exists', 20.0


async def start(context: Context, step: Step) -> str:
    """Starts the server unless it runs, and waits until it accepts connections. Raises PgtandemError PT-4004."""
    _remember(context, step.node)
    return await start_quietly(context, step)


async def start_quietly(context: Context, step: Step) -> str:
    """The same for a server that is none of the cluster's nodes: nobody is to remember that it was built."""
    name, clock = step.node, context.world.clock
    began, remark = clock.monotonic(), ""
    while True:
        await shutdown_ended(context, name)
        known = await context.log_lines(name)
        if await context.postmaster(name) is None:
            await _launch(context, step)
        if await _comes_up(context, name, known):
            return remark
        if not remark and (remark := await end_left_behind(context, name)):
            continue
        if clock.monotonic() - began > GHOST_SECONDS or GHOST not in "\n".join(await context.log_since(name, known)):
            raise await _start_error(context, name)
        await clock.sleep(0.2)


def _remember(context: Context, name: NodeName) -> None:
    """Who runs must be stopped once the topology file does not name it any more; also one that was put back."""
    node, workspace = context.node(name), context.world.workspace
    built = BuiltNode(name, node.host.url, node.address, node.port, node.data_directory)
    if built not in workspace.built_nodes():
        workspace.remember_node(built)


async def shutdown_ended(context: Context, name: NodeName) -> None:
    """A server that somebody told to stop (an interrupted run, say) is not waited for: it is started once it ended."""

    async def test() -> bool | None:
        postmaster = await context.postmaster(name)
        return None if postmaster is not None and postmaster.state is PostmasterState.STOPPING else True

    await context.wait(test, STOP_SECONDS)


async def _launch(context: Context, step: Step) -> None:
    if step.service:
        await _settled_state(context, step)  # a start that is under way would take this one for itself
        await _systemctl(context, step, "start", "PT-4004")
        return
    host, directory = context.host(step.node), context.node(step.node).data_directory
    argv = [context.program(step, "pg_ctl"), "start", "-W", "-s", "-D", directory, "-l", log_file(directory)]
    if has_init_sync_method(context.topology.postgresql) and await _is_fresh(host, directory):
        argv += ["-o", "-c recovery_init_sync_method=syncfs"]
    done = await host.run(argv, deadline_seconds=60)
    if done.exit_code:
        raise PgtandemError("PT-4004", f"could not start {step.node}", why=done.complaint)


async def _is_fresh(host: Host, directory: str) -> bool:
    """Whether this is the first start of a copy or a restore, which was made durable as a whole (decision 0038)."""
    return await host.read_file(posixpath.join(directory, LABEL_FILE)) is not None


#: As root, or by sudo that was seen to ask for no password.
_SYSTEMCTL = '[ "$(id -u)" = 0 ] || exec sudo -n systemctl "$@"; exec systemctl "$@"'


async def _systemctl(context: Context, step: Step, verb: str, code: str) -> Completed:
    """Gives systemd the job; whether it is done is seen at the server itself. Raises PgtandemError with that code."""
    argv = ["sh", "-c", _SYSTEMCTL, "sh", verb, "--no-block", step.service]
    done = await context.host(step.node).run_as_login(argv, deadline_seconds=60)
    if done.exit_code:
        why = f"systemctl {verb} {step.service}: {done.complaint}"
        raise PgtandemError(code, f"could not {verb} {step.node}", why=why)
    return done


async def _runs_by_unit(context: Context, step: Step) -> bool:
    """A server that somebody started by pg_ctl is not systemd's to stop."""
    return bool(step.service) and await _settled_state(context, step) in ("active", "reloading")


async def _settled_state(context: Context, step: Step) -> str:
    """The state of the step's unit, once it has done with starting. Told to stop before that, systemd would end the
    server's processes one by one in place of shutting it down."""
    host, state = context.host(step.node), ""

    async def test() -> bool | None:
        nonlocal state
        shown = await host.run_as_login(["systemctl", "show", "-p", "ActiveState", step.service])
        state = next((line[12:] for line in shown.text.splitlines() if line.startswith("ActiveState=")), "")
        return None if state == "activating" else True

    await context.wait(test, _SETTLE_SECONDS, pause=0.2)
    return state


async def _comes_up(context: Context, name: NodeName, known: list[str]) -> bool:
    """True once it accepts connections, False once its process has ended (or never came). `known` is what stood in its
    log before."""
    alive = False
    began = context.world.clock.monotonic()

    async def test() -> bool | None:
        nonlocal alive
        postmaster = await context.postmaster(name)
        if postmaster is not None:
            alive = True
            return True if postmaster.state in (PostmasterState.READY, PostmasterState.STANDBY) else None
        waited = context.world.clock.monotonic() - began
        if (
            alive
            or waited > _APPEAR_SECONDS
            or (waited > 0.3 and "FATAL:" in "\n".join(await context.log_since(name, known)))
        ):
            return False
        return None

    return bool(await context.wait(test, START_SECONDS))


async def _start_error(context: Context, name: NodeName) -> PgtandemError:
    tail = await context.log_tail(name)
    log = log_file(context.node(name).data_directory)
    full = is_full(tail.rpartition("\n")[2])
    does = "make room on that disk, but never in pg_wal by hand" if full else f"read {log}, mend what it names"
    return PgtandemError(
        "PT-4004",
        f"could not start {name}",
        why=f"Its log says:\n{tail}" if tail else f"Its process ended and left nothing in {log}.",
        next_step=f"{does}, and run the same command again",
    )


async def stop(context: Context, step: Step) -> str:
    """A fast shutdown, waited for. Raises PgtandemError PT-4005."""
    name = step.node
    postmaster = await context.postmaster(name)
    if postmaster is None:
        return "it did not run"
    await context.leave(name)
    host, directory = context.host(name), context.node(name).data_directory
    if await _runs_by_unit(context, step):
        done = await _systemctl(context, step, "stop", "PT-4005")
    else:
        done = await host.run(
            [context.program(step, "pg_ctl"), "stop", "-W", "-s", "-m", "fast", "-D", directory], deadline_seconds=60
        )

    async def test() -> bool | None:
        return None if await host.process_alive(postmaster.pid) else True

    if done.exit_code and await test() is None:
        raise PgtandemError("PT-4005", f"could not stop {name}", why=done.complaint)
    if not await context.wait(test, STOP_SECONDS):
        raise PgtandemError(
            "PT-4005",
            f"{name} did not stop within {STOP_SECONDS:g} seconds",
            why="A fast shutdown waits for the WAL archive and for connected standbys.\n"
            + await context.log_tail(name),
            next_step="see why the archive or a standby does not take the last WAL, and run the same command again",
        )
    return ""


@asynccontextmanager
async def ends_with_its_trial(context: Context, step: Step) -> AsyncIterator[None]:
    """A server that is there for a drill only does not outlive a drill that is ended, as by Ctrl-C."""
    try:
        yield
    except asyncio.CancelledError:
        if step.restore is not None and step.restore.drill is not None:
            with suppress(PgtandemError):
                await asyncio.shield(stop(context, step))
        raise


async def restart(context: Context, step: Step) -> str:
    await stop(context, step)
    return await start(context, step)
