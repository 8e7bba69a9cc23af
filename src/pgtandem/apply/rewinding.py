"""Bringing a node back that went another way: what only it has is kept aside, then its data is rewound.

pg_rewind changes a data directory in place, and one that it did not finish must never be started. So the directory has
the name of a half-made copy meanwhile: cut off, it is one, and the next run removes it and copies the node anew.
"""

import posixpath
import re

from pgtandem.apply.context import Context
from pgtandem.apply.copies import finish_copy
from pgtandem.apply.servers import GHOST, GHOST_SECONDS
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import SUPERUSER
from pgtandem.model.plan import Step
from pgtandem.observe.paths import diverged_directory, staging_directory
from pgtandem.plan.promotion import PROMOTION_FILE
from pgtandem.ports import SUPERUSER_SECRET, HostFailure
from pgtandem.postgres.conf import RECOVERY_FILE
from pgtandem.postgres.conninfo import render_conninfo, render_passfile
from pgtandem.postgres.segments import segment_number, segment_of

_REWIND_SECONDS = 24 * 3600.0
_COPY_SECONDS = 3600.0
#: pg_rewind fetches WAL by restore_command from 13 on (--restore-target-wal).
_RESTORES_WAL = 13
_IN_FOLDER = 'cd "$1" && shift && exec "$@"'


async def keep_wal(context: Context, step: Step) -> str:
    """Copies the segments that may hold WAL of this node alone; says what was committed in them."""
    timeline, since, segment_bytes = Timeline(int(step.names[0])), step.names[1], int(step.names[2])
    host, data = context.host(step.node), context.node(step.node).data_directory
    wal = posixpath.join(data, "pg_wal")
    first = segment_of(Lsn.parse(since), segment_bytes) if since else 0
    kept = [
        posixpath.join(wal, name)
        for name in await host.list_directory(wal) or ()
        if (number := segment_number(name, segment_bytes)) is not None
        and number >= first
        and int(name[:8], 16) == timeline
    ]
    if not kept:
        return "there is none"
    target = diverged_directory(data, timeline, since)
    await host.make_directory(target)
    done = await host.run(["cp", "-p", *kept, target + "/"], deadline_seconds=_COPY_SECONDS)
    if done.exit_code:
        raise PgtandemError(
            "PT-4001", f"could not keep the WAL of {step.node}", why=done.complaint, next_step=f"make room for {target}"
        )
    await host.sync_tree(target)
    return f"{await _committed(context, step, target, timeline, since)}; kept in {target}"


async def _committed(context: Context, step: Step, folder: str, timeline: int, since: str) -> str:
    """How many transactions were committed after the node parted, and how many bytes of WAL it wrote."""
    if not since:
        return "from where on it is its own is not known"
    argv = [context.program(step, "pg_waldump"), "-p", folder, "-t", str(timeline), "-s", since]
    try:
        done = await context.host(step.node).run(argv, deadline_seconds=_COPY_SECONDS)
    except HostFailure:
        return "what was committed in it is not known without pg_waldump"
    # It ends with an error where the WAL ends, whatever it has shown before.
    ends = re.findall(r"lsn: ([0-9A-F]+/[0-9A-F]+)", done.text)
    commits = len(re.findall(r"desc: COMMIT\b", done.text))
    if not ends:
        return f"no transaction was committed after {since}"
    written = max(Lsn.parse(ends[-1]) - Lsn.parse(since), 0)
    return f"{commits} transactions were committed after {since}, about {written} bytes of WAL"


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
    staging = staging_directory(final, f"rewind.{context.world.workspace.token()}")
    await host.rename(final, staging)
    # A crashed server's data is recovered first, by a server that cannot be a standby. Under this name nobody else
    # starts it.
    for name in ("standby.signal", RECOVERY_FILE):
        await host.remove_file(posixpath.join(staging, name))
    conninfo = await _source(context, step, staging + ".passfile")
    major = context.topology.postgresql
    restore = ["-c"] if context.topology.archive is not None and major >= _RESTORES_WAL else []
    argv = [
        *("sh", "-c", _IN_FOLDER, "sh", staging),
        context.program(step, "pg_rewind"),
        *("-D", staging, "--source-server", conninfo, *restore),
        *(["--no-sync"] if major >= 11 else []),
    ]
    try:
        began = context.world.clock.monotonic()
        done = await host.run(argv, deadline_seconds=_REWIND_SECONDS)
        # It recovers a crashed server's data first, and has changed nothing where that could not begin.
        while GHOST in done.complaint and context.world.clock.monotonic() - began < GHOST_SECONDS:
            await context.world.clock.sleep(0.2)
            done = await host.run(argv, deadline_seconds=_REWIND_SECONDS)
    finally:
        await host.remove_file(staging + ".passfile")
    if done.exit_code:
        raise PgtandemError(
            "PT-4043",
            f"could not rewind {step.node}",
            why=done.complaint,
            next_step="pgtandem apply   (copies it anew)",
        )
    await host.remove_file(posixpath.join(staging, PROMOTION_FILE))
    await finish_copy(context, step, staging, final)
    words = [line.removeprefix("pg_rewind: ") for line in done.complaint.splitlines()]
    return next((line for line in words if "rewinding from" in line), words[-1] if words else "")


async def _source(context: Context, step: Step, passfile: str) -> str:
    assert step.upstream is not None
    node, secret = context.node(step.upstream), context.world.workspace.secret(SUPERUSER_SECRET)
    if secret is not None:
        lines = render_passfile([(node.address, node.port, SUPERUSER, secret)])
        await context.host(step.node).write_file(passfile, lines.encode())
    return render_conninfo(
        {
            "host": node.address,
            "port": node.port,
            "user": SUPERUSER,
            "dbname": "postgres",
            "passfile": passfile,
            "application_name": f"pgtandem rewind {step.node}",
            "connect_timeout": 10,
        }
    )
