"""Bringing a node back that went another way: what only it has is kept aside, then its data is rewound.

pg_rewind changes a data directory in place, and one that it did not finish must never be started. So the directory has
the name of a half-made copy meanwhile: cut off, it is one, and the next run removes it and copies the node anew.
"""

import posixpath
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pgtandem.apply.certificates import root_certificates
from pgtandem.apply.context import Context
from pgtandem.apply.copies import finish_copy
from pgtandem.apply.left_behind import end_left_behind
from pgtandem.apply.node_files import write_node_files
from pgtandem.apply.servers import GHOST, GHOST_SECONDS
from pgtandem.apply.streamed_copies import progress_reader, verifies
from pgtandem.apply.unarchived import archive_rest, keep_in
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import REWIND_ROLE
from pgtandem.model.plan import Step
from pgtandem.observe.paths import diverged_directory, rewinding_directory
from pgtandem.plan.desired import restore_command
from pgtandem.plan.promotion import PROMOTION_FILE
from pgtandem.ports import Completed, HostFailure
from pgtandem.postgres.certificates import VERIFY
from pgtandem.postgres.conf import RECOVERY_FILE
from pgtandem.postgres.conninfo import render_conninfo, render_passfile
from pgtandem.postgres.scram import verifier
from pgtandem.postgres.segments import segment_name, segment_number, segment_of
from pgtandem.postgres.wal_ahead import AHEAD
from pgtandem.postgres.wal_fetch import SPOOL
from pgtandem.postgres.wal_shown import ONLY_TRANSACTIONS, committed_in_words

_REWIND_SECONDS = 24 * 3600.0
_COPY_SECONDS = 3600.0
#: pg_rewind fetches WAL by restore_command from 13 on (--restore-target-wal).
_RESTORES_WAL = 13
#: What it says, asked for its progress, right before it begins to change anything.
_CHANGES = "need to copy"
#: Beneath a data directory, as restore_command is given it.
_FETCHED = "pg_wal/pgtandem_kept"
#: At most so many segments are fetched that a node alone had written, and no longer has.
_MOST = 1000
_IN_FOLDER = 'cd "$1" && shift && exec "$@"'


async def keep_wal(context: Context, step: Step) -> str:
    """Copies the segments that may hold WAL of this node alone; says what was committed in them. What it had not
    archived of before that is archived first, or kept too where it cannot be."""
    await end_left_behind(context, step.node)
    timeline, since, segment_bytes = Timeline(int(step.names[0])), step.names[1], int(step.names[2])
    host, data = context.host(step.node), context.node(step.node).data_directory
    wal = posixpath.join(data, "pg_wal")
    first = segment_of(Lsn.parse(since), segment_bytes) if since else 0
    rest = await archive_rest(context, step.node, Lsn.parse(since) if since else None, segment_bytes)
    kept = [posixpath.join(wal, name) for name in rest.left]
    kept += [
        posixpath.join(wal, name)
        for name in await host.list_directory(wal) or ()
        if (number := segment_number(name, segment_bytes)) is not None
        and number >= first
        and int(name[:8], 16) == timeline
    ]
    target = diverged_directory(data, timeline, since)
    await keep_in(context, step.node, target, kept)
    if since:
        own = kept[len(rest.left) :]
        there = {segment_number(posixpath.basename(path), segment_bytes) or 0 for path in own}
        await _fetch_kept(context, step, target, timeline, range(first, min(there, default=first + _MOST)))
    if not await host.list_directory(target):
        await host.remove_tree(target)
        return rest.sentence or "there is none"
    await host.sync_tree(target)
    told = f"{await _committed(context, step, target, timeline, since)}; kept in {target}"
    return f"{told}; {rest.sentence}{', kept there too' if rest.left else ''}" if rest.sentence else told


async def _fetch_kept(context: Context, step: Step, target: str, timeline: Timeline, numbers: range) -> None:
    """What it has archived it may not have any more. The archive has it, or has it not: then that cannot be told."""
    command = restore_command(context.topology, step.node)
    node, segment_bytes = context.node(step.node), int(step.names[2])
    for number in numbers if command else ():
        name = segment_name(timeline, number, segment_bytes)
        parts = [{"%f": name, "%p": _FETCHED, "%%": "%"}.get(part, part) for part in re.split("(%[%fp])", command)]
        text = f'cd "$1" && {{ {"".join(parts)}; }} && mv {_FETCHED} "$2/{name}"'
        argv = ["sh", "-c", text, "sh", node.data_directory, target]
        with suppress(HostFailure):
            if (await context.host(step.node).run(argv, deadline_seconds=_COPY_SECONDS)).exit_code == 0:
                continue
        return


async def _committed(context: Context, step: Step, folder: str, timeline: int, since: str) -> str:
    """How many transactions were committed after the node parted, and how many bytes of WAL it wrote."""
    if not since:
        return "from where on it is its own is not known"
    argv = [context.program(step, "pg_waldump"), "-p", folder, "-t", str(timeline), "-s", since]
    argv += ONLY_TRANSACTIONS
    try:
        done = await context.host(step.node).run(argv, deadline_seconds=_COPY_SECONDS)
    except HostFailure:
        return "what was committed in it is not known without pg_waldump"
    return committed_in_words(done.text, done.stderr.decode(errors="replace").strip(), Lsn.parse(since))


async def tell_loss(context: Context, step: Step) -> str:
    """What a primary that is gone has and its successor does not, as far as its WAL can be read."""
    folder = posixpath.join(context.node(step.node).data_directory, "pg_wal")
    return await _committed(context, step, folder, Timeline(int(step.names[0])), step.names[1])


async def rewind(context: Context, step: Step) -> str:
    """pg_rewind against the primary. Raises PgtandemError PT-4043."""
    assert step.upstream is not None
    host, final = context.host(step.node), context.node(step.node).data_directory
    if await context.postmaster(step.node) is not None:
        raise PgtandemError("PT-4002", f"{step.node} runs again", why="Nothing was rewound.")
    await end_left_behind(context, step.node)
    staging = rewinding_directory(final, context.world.workspace.token())
    await host.rename(final, staging)
    # A crashed server's data is recovered first, by a server that cannot be a standby. Under this name nobody else
    # starts it.
    for name in ("standby.signal", RECOVERY_FILE):
        await host.remove_file(posixpath.join(staging, name))
    # pg_rewind lists all files first, and fails where one is gone when it comes to it: what a process that the server
    # left behind still fetches or archives ahead must have no place any more.
    for folder in (SPOOL, AHEAD):
        await host.remove_tree(posixpath.join(staging, folder))
    begun = False
    try:
        async with rewind_source(context, step, staging) as conninfo:
            begun = True
            done = await _pg_rewind(context, step, staging, conninfo)
    except PgtandemError:
        if not begun:
            await _put_back(context, step, staging, final)
        raise
    said = done.stderr.decode(errors="replace").replace("\r", "\n")
    if done.exit_code:
        unchanged = _CHANGES not in said
        if unchanged:
            await _put_back(context, step, staging, final)
        raise PgtandemError(
            "PT-4043",
            f"could not rewind {step.node}",
            why="\n".join(_words(said)[-4:]) + ("\nIts data is as it was." if unchanged else ""),
            next_step=f"mend that, then pgtandem rejoin {step.node}   (with --copy for a new base backup)"
            if unchanged
            else "pgtandem apply   (copies it anew)",
        )
    await host.remove_file(posixpath.join(staging, PROMOTION_FILE))
    await finish_copy(context, step, staging, final)
    words = [line.removeprefix("pg_rewind: ") for line in _words(said)]
    return next((line for line in words if "rewinding from" in line), words[-1] if words else "")


async def _pg_rewind(context: Context, step: Step, directory: str, conninfo: str) -> Completed:
    host, clock, major = context.host(step.node), context.world.clock, context.topology.postgresql
    restore = ["-c"] if context.topology.archives and major >= _RESTORES_WAL else []
    argv = [
        *("sh", "-c", _IN_FOLDER, "sh", directory),
        context.program(step, "pg_rewind"),
        *("-D", directory, "--source-server", conninfo, "--progress", "--no-sync", *restore),
    ]
    tell = progress_reader(lambda done, total: context.report.step_progress(step, done, total))
    began = clock.monotonic()
    while True:
        done = await host.run(argv, deadline_seconds=_REWIND_SECONDS, on_output=tell)
        # It recovers a crashed server's data first, and has changed nothing where that could not begin.
        if GHOST not in done.complaint or clock.monotonic() - began > GHOST_SECONDS:
            return done
        await clock.sleep(0.2)


async def _put_back(context: Context, step: Step, staging: str, final: str) -> None:
    """Nothing was rewound: the directory is a standby-to-be again, under its own name."""
    await write_node_files(context, step, staging)
    await context.host(step.node).rename(staging, final)


@asynccontextmanager
async def rewind_source(context: Context, step: Step, staging: str) -> AsyncIterator[str]:
    """How pg_rewind connects to the primary: as a role that is there meanwhile, with a password of its own that lies
    in a file beside the data directory meanwhile. What a killed run leaves of both, the next one removes."""
    async with context.world.rewind_turn, _source(context, step, staging) as conninfo:
        yield conninfo


@asynccontextmanager
async def _source(context: Context, step: Step, staging: str) -> AsyncIterator[str]:
    assert step.upstream is not None
    host, workspace, upstream = context.host(step.node), context.world.workspace, context.node(step.upstream)
    passfile, root, secret = staging + ".passfile", staging + ".ca.crt", workspace.new_secret()
    conninfo: dict[str, str | int] = {
        "host": upstream.address,
        "port": upstream.port,
        "user": REWIND_ROLE,
        "dbname": "postgres",
        "passfile": passfile,
        "application_name": f"pgtandem rewind {step.node}",
        "connect_timeout": 10,
    }
    if verifies(step):
        conninfo |= {"sslmode": VERIFY, "sslrootcert": root}
        await host.write_file(root, root_certificates(context).encode())
    lines = render_passfile([(upstream.address, upstream.port, REWIND_ROLE, secret)])
    await host.write_file(passfile, lines.encode())
    session = await context.session(step.upstream)
    stored = verifier(secret.reveal(), workspace.token().encode())
    await session.put_rewind_role(REWIND_ROLE, stored, _REWIND_SECONDS)
    try:
        yield render_conninfo(conninfo)
    finally:
        await host.remove_file(passfile)
        await host.remove_file(root)
        with suppress(PgtandemError):  # converging drops what is left of it, and it cannot log in for ever
            await (await context.session(step.upstream)).drop_role(REWIND_ROLE)


def _words(said: str) -> list[str]:
    """Its lines, without how far it was."""
    return [line.strip() for line in said.splitlines() if line.strip() and "kB (" not in line]
