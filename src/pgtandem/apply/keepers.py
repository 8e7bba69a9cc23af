"""The systemd unit of the archive's receiver: made and removed on the archive's host, as who may do that."""

from pgtandem.apply.context import Context
from pgtandem.apply.streams import place
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step
from pgtandem.postgres.stream_scripts import WANTED
from pgtandem.postgres.stream_unit import MAKE_UNIT, REMOVE_UNIT, START_UNIT, render_unit, unit_path

_SECONDS = 60.0


async def keep_receiver(context: Context, step: Step) -> str:
    """systemd has the unit as it is to be and starts it with the host. Where the receiver runs already, the unit waits
    for its end, and then runs one itself. Raises PgtandemError PT-4001."""
    host, folder = await place(context, step)
    topology, archive = context.topology, context.topology.archive
    assert archive is not None
    account = (await host.run(["id", "-un"], deadline_seconds=_SECONDS)).text.strip()
    text = render_unit(topology.cluster, archive.directory, folder, account)
    await _as_login(context, step, MAKE_UNIT, "make", step.service, unit_path(topology.cluster), text)
    if WANTED in (await host.list_directory(f"{folder}/receiver") or ()):
        await _as_login(context, step, START_UNIT, "start", step.service)
    return ""


async def forget_receiver(context: Context, step: Step) -> str:
    """Raises PgtandemError PT-4001."""
    await _as_login(context, step, REMOVE_UNIT, "remove", step.service, unit_path(context.topology.cluster))
    return ""


async def _as_login(context: Context, step: Step, script: str, verb: str, *words: str) -> None:
    archive = context.topology.archive
    assert archive is not None
    assert archive.host is not None
    host = context.world.host(archive.host)
    done = await host.run_as_login(["sh", "-c", script, "sh", *words], deadline_seconds=_SECONDS)
    if done.exit_code:
        raise PgtandemError("PT-4001", f"could not {verb} {step.service} on {host.name}", why=done.complaint)
