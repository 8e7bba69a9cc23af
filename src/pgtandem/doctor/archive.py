"""The WAL archive: does what is counted as archived exist, whole, somewhere else?"""

import re
from collections.abc import Iterator
from itertools import pairwise

from pgtandem.doctor.look import Look, taken_out
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.backup import Backup, spoilt_in
from pgtandem.model.facts import Known, Unknown, value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.server import Server
from pgtandem.plan.archive_room import archive_room, held_in_pg_wal, make_room
from pgtandem.plan.keeper import not_kept
from pgtandem.plan.stream_health import stream_health
from pgtandem.postgres.archive_commands import find_tool, keeper_of

_ONCE_MORE = (
    "find out who removed or never wrote the segments; this is told until the backups before the hole are removed, "
    "which lead no further than to it"
)
_USE_OURS = 'directory = "..." under [archive] in pgtandem.toml, then pgtandem apply'
_OURS = " pgtandem/"  # the folder of its scripts
_COPY = re.compile(r"(?:^|[\s;&|('\"/])(cp|mv|rsync|scp)\s")
_DECLINES = re.compile(r"(?:^|[\s;&|('\"/])cp\s+(?:\S+\s+)*?(-\w*[in]\w*|--interactive|--no-clobber)(?=\s|$)")
#: A topology file demands %p of a command, and true takes whatever it is given.
_YES = r"(?:(?:(?:/(?:usr/)?bin/)?true|:)(?:\s[^|;&<>]*)?|exit\s+0|cd\s+\.)"
_NOTHING = re.compile(rf"^\s*(?:{_YES}|echo\b[^|;&]*)\s*$")
_SWALLOWS = re.compile(rf"(?:;|\|\|)\s*{_YES}\s*;?\s*$")
_PIPE = re.compile(r"(?<!\|)\|(?!\|)")
_SEGMENT = re.compile(r"^[0-9A-F]{24}$")
_FEW_SEGMENTS = 10
_MANY_SEGMENTS = 100


def _commands(look: Look) -> Iterator[tuple[NodeName, Server, str]]:
    """The servers that archive by a command, with it."""
    for name, server in look.servers():
        command = look.value(name, "archive_command")
        if look.archives(name) and command and command != "(disabled)" and not look.value(name, "archive_library"):
            yield name, server, command


def _seen(look: Look, name: NodeName, setting: str = "archive_command") -> Seen:
    return Seen(name, look.shown(name, setting), look.where(name, setting))


@rule(
    "ARC01",
    Severity.HIGH,
    "the archive command copies without making the copy durable",
    why="cp, mv, rsync and scp return before the copy is on disk, and under its final name while it is half written. "
    "After a power failure PostgreSQL has recycled a segment that the archive does not hold.",
    fix=_USE_OURS,
)
def copies_without_fsync(look: Look) -> Iterator[Seen]:
    for name, _, command in _commands(look):
        if _COPY.search(command) and not re.search(r"\bsync\b|fsync", command):
            yield _seen(look, name)


@rule(
    "ARC02",
    Severity.CRITICAL,
    "the archive command declines to overwrite and may call that success",
    why="cp -i and cp -n leave a file alone that has the segment's name already, and many versions of cp answer 0 for "
    "that. PostgreSQL then counts as archived what is not there, and nobody learns of it before a restore fails.",
    fix=_USE_OURS,
)
def declines(look: Look) -> Iterator[Seen]:
    for name, _, command in _commands(look):
        if _DECLINES.search(command):
            yield _seen(look, name)


@rule(
    "ARC03",
    Severity.CRITICAL,
    "the archive command says success whatever happened",
    why="A command that always answers 0 makes PostgreSQL remove WAL that was never archived. There is then no way "
    "back to any moment after the last base backup, and no error in any log.",
    fix=_USE_OURS,
)
def always_succeeds(look: Look) -> Iterator[Seen]:
    for name, _, command in _commands(look):
        pipe = _PIPE.search(command) and "pipefail" not in command
        if _NOTHING.match(command) or _SWALLOWS.search(command) or pipe:
            yield _seen(look, name)


@rule(
    "ARC04",
    Severity.HIGH,
    "the archive lies on the disk of a node's data",
    why="One broken disk takes the data and the archive that was to bring it back. An archive that fills up also stops "
    "the server beside it.",
    fix='directory = "..." under [archive] in pgtandem.toml, on another disk or host',
    by_sql=False,
)
def same_disk(look: Look) -> Iterator[Seen]:
    archive, wanted = value_or_none(look.observed.archive), look.topology.archive
    if archive is None or archive.disk is None or wanted is None or wanted.host is None:
        return
    for node in look.topology.nodes:
        disk = value_or_none(look.observed.nodes[node.name].disk)
        if disk and node.host == wanted.host and disk.device == archive.disk.device:
            # Where everything is on one machine, the archive is for looking back, not for a lost disk.
            severity = Severity.NOTE if look.one_machine else None
            yield Seen(node.name, f"{wanted.directory} and {node.data_directory} share a disk", severity=severity)


@rule(
    "ARC05",
    Severity.CRITICAL,
    "archiving fails",
    why="Every segment that cannot be archived stays in pg_wal until the disk is full, and then the server stops. "
    "Until it works again there is no way back to this moment, and standbys that fall behind lose their second source.",
    fix="see the last lines of the server's log, mend what the archive command complains of",
)
def failing(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        archiver, command = server.archiver, look.value(name, "archive_command")
        if archiver is None or (server.in_recovery and look.value(name, "archive_mode") != "always"):
            continue
        waiting = archiver.waiting_segments or 0
        if look.archives(name) and command == "" and not look.value(name, "archive_library"):
            yield Seen(name, f"archive_mode is on without a command, {waiting} segments wait", fix=_USE_OURS)
        elif archiver.failing:
            behind = "1 segment waits" if waiting == 1 else f"{waiting} segments wait"
            said = look.observed.nodes[name].archive_said
            why = f" ({said})" if said else ""
            tried = "the last attempt failed"
            if archiver.stuck:
                hangs = "the command comes to no end"
                tried = hangs if archiver.works else "the command ends without being counted as failed"
            what = f"{tried}, at {archiver.fails_at}{why}; {behind}"
            room = archive_room(look.topology, look.observed)
            if room is None or not room.scarce:
                yield Seen(name, f"{what}; {held_in_pg_wal(look.observed, name)}")
            else:
                full = f"the archive's disk has {room}"
                yield Seen(name, f"{what}; {full}; {held_in_pg_wal(look.observed, name)}", fix=make_room(look.topology))
        elif waiting >= _FEW_SEGMENTS and not archiver.archived_count and not archiver.failed_count:
            # A command that ends by a signal or above 125 is not counted as failed.
            yield Seen(name, f"nothing was ever archived nor counted as failed, and {waiting} segments wait")


@rule(
    "ARC06",
    Severity.HIGH,
    "archiving falls behind",
    why="Segments are archived one after the other, and they come faster than they go. What waits is lost with the "
    "primary's disk, and it fills that disk.",
    fix="make the archive's disk or network faster, or write less",
)
def behind(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        archiver = server.archiver
        if archiver is None or archiver.failing or not archiver.archived_count:
            continue
        waiting = archiver.waiting_segments or 0
        if waiting >= _FEW_SEGMENTS:
            severity = None if waiting >= _MANY_SEGMENTS else Severity.MEDIUM
            yield Seen(name, f"{waiting} segments wait in archive_status", severity=severity)


def _leads_to_now(look: Look) -> Backup | None:
    """The last backup, where nothing is known against it and no WAL behind it is missing."""
    backups = value_or_none(look.observed.backups)
    last = backups.kept[-1] if backups is not None and backups.kept else None
    if backups is None or last is None or backups.missing_segment is not None:
        return None
    chain = backups.chain(last)
    return None if chain is None or spoilt_in(chain) is not None else last


def _segment_number(name: str, per_log: int) -> int:
    return int(name[8:16], 16) * per_log + int(name[16:], 16)


@rule(
    "ARC07",
    Severity.CRITICAL,
    "segments are missing in the middle of the archive",
    why="Recovery stops at the first segment that is not there, whatever comes behind it. Every moment between the "
    "hole and the next base backup is out of reach.",
    fix="take a new base backup now, then find out who removed or never wrote the segments",
    by_sql=False,
)
def holes(look: Look) -> Iterator[Seen]:
    listing = value_or_none(look.examined.archive)
    sizes = {seen.control.wal_segment_bytes for seen in look.observed.nodes.values() if seen.control}
    if listing is None or len(sizes) != 1:
        return
    size = sizes.pop()
    per_log = (1 << 32) // size
    behind = _leads_to_now(look)
    segments = sorted(name for name in listing.names if _SEGMENT.match(name))
    furthest = segments[0] if segments else ""
    for before, after in pairwise(segments):
        # A timeline begins in a segment that one before it has reached: where it was left, that was never finished.
        earlier = before if before[:8] == after[:8] else furthest
        missing = _segment_number(after, per_log) - _segment_number(earlier, per_log) - 1
        if missing > 0:
            what = f"{missing} missing between {earlier} and {after}"
            begins = 0 if behind is None or int(after[:8], 16) > behind.timeline else behind.start_lsn.position // size
            if behind is not None and begins >= _segment_number(after, per_log):
                what += f"; backup {behind.label} begins behind that, and leads from its own end to now"
                yield Seen(None, what, fix=_ONCE_MORE, severity=Severity.NOTE)
            else:
                yield Seen(None, what)
        furthest = max(furthest, after, key=lambda name: name[8:])


@rule(
    "ARC08",
    Severity.HIGH,
    "the archive lacks a timeline's history file",
    why="Without it a server cannot tell where the timeline branched off, and follows the wrong one or none. A restore "
    "to a moment after the promotion fails.",
    fix="copy pg_wal/NNNNNNNN.history of the primary into the archive's folder",
    by_sql=False,
)
def history_missing(look: Look) -> Iterator[Seen]:
    listing = value_or_none(look.examined.archive)
    if listing is None:
        return
    timelines = {int(name[:8], 16) for name in listing.names if _SEGMENT.match(name)}
    for timeline in sorted(timelines):
        if timeline > 1 and f"{timeline:08X}.history" not in listing.names:
            yield Seen(None, f"segments of timeline {timeline}, and no {timeline:08X}.history")


@rule(
    "ARC09",
    Severity.CRITICAL,
    "two different clusters write into one archive",
    why="Their segments have the same names, so that one replaces the other or stops its archiving. What is there then "
    "restores neither of them.",
    fix="give each cluster a folder of its own, for example one named after its system identifier",
)
def two_systems(look: Look) -> Iterator[Seen]:
    writers: dict[str, dict[str, NodeName]] = {}
    for name, server, command in _commands(look):
        if _OURS not in command and not server.in_recovery:
            writers.setdefault(command, {})[server.system_identifier] = name
    for command, systems in writers.items():
        if len(systems) > 1:
            yield Seen(None, f"{' and '.join(systems.values())} are different systems with archive_command {command}")


@rule(
    "ARC10",
    Severity.HIGH,
    "archive_mode is off on a node that may be promoted",
    why="archive_mode needs a restart, so that a standby without it archives nothing after a failover. The hole in the "
    "archive begins at the very moment of the accident.",
    fix="pgtandem apply",
)
def mode_differs(look: Look) -> Iterator[Seen]:
    if not any(look.archives(name) for name, _ in look.servers()):
        return
    for name, _ in look.servers():
        if not look.archives(name):
            yield _seen(look, name, "archive_mode")


@rule(
    "ARC11",
    Severity.MEDIUM,
    "archive_mode = always with a command that may not be repeated",
    why="With always, standbys archive the same segments as the primary, into the same place. A command that fails "
    "where the same content is there already stops archiving; one that overwrites may replace a good segment.",
    fix=_USE_OURS,
)
def always_mode(look: Look) -> Iterator[Seen]:
    for name, _, command in _commands(look):
        if look.value(name, "archive_mode") == "always" and _OURS not in command:
            yield _seen(look, name, "archive_mode")


@rule(
    "ARC12",
    Severity.NOTE,
    "a segment is archived only when it is full",
    why="Where little is written, hours of changes stand in a segment that is not in the archive yet. A standby that "
    "streams has them; a restore from the archive alone does not.",
    fix='archive_timeout = "5min" under [parameters] in pgtandem.toml, then pgtandem apply',
)
def no_timeout(look: Look) -> Iterator[Seen]:
    for name, _ in look.primaries():
        # What is streamed is in the archive too.
        unseen = not look.topology.streams_to_archive
        if unseen and look.archives(name) and look.number(name, "archive_timeout") == 0:
            yield _seen(look, name, "archive_timeout")


@rule(
    "ARC13",
    Severity.NOTE,
    "the archive holds the last, partial segment of an old timeline",
    why="A promotion archives the unfinished segment of the old timeline under a name with .partial, which recovery "
    "never reads by itself. It belongs there: removing it may lose the last commits before a promotion.",
    fix="leave it where it is",
    by_sql=False,
)
def partial(look: Look) -> Iterator[Seen]:
    listing = value_or_none(look.examined.archive)
    for name in listing.names if listing else ():
        if name.endswith(".partial") and _SEGMENT.match(name[:24]):
            yield Seen(None, name)


@rule(
    "ARC15",
    Severity.HIGH,
    "a standby cleans up the archive",
    why="archive_cleanup_command removes what this standby does not need any more, and nothing else is asked. Other "
    "standbys and every restore to an earlier moment still need it.",
    fix="take archive_cleanup_command out of the configuration",
)
def cleanup(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        if look.recovery(name, "archive_cleanup_command"):
            setting = "archive_cleanup_command"
            what = f"{setting} = {look.recovery(name, setting)}"
            yield Seen(name, what, look.where(name, setting), taken_out(look, name, setting))


@rule(
    "ARC17",
    Severity.MEDIUM,
    "archive_command and archive_library are both set",
    why="Up to 15 the library wins in silence; from 16 on archiving stops with an error. Somebody believes in the one "
    "that is not used.",
    fix="take one of the two out of the configuration",
)
def both_ways(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        command = look.value(name, "archive_command")
        if look.archives(name) and look.value(name, "archive_library") and command not in ("", "(disabled)"):
            what = look.shown(name, "archive_library", "archive_command")
            yield Seen(name, what, look.where(name, "archive_library"), taken_out(look, name, "archive_library"))


@rule(
    "ARC19",
    Severity.NOTE,
    "another tool keeps the archive",
    why="pgtandem sees whether archiving works, and nothing of what the archive holds: no holes, no missing history "
    "files, no disk that fills up. Base backups and restores are that tool's too.",
    fix="let that tool check its archive, for example pgbackrest verify or barman check",
    by_sql=False,
)
def foreign_archive(look: Look) -> Iterator[Seen]:
    if look.topology.foreign_archive is not None:
        kept = look.topology.foreign_archive
        tool = find_tool(kept.command)
        yield Seen(None, f"{keeper_of(kept)}: archive_command = {kept.command}", fix=tool.checks if tool else "")


@rule(
    "ARC20",
    Severity.HIGH,
    "the archive has a newer timeline that the primary does not come from",
    why="A standby that starts looks there for the latest timeline, follows this one, finds that it has replayed what "
    "is not in it, and stops. It was left by a node that was a primary beside the real one.",
    fix="pgtandem apply   (sets it aside, nothing of it is removed)",
    by_sql=False,
)
def stray_timelines(look: Look) -> Iterator[Seen]:
    fact, primary = look.observed.archive, look.primary()
    if isinstance(fact, Known) and primary is not None:
        newer = [timeline for timeline in fact.value.newer if timeline > primary[1].timeline]
        if newer:
            yield Seen(None, f"{primary[0]} is on timeline {primary[1].timeline}, and there is {newer[0]:08X}.history")


_REACH = "make the archive's host and folder reachable, then pgtandem status"


@rule(
    "ARC18",
    Severity.HIGH,
    "the archive cannot be looked at, or cannot take much more",
    why="What cannot be archived stays in pg_wal until that disk is full too, and then the primary stops. Once the "
    "archive answers, or has room again, archiving goes on by itself.",
    fix="a larger disk for the archive, or pgtandem archive prune; never remove files from pg_wal",
    by_sql=False,
)
def archive_full(look: Look) -> Iterator[Seen]:
    wanted, fact = look.topology.archive, look.observed.archive
    if wanted is None:
        return
    obstacle = look.observed.archive_obstacle
    if isinstance(obstacle, Known):
        yield Seen(None, obstacle.value.why, fix=obstacle.value.remedy)
    elif isinstance(fact, Unknown):
        yield Seen(None, f"{wanted.directory} cannot be looked at: {fact.reason}", fix=fact.next_step or _REACH)
    elif (room := archive_room(look.topology, look.observed)) is not None and room.low:
        # Where retention holds it so, that is as it should be.
        severity = None if room.scarce else Severity.NOTE
        yield Seen(None, str(room), fix=make_room(look.topology), severity=severity)


@rule(
    "ARC21",
    Severity.HIGH,
    "WAL is not streamed to the archive, and it should be",
    why="What was written since the last whole segment is then on the nodes' disks alone, and goes with the primary's. "
    "The slot of the stream also keeps WAL on the primary, until it passes its cap.",
    fix="pgtandem apply",
    by_sql=False,
)
def not_streamed(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    health = stream_health(look.topology, look.observed, primary[0]) if primary else None
    if primary and health and health.state in ("down", "not streaming"):
        said = f": {health.said}" if health.said else ""
        what = "the receiver does not run" if health.state == "down" else f"the receiver gets nothing{said}"
        yield Seen(primary[0], what)


@rule(
    "ARC22",
    Severity.MEDIUM,
    "the archive's receiver does not come back with its host",
    why="After a reboot of the archive's host no WAL is streamed until a segment is archived there, or until pgtandem "
    "apply. Where commits wait for the archive, writes may stop until then.",
    fix="a login as root or sudo on the archive's host for one pgtandem apply, or a line in the account's crontab",
    by_sql=False,
)
def receiver_not_kept(look: Look) -> Iterator[Seen]:
    found = not_kept(look.topology, look.observed)
    if found is not None:
        why, remedy = found
        yield Seen(None, why, fix=remedy)
