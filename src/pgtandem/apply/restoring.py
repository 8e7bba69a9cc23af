"""Restoring: a backup unpacked, made quiet, and brought to its target by its own server."""

import asyncio
import contextlib
import json
import posixpath
from dataclasses import replace

from pgtandem.apply.backup_folders import LONG_SECONDS
from pgtandem.apply.context import Context
from pgtandem.apply.node_files import write_node_files
from pgtandem.apply.restored_places import claim_places, move_wal_out, remove_places, write_map
from pgtandem.apply.servers import ends_with_its_trial, start_quietly, stop
from pgtandem.apply.unpacking import bring_manifests, not_unpacked, unpack
from pgtandem.apply.unreadable import KeptFromReading, again, kept_from_reading
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import SUPERUSER
from pgtandem.model.plan import NodeFiles, Step
from pgtandem.model.restore import RESTORED, RestoreOrder, TargetKind
from pgtandem.model.server import Server
from pgtandem.observe.paths import log_file, staging_directory
from pgtandem.plan.desired import MARKER_FILE, PASSFILE
from pgtandem.plan.recovery import (
    HEADING,
    RESTORE_FILE,
    TARGET_SETTINGS,
    changed_by_hand,
    recovery_settings,
    render_order,
    restored_settings,
)
from pgtandem.ports import DatabaseUnreachable, Host, HostFailure
from pgtandem.postgres.base_backups import MANIFEST_FILE
from pgtandem.postgres.conf import (
    RECOVERY_DONE,
    RECOVERY_FILE,
    SETTINGS_FILE,
    parse_settings,
    render_settings,
    without_settings,
)
from pgtandem.postgres.hba import HbaLine, render_block
from pgtandem.postgres.versions import has_standby_signal

_ENDED_BEFORE = "before configured recovery target"
_NOT_RESTORED = "could not restore file"
_READ_AHEAD = "recovery_prefetch"
#: What a data directory must not bring along: signs of what the node was when it was backed up, and its secrets.
_LEFT_OUT = (
    *("standby.signal", "recovery.signal", RECOVERY_FILE, RECOVERY_DONE, "postmaster.pid", "pgtandem/promotion.json"),
    *("pgtandem/server.key", "pgtandem/server.crt", PASSFILE, MANIFEST_FILE),
)


async def restore_data(context: Context, step: Step) -> str:
    """Unpacks the chain under another name; one rename when it is whole, quiet and durable. Raises PgtandemError
    PT-4055."""
    order = step.restore
    assert order is not None
    host = context.host(step.node)
    staging = staging_directory(order.directory, context.world.workspace.token())
    await host.make_directory(posixpath.dirname(order.directory))
    await host.remove_file(log_file(order.directory))
    if order.note is not None:
        await host.write_file(order.note, order.directory.encode("utf-8", "surrogateescape") + b"\n")
    try:
        await claim_places(host, order)
        await host.make_directory(staging)
        folders = []
        for number, backup in enumerate(order.chain):
            folders.append(posixpath.join(staging, str(number)))
            await unpack(context, host, order, backup, folders[-1])
        data = folders[0]
        if len(folders) > 1:
            await bring_manifests(context, host, order, folders)
            data = posixpath.join(staging, "data")
            argv = [context.program(step, "pg_combinebackup"), "--no-sync", "-o", data, *folders]
            done = await host.run(argv, deadline_seconds=LONG_SECONDS)
            if done.exit_code:
                raise not_unpacked(order, f"pg_combinebackup: {done.complaint}")
        await _make_quiet(context, step, host, order, data)
        await write_map(host, order, data)
        await move_wal_out(host, order, data)
        for place in (staging, *order.places):
            await host.sync_tree(place)
        await host.rename(data, order.directory)
        await host.remove_tree(staging)
    except (PgtandemError, asyncio.CancelledError):
        await asyncio.shield(_clear(host, order, staging))
        raise
    return ""


async def _clear(host: Host, order: RestoreOrder, staging: str) -> None:
    await host.remove_tree(staging)
    await remove_places(host, order)
    if order.note is not None:
        await host.remove_file(order.note)


async def _make_quiet(context: Context, step: Step, host: Host, order: RestoreOrder, directory: str) -> None:
    """Its files as a restored server has them. The sign that it is to recover comes with them, before its name."""
    major = context.topology.postgresql
    for name in _LEFT_OUT:
        await host.remove_file(posixpath.join(directory, name))

    async def text(name: str) -> str:
        return (await host.read_file(posixpath.join(directory, name)) or b"").decode("utf-8", "surrogateescape")

    auto = without_settings(await text("postgresql.auto.conf"), changed_by_hand(order, major))
    await host.write_file(posixpath.join(directory, "postgresql.auto.conf"), auto.encode("utf-8", "surrogateescape"))
    settings = restored_settings(order, major, parse_settings(await text(SETTINGS_FILE)), recovering=True)
    settings |= _places(parse_settings(await text("postgresql.conf")), order.directory)
    marker = {"made_by": "pgtandem", "cluster": context.topology.cluster, "node": RESTORED}
    texts = {
        **{name: text for name, text in order.files.texts if name not in (RECOVERY_FILE, MARKER_FILE)},
        MARKER_FILE: json.dumps(marker) + "\n",
        SETTINGS_FILE: render_settings(settings, HEADING),
        RESTORE_FILE: render_order(order),
    }
    own = (HbaLine("all", SUPERUSER, "127.0.0.1"),)
    files = NodeFiles(tuple(sorted(texts.items())), render_block(own), standby=False, passfile_nodes=())
    await write_node_files(context, replace(step, files=files), directory)
    if has_standby_signal(major):
        await host.write_file(posixpath.join(directory, "recovery.signal"), b"")
    else:
        recovery = render_settings(recovery_settings(order), HEADING)
        await host.write_file(posixpath.join(directory, RECOVERY_FILE), recovery.encode())


def _places(main: dict[str, str], directory: str) -> dict[str, str]:
    """Files that postgresql.conf names elsewhere would be the cluster's own."""
    own = {"data_directory": "", "hba_file": "/pg_hba.conf", "ident_file": "/pg_ident.conf"}
    places = {name: directory + path for name, path in own.items() if name in main}
    if main.get("log_directory", "").startswith("/"):
        places["log_directory"] = "log"
    return places


async def recover(context: Context, step: Step) -> str:
    """Starts it, and waits until it stands at its target. Says where that is. Raises PgtandemError PT-4054 where the
    archive ends before, and PT-4004."""
    async with ends_with_its_trial(context, step):
        return await _recover(context, step)


async def _recover(context: Context, step: Step) -> str:
    order, before = step.restore, await context.log_lines(step.node)
    assert order is not None
    await _listen_where_asked(context, step, order)
    try:
        try:
            await start_quietly(context, step)
            await _await_target(context, step, order)
        except PgtandemError:
            if not await _read_no_further(context, step, order):
                raise
            await start_quietly(context, step)
            await _await_target(context, step, order)
    except PgtandemError as failure:
        said = await _said(context, step)
        if failure.code.text in ("PT-4004", "PT-4054") and any(_ENDED_BEFORE in line for line in said):
            raise _not_reached(order, said) from None
        if unreadable := kept_from_reading("\n".join(await context.log_since(step.node, before))):
            raise _not_readable(unreadable, order) from None
        if full := await _full_disk(context.host(step.node), order):
            raise _no_room(failure, order, full) from None
        raise
    lines = await _said(context, step)
    if order.target.kind is not TargetKind.LATEST and not any("recovery stopping" in line for line in lines):
        # Up to 12 a server that runs out of WAL ends its recovery as if it had reached its target, and takes writes.
        await stop(context, step)
        raise _ended_short(order, lines)
    server = await (await context.session(step.node)).observe(None)
    if order.promote and server.in_recovery:
        # It was made to be looked at, and has been stopped since: its settings still say so.
        await end_recovery(context, step)
        server = await (await context.session(step.node)).observe(None)
    at, size = server.replay_lsn if server.in_recovery else server.current_lsn, order.backup.segment_bytes
    if order.target.kind is TargetKind.LATEST and (
        at is None or at.position // size < (order.expected_end.position - 1) // size
    ):
        raise _not_reached(order, lines)
    return _where(server, at, lines)


async def _listen_where_asked(context: Context, step: Step, order: RestoreOrder) -> None:
    """An earlier run may have written down another port, on which it could not start, say."""
    if await context.postmaster(step.node) is not None:
        return
    host, path = context.host(step.node), posixpath.join(order.directory, SETTINGS_FILE)
    settings = parse_settings((await host.read_file(path) or b"").decode("utf-8", "surrogateescape"))
    if settings.get("port") != str(order.port):
        text = render_settings({**settings, "port": str(order.port)}, HEADING)
        await host.write_file(path, text.encode("utf-8", "surrogateescape"))


async def _read_no_further(context: Context, step: Step, order: RestoreOrder) -> bool:
    """Whether another start may get to the target: from 15 on the server reads ahead of what it replays, and ends where
    the archive cannot give it a segment, though its target may lie before that one. It is told to read no further."""
    if context.topology.postgresql < 15 or order.target.kind is TargetKind.LATEST:
        return False
    if not any(_NOT_RESTORED in line for line in await context.log_lines(step.node)):
        return False
    host, path = context.host(step.node), posixpath.join(order.directory, SETTINGS_FILE)
    settings = parse_settings((await host.read_file(path) or b"").decode("utf-8", "surrogateescape"))
    if settings.get(_READ_AHEAD) == "off" or await context.postmaster(step.node) is not None:
        return False
    text = render_settings({**settings, _READ_AHEAD: "off"}, HEADING)
    await host.write_file(path, text.encode("utf-8", "surrogateescape"))
    return True


async def _await_target(context: Context, step: Step, order: RestoreOrder) -> None:
    async def test() -> bool | None:
        if await context.postmaster(step.node) is None:
            return False
        try:
            server = await (await context.session(step.node)).observe(None)
        except DatabaseUnreachable:
            await context.leave(step.node)
            return None
        return True if not server.in_recovery or server.replay_paused else None

    if not await context.wait(test, LONG_SECONDS, pause=0.05):
        tail = await context.log_tail(step.node)
        raise PgtandemError(
            "PT-4054",
            f"the restored server stopped before {order.target}",
            why=f"Its log says:\n{tail}",
            next_step="pgtandem archive verify   (names every damaged file; moments before them can be restored, and "
            "later ones from a backup that is newer than they are: --backup LABEL)",
        )


async def _said(context: Context, step: Step) -> list[str]:
    """What its log says of its recovery. It begins with the restore, and has a line for every question too early."""
    path = log_file(context.node(step.node).data_directory)
    words = f"recovery stopping|last completed transaction|{_ENDED_BEFORE}"
    done = await context.host(step.node).run(["grep", "-E", words, path], deadline_seconds=60)
    return done.text.splitlines()


async def _full_disk(host: Host, order: RestoreOrder) -> str | None:
    """The place, of those that recovery writes to, that has no room for it any more. Its log says that too, in the
    language of the server."""
    for place in (order.directory, *order.places):
        with contextlib.suppress(HostFailure):
            if (await host.disk_space(place)).free_bytes < order.backup.segment_bytes:
                return place
    return None


def _not_readable(unreadable: KeptFromReading, order: RestoreOrder) -> PgtandemError:
    return PgtandemError(
        "PT-4054",
        f"the restored server stopped before {order.target}: WAL that it needs cannot be read",
        why=unreadable.why,
        next_step=unreadable.next_step(order.backup.host, again(order)),
    )


def _no_room(failure: PgtandemError, order: RestoreOrder, place: str) -> PgtandemError:
    room = f"make room on the disk of {place}"
    on = "" if order.drill is not None else ", then run the same command again: it goes on from there"
    return PgtandemError("PT-4054", f"the disk of {place} is full", why=failure.why, next_step=f"{room}{on}")


def _not_reached(order: RestoreOrder, lines: list[str]) -> PgtandemError:
    last = [
        line.rpartition("last completed transaction was at log time ")[2] for line in lines if "last completed" in line
    ]
    why = f"The last transaction that it has is of {last[-1]}." if last else "It has no transaction after the backup."
    next_step = "pgtandem archive verify   (shows where the archive breaks off)"
    if order.drill is None:
        why += f" The restored server has stopped, or stands at the archive's end, in {order.place}."
    if order.drill is None and order.target.kind is not TargetKind.LATEST:
        nearest = f"pgtandem restore --to latest --timeline {order.timeline}"
        next_step = f"{nearest}   (the nearest one; that folder can be removed)"
    what = f"the archive ends before {order.target}"
    if order.target.kind is TargetKind.LATEST:
        what = f"recovery ended before {order.expected_end}, the end that the archive had when this began"
        why += " A segment on the way is damaged, or was removed meanwhile (a prune that another machine began)."
    return PgtandemError("PT-4054", what, why=why, next_step=next_step)


def _ended_short(order: RestoreOrder, lines: list[str]) -> PgtandemError:
    """Its recovery is over, now or since an earlier run: more WAL cannot be brought to it."""
    failure = _not_reached(order, lines)
    failure.what = f"recovery ended before {order.target}, where the archive did"
    if order.drill is None:
        failure.why = (
            f"{failure.why.partition(' The restored server')[0]} PostgreSQL up to 12 opens a server that gets no "
        )
        failure.why += f"further, as if it had got there. So it was stopped, and {order.place} cannot go on."
        nearest = failure.next_step.partition("   (")[0]
        more = f"where more is archived by now: remove {order.directory}, and run the same command again"
        failure.next_step = f"{nearest}   (the nearest one; {more})"
    return failure


def _where(server: Server, at: Lsn | None, lines: list[str]) -> str:
    """Where it stands, by the server's own word."""
    stopping = [line for line in lines if "recovery stopping" in line]
    last = [line.rpartition("log time ")[2] for line in lines if "last completed transaction" in line]
    words = [f"it stands at {at}, timeline {server.timeline}"]
    if stopping:
        words.append(f"stopped {stopping[-1].partition('recovery stopping ')[2]}")
    if last:
        words.append(f"last transaction of {last[-1]}")
    return "; ".join(words)


async def end_recovery(context: Context, step: Step) -> str:
    """Ends the pause at the target, and with it the recovery (manual, 19.5.6). Waits until it takes writes."""
    session = await context.session(step.node)
    await session.resume_replay()

    async def test() -> bool | None:
        in_recovery, _ = await session.position()
        return None if in_recovery else True

    if not await context.wait(test, LONG_SECONDS):
        raise PgtandemError(
            "PT-4054", "the restored server does not end its recovery", why=await context.log_tail(step.node)
        )
    return ""


async def settle_restored(context: Context, step: Step) -> str:
    """Its settings without those of recovery. They take effect at a start only, so it is started again."""
    order = step.restore
    assert order is not None
    host, path = context.host(step.node), posixpath.join(order.directory, SETTINGS_FILE)
    before = parse_settings((await host.read_file(path) or b"").decode("utf-8", "surrogateescape"))
    settings = {
        name: text for name, text in before.items() if name not in (*TARGET_SETTINGS, "restore_command", _READ_AHEAD)
    }
    if order.promote:
        settings.pop("default_transaction_read_only", None)
    await host.write_file(path, render_settings(settings, HEADING).encode("utf-8", "surrogateescape"))
    await host.remove_file(posixpath.join(order.directory, RECOVERY_DONE))
    await stop(context, step)
    return await start_quietly(context, step)
