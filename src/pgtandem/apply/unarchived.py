"""What a node that comes back had not archived as the primary: it may have the only copy, and rewinding or copying anew
would take that away. Its successor handed in what it had itself (`handing_in`); a standby recycles WAL that the primary
keeps until it is archived."""

import posixpath
import re
from collections.abc import Sequence

from pgtandem.apply.context import Context
from pgtandem.apply.handing_in import mark_archived
from pgtandem.apply.left_behind import end_left_behind
from pgtandem.errors import PgtandemError
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Step
from pgtandem.model.value import dataclass
from pgtandem.observe.paths import diverged_directory
from pgtandem.plan.desired import archive_settings
from pgtandem.ports import Host
from pgtandem.postgres.history import history_timeline, parse_history
from pgtandem.postgres.segments import segment_number, segment_of

_ARCHIVE_SECONDS = 120.0
_COPY_SECONDS = 3600.0
#: pgtandem's own scripts read postmaster.pid, and with that of a server that was killed they would archive ahead
#: whatever waits, what only this node wrote among it. In this folder there is none.
_ALONE = """rm -rf pgtandem/alone && mkdir pgtandem/alone && ln -s ../../pg_wal pgtandem/alone/pg_wal &&
ln -s ../../global pgtandem/alone/global && ln -s .. pgtandem/alone/pgtandem || exit 1
(cd pgtandem/alone && { %s
})
code=$?
rm -rf pgtandem/alone
exit $code"""


@dataclass(frozen=True, slots=True)
class Rest:
    """How many files were archived; the segments that were not, and what the archive command said to the first."""

    archived: int
    left: tuple[str, ...] = ()
    said: str = ""

    @property
    def sentence(self) -> str:
        """Empty where nothing had to be archived."""
        count = f"{self.archived} file{'' if self.archived == 1 else 's'}" if self.archived else ""
        told = f"{count} archived that it had not archived yet" if count else ""
        if not self.left:
            return told
        kept = f"{len(self.left)} segment{'' if len(self.left) == 1 else 's'} that could not be archived ({self.said})"
        return f"{told}; {kept}" if told else kept


async def archive_before_following(context: Context, step: Step) -> str:
    """For a node that follows its successor, and has nothing that the others lack but this. What the archive does not
    take is kept beside its data: as a standby it recycles that. Raises PgtandemError PT-4001."""
    await end_left_behind(context, step.node)
    timeline, since, size = Timeline(int(step.names[0])), step.names[1], int(step.names[2])
    rest = await archive_rest(context, step.node, Lsn.parse(since), size)
    if not rest.left:
        return rest.sentence
    host, data = context.host(step.node), context.node(step.node).data_directory
    target = diverged_directory(data, timeline, since)
    await keep_in(context, step.node, target, [posixpath.join(data, "pg_wal", each) for each in rest.left])
    await host.sync_tree(target)
    return f"{rest.sentence}; kept in {target}"


async def keep_in(context: Context, name: NodeName, target: str, files: Sequence[str]) -> None:
    """Copies files of a node into a folder beside its data. Raises PgtandemError PT-4001."""
    host = context.host(name)
    await host.make_directory(target)
    if not files:
        return
    done = await host.run(["cp", "-p", *files, target + "/"], deadline_seconds=_COPY_SECONDS)
    if done.exit_code:
        raise PgtandemError(
            *("PT-4001", f"could not keep the WAL of {name}"),
            why=done.complaint,
            next_step=f"make room for {target}",
        )


async def archive_rest(context: Context, name: NodeName, since: Lsn | None, segment_bytes: int) -> Rest:
    """Archives by the archive command what waits in pg_wal of a server that does not run, and is of before the place
    where it parted from the others: history files, and whole segments. Stops at the first that fails, as the archiver
    does."""
    if since is None:
        return Rest(0)
    before = segment_of(since, segment_bytes)
    command = archive_settings(context.topology, context.node(name)).get("archive_command")
    host, data = context.host(name), context.node(name).data_directory
    wal = posixpath.join(data, "pg_wal")
    there = set(await host.list_directory(wal) or ())
    marks = await host.list_directory(posixpath.join(wal, "archive_status")) or ()
    waiting = [each for mark in marks if mark.endswith(".ready") and (each := mark.removesuffix(".ready")) in there]
    histories = [
        each for each in sorted(waiting) if history_timeline(each) and await began_before(host, wal, each, since)
    ]
    segments = sorted(
        each for each in waiting if (number := segment_number(each, segment_bytes)) is not None and number < before
    )
    if command is None:
        return Rest(0)
    files = [*histories, *segments]
    for place, file in enumerate(files):
        said = await _archive(context, name, command, file)
        if said is not None:
            return Rest(place, tuple(each for each in files[place:] if each in segments), said)
        await mark_archived(context, name, file)
    return Rest(len(files))


async def began_before(host: Host, wal: str, history: str, since: Lsn) -> bool:
    """Whether a timeline is one of the others' too. Who parted by a promotion of its own may have given its timeline
    the number that theirs has, and began it where they left the one before, at the earliest."""
    text = await host.read_file(posixpath.join(wal, history)) or b""
    try:
        path = parse_history(text.decode())
    except (ValueError, IndexError):
        return False
    return bool(path) and path[-1].at < since


async def _archive(context: Context, name: NodeName, command: str, file: str) -> str | None:
    """None where the command answered that the file is archived, else what it complains of."""
    known = {"%f": file, "%p": f"pg_wal/{file}", "%%": "%"}
    text = "".join(known.get(part, part) for part in re.split("(%[%fp])", command))
    if context.topology.foreign_archive is None:
        text = _ALONE.replace("%s", text)
    argv = ["sh", "-c", f'cd "$1" || exit 1\nshift\n{text}', "sh", context.node(name).data_directory]
    try:
        done = await context.host(name).run(argv, deadline_seconds=_ARCHIVE_SECONDS)
    except PgtandemError as failure:
        return failure.why or failure.what
    said = done.complaint.strip().splitlines()
    return None if done.exit_code == 0 else said[-1] if said else f"exit code {done.exit_code}"
