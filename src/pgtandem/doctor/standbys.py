"""Standbys: one history, replay that moves, and one that could take over now."""

from collections.abc import Iterator

from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.facts import Absent, Unknown
from pgtandem.postgres.managers import managed_by

_MANY_TRANSACTIONS = 100_000_000
_FEEDBACK_TRANSACTIONS = 10_000_000
_OLD_PREPARED_SECONDS = 3600
_NEAR_BYTES = 64 * 1024 * 1024


@rule(
    "STB01",
    Severity.CRITICAL,
    "there are two primaries",
    why="Both take writes, and each commit exists on one of them only. Every minute makes more of what has to be "
    "thrown away on one side.",
    fix="pgtandem rejoin NODE, for the one whose rows may be taken back (they are kept aside)",
)
def two_primaries(look: Look) -> Iterator[Seen]:
    by_system: dict[str, list[str]] = {}
    for name, server in look.primaries():
        by_system.setdefault(server.system_identifier, []).append(
            f"{name} on timeline {server.timeline} at {server.current_lsn}"
        )
    for words in by_system.values():
        if len(words) > 1:
            yield Seen(None, "; ".join(words))


@rule(
    "STB02",
    Severity.CRITICAL,
    "data directories belong to different clusters",
    why="A node with another system identifier was made by an initdb of its own. It can never follow the others, "
    "whatever its settings say.",
    fix="move that data directory away, then pgtandem apply copies it anew",
)
def other_system(look: Look) -> Iterator[Seen]:
    systems = look.observed.system_identifiers()
    systems.update({name: server.system_identifier for name, server in look.servers()})
    if len(set(systems.values())) > 1:
        yield Seen(None, ", ".join(f"{name} has {system}" for name, system in systems.items()))


@rule(
    "STB03",
    Severity.CRITICAL,
    "a standby is on another history than the primary",
    why="It has replayed what the primary never had, or left its timeline before the primary did. It will not stream, "
    "and what it has must not be taken for a copy.",
    fix="move its data directory away, then pgtandem apply copies it anew",
)
def diverged(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    if primary is None:
        return
    name, server = primary
    for other, standby in look.standbys():
        if standby.system_identifier != server.system_identifier:
            continue
        if standby.timeline > server.timeline:
            yield Seen(other, f"it is on timeline {standby.timeline}, {name} on {server.timeline}")
        elif standby.receiver is None and standby.timeline == server.timeline:
            at, end = standby.replay_lsn, server.current_lsn
            if at and end and at > end:
                yield Seen(other, f"it has replayed up to {at}, {name} has written up to {end}")


@rule(
    "STB07",
    Severity.NOTE,
    "a promoted server has not made a checkpoint yet",
    why="Its control file still has the old timeline, and a pg_rewind by hand would find nothing to do. That passes "
    "with the next checkpoint, and pgtandem rejoin makes one itself.",
    fix='pgtandem psql -c "CHECKPOINT"',
)
def no_checkpoint(look: Look) -> Iterator[Seen]:
    for name, server, examination in look.examinations():
        point = examination.checkpoint_timeline
        if not server.in_recovery and point is not None and point < server.timeline:
            yield Seen(name, f"it writes timeline {server.timeline}, its last checkpoint is on {point}")


@rule(
    "STB08",
    Severity.CRITICAL,
    "another program takes care of the cluster too",
    why="It starts servers, promotes them and writes their settings by its own mind. Two that do so undo each other's "
    "work, and an old primary may come back as a second one, when its host starts for instance.",
    fix="leave the cluster to that program; or end it on every host, and keep it from starting with the host",
)
def other_manager(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        data = look.observed.nodes[name].directory
        values = {key: setting.value for key, setting in server.settings.items()}
        manager = managed_by(values, data.entries if data else ())
        if manager:
            # One that pgtandem does not keep is well in its hands.
            severity = None if data and data.marker else Severity.NOTE
            yield Seen(name, f"{manager} keeps it, by what its settings and files say", severity=severity)


@rule(
    "STB09",
    Severity.HIGH,
    "a standby does not stream",
    why="It lives from the archive at best, a segment behind, or stands still. Nothing but its lag tells, since the "
    "process is up and answers queries.",
    fix="pgtandem plan   (shows what would mend it, or what stands in the way)",
)
def not_streaming(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        # One that waits for its recovery_min_apply_delay streams again once it has replayed what it has.
        if server.receiver is None and look.sender_of(name) is None and not server.delaying:
            yield Seen(name, f"it has no WAL receiver; replayed up to {server.replay_lsn}")


@rule(
    "STB10",
    Severity.HIGH,
    "replay is paused",
    why="The standby receives and shows old data. It would have to replay everything first if it had to take over.",
    fix='pgtandem psql --node NAME -c "SELECT pg_wal_replay_resume()"',
)
def paused(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        if server.replay_paused:
            fix = look.psql(name, "SELECT pg_wal_replay_resume()")
            yield Seen(name, "pg_is_wal_replay_paused() is true", fix=fix)


@rule(
    "STB11",
    Severity.HIGH,
    "a query may hold replay up for ever",
    why="With max_standby_streaming_delay = -1 replay waits for every query that is in its way. The standby falls "
    "behind without a limit, and WAL collects in its pg_wal.",
    fix='max_standby_streaming_delay = "5min" under [parameters] in pgtandem.toml, then pgtandem apply',
)
def unbounded_delay(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        for setting in ("max_standby_streaming_delay", "max_standby_archive_delay"):
            if look.number(name, setting) == -1:
                fix = f'{setting} = "5min" under [parameters] in pgtandem.toml, then pgtandem apply'
                yield Seen(name, look.shown(name, setting), look.where(name, setting), fix)


@rule(
    "STB12",
    Severity.MEDIUM,
    "queries on a standby were cancelled by replay",
    why="Who reads there got an error (conflict with recovery). It happens again with every vacuum on the primary that "
    "removes what a long query still needs.",
    fix="hot_standby_feedback = on for that node, or send long queries to another one",
)
def conflicts(look: Look) -> Iterator[Seen]:
    for name, server, examination in look.examinations():
        for database in examination.databases.values():
            if server.in_recovery and database.conflicts:
                yield Seen(name, f"{database.conflicts} in database {database.name} since its statistics began")


@rule(
    "STB13",
    Severity.MEDIUM,
    "a query on a standby keeps the primary from cleaning up",
    why="With hot_standby_feedback the primary keeps every row version that the oldest query of a standby may see. "
    "Tables grow, and all become slower.",
    fix="end the old query on the standby, or bound its queries with statement_timeout",
)
def feedback(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        if (examination.feedback_age or 0) > _FEEDBACK_TRANSACTIONS:
            yield Seen(name, f"a standby holds row versions {examination.feedback_age:,} transactions old")


@rule(
    "STB14",
    Severity.HIGH,
    "a slot keeps the primary from cleaning up",
    why="A slot with an old xmin holds vacuum back in the whole cluster. In the end the server stops taking writes, to "
    "protect itself from wraparound.",
    fix="let its user catch up, or drop the slot",
)
def slot_xmin(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        for slot in examination.slots.values():
            age = max(slot.xmin_age or 0, slot.catalog_xmin_age or 0)
            if age > _MANY_TRANSACTIONS:
                yield Seen(name, f"{slot.name} holds row versions {age:,} transactions old")


@rule(
    "STB16",
    Severity.MEDIUM,
    "a delayed standby collects WAL in its own pg_wal",
    why="It streams at once and replays late, so that everything in between lies on its disk, and is not counted by "
    "any cap. A busy hour fills it.",
    fix='apply_delay = "..." under [nodes.NAME] in pgtandem.toml, then pgtandem apply',
)
def delayed_streams(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        delay = look.recovery(name, "recovery_min_apply_delay")
        wished = look.topology.node(name).apply_delay is not None
        if delay not in ("", "0") and server.receiver is not None and not wished:
            yield Seen(name, f"recovery_min_apply_delay = {delay}", look.where(name, "recovery_min_apply_delay"))


@rule(
    "STB17",
    Severity.NOTE,
    "there are unlogged tables, which are empty after a failover",
    why="Unlogged tables are not in WAL: a standby has them empty, and so has the primary after a crash. Their owner "
    "should know.",
    fix="ALTER TABLE ... SET LOGGED where the rows matter",
)
def unlogged(look: Look) -> Iterator[Seen]:
    for name, server, examination in look.examinations():
        for database in examination.databases.values():
            if not server.in_recovery and database.unlogged_files:
                count = database.unlogged_files
                yield Seen(name, f"database {database.name}: {count} unlogged tables and indexes")


@rule(
    "STB18",
    Severity.MEDIUM,
    "prepared transactions wait for their end",
    why="Each holds its locks and keeps vacuum from cleaning up, through restarts and promotions. Mostly its "
    "application is gone.",
    fix="COMMIT PREPARED or ROLLBACK PREPARED by its name, after asking its owner",
)
def prepared(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        for transaction in examination.prepared:
            if transaction.age_seconds > _OLD_PREPARED_SECONDS:
                yield Seen(name, f"{transaction.name} is {transaction.age_seconds / 3600:.0f} h old")


@rule(
    "STB19",
    Severity.CRITICAL,
    "pages with a wrong checksum were read",
    why="The disk, the memory or a copy has damaged data. A node with damaged pages must not be the one that is "
    "promoted or copied.",
    fix="look at the server's log for the files, and copy the node anew on another disk",
)
def checksum_failures(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        for database in examination.databases.values():
            if database.checksum_failures:
                yield Seen(name, f"{database.checksum_failures} in database {database.name}")


@rule(
    "STB21",
    Severity.HIGH,
    "no standby could take over now",
    why="If the primary fails in this moment, there is nothing to promote, or only with the loss of what the standbys "
    "have not received. Better known before than during an outage.",
    fix="pgtandem status   (shows each standby's state and lag)",
)
def no_candidate(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    if primary is None or len(look.topology.nodes) < 2:
        return
    end = primary[1].current_lsn
    for name, standby in look.standbys():
        if look.recovery(name, "recovery_min_apply_delay") not in ("", "0"):
            continue
        received = max((lsn for lsn in (standby.receive_lsn, standby.replay_lsn) if lsn), default=None)
        if standby.receiver is None or received is None or end is None:
            continue
        if end - received <= _NEAR_BYTES and standby.timeline == primary[1].timeline:
            return
    yield Seen(primary[0], "no standby that replays without a delay streams within 64 MB of it")


@rule(
    "STB22",
    Severity.CRITICAL,
    "no primary runs",
    why="Nothing can be written. Where the one that was the primary can be started again, it goes on and nothing is "
    "lost; otherwise a standby takes over.",
    fix="pgtandem apply   (starts it again; where it cannot be: pgtandem failover)",
    by_sql=False,
)
def no_primary(look: Look) -> Iterator[Seen]:
    if look.sql_only or any(look.primaries()):
        return
    nodes = look.observed.nodes.items()
    unseen = [name for name, seen in nodes if isinstance(seen.server, Unknown) or isinstance(seen.reachable, Unknown)]
    standbys = [name for name, _ in look.standbys()]
    if not unseen and all(isinstance(seen.data, Absent) for _, seen in nodes):
        return  # Nothing was built yet.
    parts = [f"{' and '.join(standbys)} {'runs as a standby' if len(standbys) == 1 else 'run as standbys'}"]
    parts = parts if standbys else ["no server is seen to run"]
    if unseen:
        # It may be the primary, and at work for all that is known.
        parts.append(f"{' and '.join(unseen)} could not be looked at")
        fix = "pgtandem status; where that machine is gone for good: pgtandem failover"
    else:
        fix = ""
    yield Seen(None, "; ".join(parts), fix=fix)
