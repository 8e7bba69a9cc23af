"""Making data directories, by initdb or by a copy (`base_backups`): under another name first, then one rename.

So a data directory is either not there or whole, whatever happens in between; what an interrupted run leaves is
recognised by its name and was never in use.
"""

import asyncio
import posixpath
import re

from pgtandem.apply import outside
from pgtandem.apply.certificates import equip
from pgtandem.apply.context import Context
from pgtandem.apply.node_files import write_node_files
from pgtandem.errors import PgtandemError, is_full
from pgtandem.model.names import SUPERUSER
from pgtandem.model.observed import Marker
from pgtandem.model.plan import Step, StepKind
from pgtandem.observe.directory import observe_marker
from pgtandem.observe.paths import MERGE_MARK, replaced_directory, staging_directory
from pgtandem.observe.places import FILE_ENDINGS
from pgtandem.ports import SUPERUSER_SECRET, BuiltNode, Completed
from pgtandem.postgres.debian import registration_directory
from pgtandem.postgres.merge_program import MERGING
from pgtandem.postgres.scram import verifier
from pgtandem.postgres.versions import initdb_takes_verifier

_INITDB_SECONDS = 600.0

#: How pg_basebackup shows its progress: "1234/5678 kB (21%)".
PROGRESS = re.compile(rb"(\d+)/(\d+) kB")


async def create_data_directory(context: Context, step: Step) -> str:
    """initdb with checksums, SCRAM and UTF-8. Raises PgtandemError PT-4001."""
    workspace, host = context.world.workspace, context.host(step.node)
    superuser = workspace.secret(SUPERUSER_SECRET)
    if superuser is None:
        superuser = workspace.new_secret()
        workspace.store_secret(SUPERUSER_SECRET, superuser)
    context.replication_secret()
    final, staging = await prepare_staging(context, step)
    # What initdb gets as the superuser's password is the SCRAM verifier, which the server stores as it is; before 14
    # only the password itself fits. Through a pipe: neither ever stands in a file or on a command line.
    password = superuser.reveal()
    if initdb_takes_verifier(context.topology.postgresql):
        password = verifier(password, workspace.token().encode())
    try:
        done = await host.run(
            [
                context.program(step, "initdb"),
                *("-D", staging, "-U", SUPERUSER, "--pwfile=/dev/stdin"),
                *("--auth-local=scram-sha-256", "--auth-host=scram-sha-256"),
                *("--data-checksums", "--encoding=UTF8", "--no-locale", "--no-clean", "--no-sync"),
                *wal_option(context, step),
            ],
            stdin=password.encode() + b"\n",
            deadline_seconds=_INITDB_SECONDS,
        )
        if done.exit_code:
            raise failed("PT-4001", f"initdb for {step.node} failed", said_by(done))
        await finish_copy(context, step, staging, final)
    except (PgtandemError, asyncio.CancelledError):
        await tidy(context, step, staging)
        raise
    return ""


async def remove_leftovers(context: Context, step: Step) -> str:
    """What they filled outside comes first: they are what tells of it."""
    host = context.host(step.node)
    await outside.empty(host, step.places, context.topology.postgresql)
    for path in step.names:
        if MERGE_MARK in posixpath.basename(path) and step.kind is StepKind.REMOVE_LEFTOVERS:
            await _remove_unused_merge(context, step, path)
        elif path.endswith(FILE_ENDINGS):
            await host.remove_file(path)
        else:
            await host.remove_tree(path)
    return ""


async def _remove_unused_merge(context: Context, step: Step, path: str) -> None:
    """Takes its name away first: a program that an ended run has left behind cannot begin to use it any more, and if
    it has begun, it goes on. Raises PgtandemError PT-4002."""
    host = context.host(step.node)
    doomed = staging_directory(context.node(step.node).data_directory, context.world.workspace.token())
    await host.rename(path, doomed)
    if await host.list_directory(posixpath.join(doomed, MERGING)):
        await host.rename(doomed, path)
        raise PgtandemError(
            "PT-4002",
            f"{path} is in use after all",
            why="Nothing was removed.",
            next_step="run the same command again: it looks at the cluster anew",
        )
    await host.remove_tree(doomed)


async def prepare_staging(context: Context, step: Step) -> tuple[str, str]:
    """The final name and one of this run's own beside it, the parent folder made."""
    final = context.node(step.node).data_directory
    # postgresql-common must be able to look at the data directory from outside.
    debians = registration_directory(final, context.topology.postgresql) is not None
    await context.host(step.node).make_directory(posixpath.dirname(final), 0o755 if debians else 0o700)
    staging = staging_directory(final, context.world.workspace.token())
    await outside.claim(context.host(step.node), staging, step.places)
    return final, staging


def wal_option(context: Context, step: Step) -> list[str]:
    """The same option of initdb and of pg_basebackup."""
    directory = context.node(step.node).wal_directory
    return [f"--waldir={directory}"] if directory else []


async def finish_copy(context: Context, step: Step, staging: str, final: str, *, set_aside: bool = False) -> None:
    """Its own files, everything durable, and then its name."""
    host, node = context.host(step.node), context.node(step.node)
    await write_node_files(context, step, staging)
    await equip(context, step.node, staging)
    for place in (staging, *step.places):
        await host.sync_tree(place)
    if step.places:
        await outside.release(host, staging)
    context.world.workspace.remember_node(BuiltNode(node.name, node.host.url, node.address, node.port, final))
    if set_aside:
        await _set_aside(context, step, final)
    await host.rename(staging, final)


async def _set_aside(context: Context, step: Step, final: str) -> None:
    """Once more, right before: it is this node's directory, and nobody has started its server meanwhile."""
    host = context.host(step.node)
    marker = await observe_marker(host, final)
    if marker != Marker(context.topology.cluster, step.node) or await context.postmaster(step.node) is not None:
        raise PgtandemError(
            "PT-4002",
            f"{final} is not the data directory of {step.node}, stopped, any more",
            why="Nothing was replaced.",
            next_step="run the same command again: it looks at the cluster anew",
        )
    await host.rename(final, replaced_directory(final, context.world.workspace.token()))


async def tidy(context: Context, step: Step, staging: str) -> None:
    """A failed copy gives its disk space back at once; where even that fails, the next run removes it."""
    try:
        await asyncio.shield(_remove(context, step, staging))
    except PgtandemError:
        return


async def _remove(context: Context, step: Step, staging: str) -> None:
    host = context.host(step.node)
    await outside.empty(host, step.places, context.topology.postgresql)
    await host.remove_tree(staging)
    if step.places:
        await outside.release(host, staging)


def failed(code: str, what: str, why: str) -> PgtandemError:
    next_step = "run the same command again once that is mended"
    if is_full(why):
        next_step = "make room on that disk, then run the same command again"
    return PgtandemError(code, what, why=why, next_step=next_step)


def said_by(done: Completed) -> str:
    """The last lines of a program that failed, without its progress."""
    text = done.stderr.decode(errors="replace").replace("\r", "\n").strip()
    lines = [line for line in text.splitlines() if line and not PROGRESS.search(line.encode())]
    return "\n".join(lines[-4:]) or f"It ended with exit code {done.exit_code}."
