"""Writing pgtandem's own files into a data directory, and its two parts of files that others own too."""

import posixpath
from collections.abc import Callable

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.names import REPLICATION_ROLE
from pgtandem.model.observed import PostmasterState
from pgtandem.model.plan import NodeFiles, Step
from pgtandem.plan.desired import PASSFILE
from pgtandem.ports import Host
from pgtandem.postgres.archive_scripts import SYSTEM_FILE
from pgtandem.postgres.conf import RECOVERY_FILE, with_include
from pgtandem.postgres.conninfo import render_passfile
from pgtandem.postgres.controldata import parse_control_data
from pgtandem.postgres.hba import with_block
from pgtandem.postgres.versions import has_standby_signal


async def write_files(context: Context, step: Step) -> str:
    """Writes, and makes a running server read it. One that is only starting is looked at again later."""
    directory = context.node(step.node).data_directory
    hba = posixpath.join(directory, "pg_hba.conf")
    before = await context.host(step.node).read_file(hba)
    await write_node_files(context, step, directory)
    postmaster = await context.postmaster(step.node)
    if postmaster is not None and postmaster.state not in (PostmasterState.STARTING, PostmasterState.STOPPING):
        session = await context.session(step.node)
        wrong = [rule for rule in (await session.observe(None)).hba if rule.broken]
        if wrong:
            # With it the server would go on as before, and not start any more.
            if before is not None:
                await context.host(step.node).write_file(hba, before)
            raise PgtandemError(
                "PT-4010",
                f"pg_hba.conf of {step.node} has a record that the server cannot read",
                why="; ".join(f"Line {rule.line}: {rule.error}" for rule in wrong[:3]) + ". The file is as it was.",
                next_step="correct lines under [pg_hba], or the records in that file that are not pgtandem's",
            )
        await session.reload()
    return ""


async def write_node_files(context: Context, step: Step, directory: str) -> None:
    """Writes `step.files` into a data directory (or one in the making).

    What makes it a standby comes first: a directory that is to be one must never be able to start as a primary. It is
    never taken away here; that is what promotion does. What is as it should be is not written again: each file costs
    two waits for the disk, and writes may pause meanwhile.
    """
    files, host = step.files, context.host(step.node)
    assert files is not None
    if files.standby:
        if has_standby_signal(context.topology.postgresql):
            await _write(host, directory, "standby.signal", "")
        else:
            # Written again it would count as not read yet, and the standby would be restarted for it.
            await _write_unless_same(host, directory, RECOVERY_FILE, files.text(RECOVERY_FILE))
    await host.make_directory(posixpath.join(directory, "pgtandem"))
    await _write(host, directory, PASSFILE, _passfile(context, files))
    system = files.system_identifier or await system_identifier(context, step, directory)
    for path, text in ((SYSTEM_FILE, f"{system}\n"), *files.texts):
        await _write_unless_same(host, directory, path, text)
    await _change(host, directory, "pg_hba.conf", lambda text: with_block(text, files.hba_block))
    await _change(host, directory, "postgresql.conf", with_include)


async def system_identifier(context: Context, step: Step, directory: str) -> str:
    """Read from the control file. Raises PgtandemError PT-4001."""
    done = await context.host(step.node).run([context.program(step, "pg_controldata"), directory], deadline_seconds=20)
    try:
        if done.exit_code == 0:
            return parse_control_data(done.text).system_identifier
        why = done.complaint
    except ValueError as error:
        why = str(error)
    raise PgtandemError("PT-4001", f"could not read the control file in {directory}", why=why)


def _passfile(context: Context, files: NodeFiles) -> str:
    secret = context.replication_secret()
    return render_passfile((address, port, REPLICATION_ROLE, secret) for address, port in files.passfile_nodes)


async def _write(host: Host, directory: str, path: str, text: str) -> None:
    await host.write_file(posixpath.join(directory, path), text.encode())


async def _write_unless_same(host: Host, directory: str, path: str, text: str) -> None:
    if await host.read_file(posixpath.join(directory, path)) != text.encode():
        await _write(host, directory, path, text)


async def _change(host: Host, directory: str, path: str, change: Callable[[str], str]) -> None:
    full = posixpath.join(directory, path)
    before = (await host.read_file(full) or b"").decode("utf-8", errors="surrogateescape")
    after = change(before)
    if after != before:
        await host.write_file(full, after.encode("utf-8", errors="surrogateescape"))
