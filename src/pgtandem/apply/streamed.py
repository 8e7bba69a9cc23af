"""The proof that a successor has all that was streamed to the archive, before it is promoted.

Not by positions alone: what was streamed may end within a record, and a standby that fetches files only tells up to
where it has replayed whole ones. So the bytes are compared. What was streamed of a segment is the beginning of its WAL,
and so is what the standby has in the file of the same name; where the first so many bytes of both are the same, it has
all of it, and replays that before it ends its recovery. Both hosts tell a checksum, so that nothing is moved for it.
"""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.apply.streams import place
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn
from pgtandem.model.plan import Step
from pgtandem.model.server import Server
from pgtandem.model.value import dataclass
from pgtandem.observe.parts import SERVER, Part
from pgtandem.plan.candidates import received_lsn
from pgtandem.ports import Host
from pgtandem.postgres.segments import segment_number, segment_of
from pgtandem.postgres.stream_scripts import BEGINNING, LOOK, STREAMED, Look, parse_look

#: Without any progress; as long as it goes on fetching, nobody ends that.
_PATIENCE_SECONDS = 90.0
#: How long a receiver that hangs on a host that is gone may keep the standby from asking the archive.
_WAKE_SECONDS = 15.0
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """A file of what was streamed: its name there, the segment's, its number, and how many bytes of it are WAL."""

    file: str
    segment: str
    number: int
    size_bytes: int

    @property
    def timeline(self) -> int:
        return int(self.segment[:8], 16)


async def confirm_streamed(context: Context, step: Step) -> str:
    """Raises PgtandemError PT-4041 where the standby does not get it."""
    archive, folder = await place(context, step)
    seen = (await context.observer.nodes({step.node: SERVER | {Part.DATA}})).nodes[step.node]
    if seen.control is None:
        raise PgtandemError("PT-4001", f"could not read the control file of {step.node}")
    size = seen.control.wal_segment_bytes
    files = newest(await _look(archive, folder), size)
    here, wal = context.host(step.node), posixpath.join(context.node(step.node).data_directory, "pg_wal")
    sums: dict[str, str] = {}
    clock, at = context.world.clock, None
    moved = woken = clock.monotonic()
    asked = False

    async def has(one: Streamed) -> bool:
        if one.file not in sums:
            sums[one.file] = await _beginning(archive, posixpath.join(folder, STREAMED, one.file), one.size_bytes)
        return sums[one.file] == await _beginning(here, posixpath.join(wal, one.segment), one.size_bytes)

    async def test() -> bool | None:
        nonlocal at, moved, woken, asked
        node = (await context.observer.nodes({step.node: SERVER})).nodes[step.node]
        server, before = node.running, at
        at = received_lsn(node)
        now = clock.monotonic()
        moved = now if at != before else moved
        if server is not None and at is not None:
            wanted = lacking(files, server, at, size)
            if wanted is not None and all([await has(one) for one in wanted]):
                return True
            if server.receiver_pid and (not asked or now - woken >= _WAKE_SECONDS):
                # It may hang on a host that is gone, also in connecting to it anew, which connect_timeout does not end
                # (two minutes until the kernel does). Without it the standby asks the archive at once.
                await here.run(["kill", "-TERM", str(server.receiver_pid)], deadline_seconds=10)
                asked, woken = True, now
        return None if now - moved < _PATIENCE_SECONDS else False

    if await context.wait(test, float("inf")):
        return ""
    last = files[-1].segment if files else "?"
    raise PgtandemError(
        "PT-4041",
        f"{step.node} does not have all that was streamed to the archive",
        why=f"The archive has {last}, as far as it goes, and {step.node} is at {at}. What it lacks may have been "
        f"acknowledged to clients.\n{await context.log_tail(step.node)}".strip(),
        next_step="mend what keeps it from the archive, then run the same command again (nobody was promoted)",
    )


async def _look(archive: Host, folder: str) -> Look:
    """What was streamed, which stays as it is: nobody streams there now. Raises PgtandemError PT-4002 and PT-2003."""
    done = await archive.run(["sh", "-c", LOOK, "sh", folder], deadline_seconds=_SECONDS)
    streamed = posixpath.join(folder, STREAMED)
    if done.exit_code or await archive.list_directory(streamed) is None:
        raise PgtandemError(
            "PT-2003",
            f"could not look at what was streamed to {streamed} on {archive.name}",
            why=done.complaint or "It is not there.",
            next_step="bring it back, then run the same command again (nobody was promoted)",
        )
    look = parse_look(done.text)
    if look.running:
        raise PgtandemError(
            "PT-4002",
            "the stream of the archive was started again by somebody",
            why="It may confirm commits to the old primary.",
            next_step="run the same command again (nobody was promoted)",
        )
    return look


def newest(look: Look, segment_bytes: int) -> tuple[Streamed, ...]:
    """What was streamed of the newest timeline, in order. Of an earlier one nobody knows how far its last segment
    counts: whoever began the newer one had been shown to have what counts."""
    found = []
    for file, size in look.files:
        segment = file.removesuffix(".partial")
        number = segment_number(segment, segment_bytes)
        written = look.tails.get(file, 0) if file != segment else size
        if number is not None and written:
            found.append(Streamed(file, segment, number, written))
    latest = max((one.timeline for one in found), default=0)
    return tuple(sorted((one for one in found if one.timeline == latest), key=lambda one: (one.number, one.size_bytes)))


def lacking(files: tuple[Streamed, ...], server: Server, at: Lsn, segment_bytes: int) -> tuple[Streamed, ...] | None:
    """What has to be compared with the standby's own: all that it is not beyond. None where it is too far behind for
    that, or on an earlier timeline."""
    if not files or server.timeline > files[-1].timeline:
        return ()
    here = segment_of(at, segment_bytes)
    if server.timeline < files[-1].timeline or files[-1].number > here + 1:
        return None
    return tuple(one for one in files if one.number >= here)


async def _beginning(host: Host, path: str, size: int) -> str:
    """The checksum of the first bytes of a file; "" where it is not there or shorter."""
    done = await host.run(["sh", "-c", BEGINNING, "sh", path, str(size)], deadline_seconds=_SECONDS)
    return done.text.strip() if done.exit_code == 0 else ""
