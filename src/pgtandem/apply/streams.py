"""The receiver of the archive's stream: started, ended, and what it left removed. Each is safe to repeat."""

import posixpath
import re

from pgtandem.apply.context import Context
from pgtandem.apply.node_files import system_identifier
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import TimelineSwitch
from pgtandem.model.names import REPLICATION_ROLE, STREAM_NAME
from pgtandem.model.plan import Condition, Step
from pgtandem.observe.archived import archive_folder
from pgtandem.observe.parts import SERVER, Part
from pgtandem.plan.conditions import judge
from pgtandem.ports import Host
from pgtandem.postgres.archive_content import wal_name
from pgtandem.postgres.conninfo import render_passfile
from pgtandem.postgres.segments import segment_number, segment_of
from pgtandem.postgres.stream_scripts import (
    BEGIN_ANEW,
    HAND_OVER,
    LOOK_ANEW,
    PASSFILE,
    RECEIVER,
    SEED,
    SOURCE,
    START,
    STARTED,
    STOP,
    STREAMED,
    WANT,
    WANTED,
)
from pgtandem.postgres.stream_unit import START_UNIT

_REMOVED = re.compile(r"requested WAL segment ([0-9A-F]{24}) has already been removed")
_STREAM_SECONDS = 60.0
_ARCHIVE_SECONDS = 120.0


async def start_stream(context: Context, step: Step) -> str:
    """Its files, and the process with them; waits until the primary sends to it. Raises PgtandemError PT-4014."""
    host, folder = await place(context, step)
    receiver, streamed = posixpath.join(folder, RECEIVER), posixpath.join(folder, STREAMED)
    for path in (receiver, streamed):
        await host.make_directory(path)
    wanted = dict(zip(step.names[::2], step.names[1::2], strict=True))
    wanted.pop(WANTED, None)  # written last, when it may be started by whoever is to do that
    changed = False
    for name, text in wanted.items():
        current = await host.read_file(posixpath.join(receiver, name))
        changed = changed or current != text.encode()
        # What it was started with it writes down itself.
        await host.write_file(posixpath.join(receiver, SOURCE if name == STARTED else name), text.encode())
    secret = context.replication_secret()
    entries = [(node.address, node.port, REPLICATION_ROLE, secret) for node in context.topology.nodes]
    await host.write_file(posixpath.join(receiver, PASSFILE), render_passfile(entries).encode())
    aside = await _beyond(context, step, host, streamed)
    if changed or aside:
        await _run(host, STOP, folder, "end")
    if aside:
        await host.make_directory(posixpath.join(receiver, "beyond"))
    for name in aside:
        await host.rename(posixpath.join(streamed, name), posixpath.join(receiver, "beyond", name))
    fresh = all(name.endswith(".history") for name in await host.list_directory(streamed) or ())
    await _begin_behind_the_archive(context, step, host, folder)
    await _start(host, folder, step.service)
    if not changed and not aside and not await _known(context, step):
        # It may hang on a connection to a host that is gone.
        await _run(host, LOOK_ANEW, folder, "wake")
    streams, gone = await _streams(context, step, host, receiver)
    if gone:
        await _run(host, STOP, folder, "end")
        await _run(host, BEGIN_ANEW, folder, "begin anew with")
        await host.remove_file(posixpath.join(receiver, "said"))
        await _begin_behind_the_archive(context, step, host, folder)
        await _start(host, folder, step.service)
        streams, _ = await _streams(context, step, host, receiver)
    if not streams:
        raise await _not_streaming(host, step, receiver)
    if context.topology.stream_confirms and (fresh or gone):
        await _no_hole(context, step, host, folder)
    if gone:
        return f"it begins anew, since {gone} is gone from {step.node}: what lies between, archive_command brings"
    return f"kept in {receiver}/beyond, since {step.node} never had it: {', '.join(aside)}" if aside else ""


async def _begin_behind_the_archive(context: Context, step: Step, host: Host, folder: str) -> None:
    """A receiver with an empty folder would begin with the server's current segment. What is not archived before that
    would be nowhere but on the server, and who confirms a commit has to have what it stands on."""
    seen = (await context.observer.nodes({step.node: SERVER | {Part.DATA}})).nodes[step.node]
    server, archived = (
        seen.running,
        seen.running.archiver.last_archived_wal if seen.running and seen.running.archiver else None,
    )
    if server is None or seen.control is None or archived is None:
        return
    if segment_number(archived, seen.control.wal_segment_bytes) is None or int(archived[:8], 16) != server.timeline:
        return
    await _run(host, SEED, folder, "begin with", archived)


async def _no_hole(context: Context, step: Step, host: Host, folder: str) -> None:
    """Waits until the archive has what was written before the first segment that was streamed. Raises PgtandemError
    PT-4007 where it does not get that."""
    names = [
        name.removesuffix(".partial") for name in await host.list_directory(posixpath.join(folder, STREAMED)) or ()
    ]

    async def test() -> bool | None:
        node = (await context.observer.nodes({step.node: SERVER | {Part.DATA}})).nodes[step.node]
        archiver = node.running.archiver if node.running else None
        if archiver is None or node.control is None:
            return None
        if archiver.waiting_segments == 0:
            return True
        size, last = node.control.wal_segment_bytes, archiver.last_archived_wal or ""
        numbers = [number for name in names if (number := segment_number(name, size)) is not None]
        reached = segment_number(last, size)
        return True if numbers and reached is not None and reached + 1 >= min(numbers) else None

    if not await context.wait(test, _ARCHIVE_SECONDS):
        raise PgtandemError(
            "PT-4007",
            f"what {step.node} wrote before its WAL was streamed is not in the archive",
            why="The archive cannot confirm commits that stand on WAL that it does not have.",
            next_step="pgtandem status   (shows whether archiving goes on), then the same command again",
        )


async def _streams(context: Context, step: Step, host: Host, receiver: str) -> tuple[bool, str]:
    """Waits until the primary sends to it; not any longer once what it asks for is gone: then which segment that is."""
    gone = ""

    async def test() -> bool | None:
        nonlocal gone
        if judge(Condition("archive_streams", step.node), await context.observer.nodes({step.node: SERVER})) is True:
            return True
        # Read once: a second later what was said makes room for what is said at the next attempt.
        gone = await _gone(host, receiver)
        return False if gone else None

    return bool(await context.wait(test, _STREAM_SECONDS)), gone


async def _gone(host: Host, receiver: str) -> str:
    """The segment that pg_receivewal asked for last and that its server has no more: its slot was lost, or it was away
    for longer than anybody kept WAL for it. "" where that is not so."""
    said = await host.read_file(posixpath.join(receiver, "said"))
    found = _REMOVED.findall((said or b"").decode(errors="replace"))
    return str(found[-1]) if found else ""


async def _not_streaming(host: Host, step: Step, receiver: str) -> PgtandemError:
    said = await host.run(["tail", "-n", "3", posixpath.join(receiver, "said")], deadline_seconds=10)
    log = await host.run(["tail", "-n", "3", posixpath.join(receiver, "log")], deadline_seconds=10)
    why = said.text.strip() or log.text.strip()
    return PgtandemError(
        "PT-4014",
        f"{step.node} does not stream to the archive on {host.name}",
        why=f"pg_receivewal says:\n{why}" if why else "pg_receivewal says nothing.",
        next_step=f"mend what it names (all of it is in {receiver}/log), and run the same command again",
    )


async def _known(context: Context, step: Step) -> bool:
    """Whether the primary has a connection of the receiver, in whatever state."""
    server = (await context.observer.nodes({step.node: SERVER})).nodes[step.node].running
    return server is not None and any(sender.application_name == STREAM_NAME for sender in server.senders)


async def _beyond(context: Context, step: Step, host: Host, streamed: str) -> tuple[str, ...]:
    """Segments of a timeline behind the one in which the primary left it: pg_receivewal goes on behind the highest
    segment that it finds, and no server would ever send it more of that."""
    names = await host.list_directory(streamed)
    seen = (await context.observer.nodes({step.node: SERVER | {Part.DATA}})).nodes[step.node] if names else None
    if not names or seen is None or seen.running is None or seen.control is None:
        return ()
    server, size = seen.running, seen.control.wal_segment_bytes
    switches: dict[int, TimelineSwitch] = {switch.timeline: switch for switch in server.history}
    found = []
    for name in names:
        plain = name.removesuffix(".partial")
        number = segment_number(plain, size)
        switch = switches.get(int(name[:8], 16)) if number is not None else None
        if number is not None and switch is not None and number > segment_of(switch.at, size):
            found.append(name)
    return tuple(found)


async def stop_stream(context: Context, step: Step) -> str:
    """Ends the process, and waits for that. Raises PgtandemError PT-4001."""
    host, folder = await place(context, step)
    await _run(host, STOP, folder, "end")
    return ""


async def remove_stream(context: Context, step: Step) -> str:
    """Removes the receiver's files, and what it received, once the archive has all of it: the primary's own segment is
    finished for that. What nobody else has, of a primary that was lost, gets its name in the archive. Raises
    PgtandemError PT-4007 where the archive lacks something, and PT-4001."""
    host, folder = await place(context, step)
    receiver, streamed = posixpath.join(folder, RECEIVER), posixpath.join(folder, STREAMED)
    names = await host.list_directory(streamed)
    plain = {name.removesuffix(".partial") for name in names or () if wal_name(name)}
    if plain:
        segment, _ = await (await context.session(step.node)).finish_segment()
        wanted = {name for name in plain if name[:8] == segment[:8] and name <= segment}

        async def archived() -> bool | None:
            there = {found[0] for name in await host.list_directory(folder) or () if (found := wal_name(name))}
            return True if wanted <= there else None

        if not await context.wait(archived, _ARCHIVE_SECONDS):
            raise PgtandemError(
                "PT-4007",
                f"not all that was streamed to {streamed} is in the archive",
                why="It may be the only copy of that WAL, so nothing was removed.",
                next_step="pgtandem status   (shows whether archiving goes on), then the same command again",
            )
        # The last segment is archived as a whole now.
        for name in wanted:
            await host.remove_file(posixpath.join(streamed, f"{name}.partial"))
    if names is not None:
        await _run(host, HAND_OVER, folder, "remove what was received by")
    await host.remove_tree(streamed)
    await host.remove_tree(receiver)
    return ""


async def _start(host: Host, folder: str, unit: str) -> None:
    """By its unit; and by itself where there is none, or that comes to nothing."""
    await _run(host, WANT, folder, "start")
    seconds = "0"
    if unit:
        done = await host.run_as_login(["sh", "-c", START_UNIT, "sh", unit], deadline_seconds=60)
        seconds = "0" if done.exit_code else "5"
    await _run(host, START, folder, "start", seconds)


async def place(context: Context, step: Step) -> tuple[Host, str]:
    """The archive's host, and the cluster's folder there."""
    archive = context.topology.archive
    assert archive is not None
    assert archive.host is not None
    system = await system_identifier(context, step, context.node(step.node).data_directory)
    return context.world.host(archive.host), archive_folder(archive, system)


async def _run(host: Host, script: str, folder: str, verb: str, *words: str) -> None:
    done = await host.run(["sh", "-c", script, "sh", folder, *words], deadline_seconds=60)
    if done.exit_code:
        raise PgtandemError(
            "PT-4001", f"could not {verb} the receiver of the archive's stream on {host.name}", why=done.complaint
        )
