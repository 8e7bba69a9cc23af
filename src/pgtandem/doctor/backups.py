"""Base backups: are there any, are they good, was one ever restored, and is the WAL there that they need?"""

from collections.abc import Iterator

from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.backup import Backup, Backups
from pgtandem.model.facts import Known, value_or_none
from pgtandem.plan.cut_off import cut_off_drills, cut_off_restores, half_restored
from pgtandem.postgres.archive_content import wal_name
from pgtandem.postgres.segments import segment_name

_DAY = 86400.0
_DRILL_SECONDS = 30 * _DAY


def _backups(look: Look) -> Backups:
    return value_or_none(look.observed.backups) or Backups()


@rule(
    "ARC14",
    Severity.HIGH,
    "WAL that a backup needs is not in the archive",
    why="Without the WAL from its beginning on, a backup brings back the moment of its own end at most. Somebody "
    "removed segments by their age, or another program prunes the archive.",
    fix="pgtandem backup --full, then find out who removed the segments",
    by_sql=False,
)
def backup_without_wal(look: Look) -> Iterator[Seen]:
    listing = value_or_none(look.examined.archive)
    if listing is None:
        return
    there = {found[0] for name in listing.names if (found := wal_name(name))}
    for backup in _backups(look).kept:
        missing = [name for name in _segments(backup) if name not in there]
        if missing:
            yield Seen(None, f"backup {backup.label} needs {missing[0]}", backup.folder)


def _segments(backup: Backup) -> list[str]:
    size = backup.segment_bytes
    first, last = backup.start_lsn.position // size, (backup.stop_lsn.position - 1) // size
    return [segment_name(backup.timeline, number, size) for number in range(first, last + 1)]


@rule(
    "RST10",
    Severity.HIGH,
    "no restore drill has passed for a long time, or the last one failed",
    why="A backup that was never restored is a hope: a missing file, a wrong setting or a broken archive shows at the "
    "restore. A drill also tells how long a restore takes, before somebody has to know.",
    fix="pgtandem drill",
    by_sql=False,
)
def never_restored(look: Look) -> Iterator[Seen]:
    backups, now = _backups(look), look.observed.now
    if not backups.kept:
        if isinstance(look.observed.backups, Known) and look.topology.archive is not None:
            fix = "pgtandem backup"
            yield Seen(None, "there is an archive, and no base backup in it", fix=fix, severity=Severity.NOTE)
        return
    last = backups.last_drilled
    if last is None or last.drill is None:
        oldest = now - backups.kept[0].ended
        severity = Severity.NOTE if oldest < _DRILL_SECONDS else None
        yield Seen(None, f"{len(backups.kept)} in the archive, none was ever restored", severity=severity)
    elif last.drill.trouble:
        yield Seen(None, f"the drill of {last.label} failed: {last.drill.trouble}", last.folder)
    elif now - last.drill.at > _DRILL_SECONDS:
        yield Seen(None, f"the last drill passed {(now - last.drill.at) / _DAY:.0f} days ago", severity=Severity.MEDIUM)


@rule(
    "RST14",
    Severity.CRITICAL,
    "a restore that takes the place of a node was cut off",
    why="Where the node has the restored data already, the others still have what the cluster went back from, and "
    "cannot follow it. Until that is decided, whoever looks finds two pasts of the same cluster.",
    fix="run the same restore again",
    by_sql=False,
)
def restore_cut_off(look: Look) -> Iterator[Seen]:
    for each in half_restored(look.topology, look.observed):
        yield Seen(each.node, each.what, each.path, each.remedy)
    for each in cut_off_restores(look.topology, look.observed):
        yield Seen(each.node, each.what, each.path, each.remedy, Severity.MEDIUM)


@rule(
    "RST15",
    Severity.LOW,
    "a restore drill was cut off, and what it restored is still there",
    why="It takes as much room as the cluster's data, and where its server runs, memory too. It holds the cluster's "
    "rows, in a folder that nobody looks after.",
    fix="pgtandem drill",
    by_sql=False,
)
def drill_cut_off(look: Look) -> Iterator[Seen]:
    for each in cut_off_drills(look.topology, look.observed):
        yield Seen(each.node, each.what, each.path, each.remedy)


@rule(
    "RST13",
    Severity.CRITICAL,
    "a backup is not what was backed up",
    why="When it was read back, files of it were missing or had other content. Restored, it would bring damaged data, "
    "or nothing at all; and the disk that it lies on may be failing.",
    fix="pgtandem backup --full, and look at that disk",
    by_sql=False,
)
def bad_backup(look: Look) -> Iterator[Seen]:
    backups = _backups(look)
    for backup in backups.kept:
        if backup.verified is not None and backup.verified.trouble:
            yield Seen(None, f"{backup.label}: {backup.verified.trouble}", backup.folder)
        elif backups.chain(backup) is None:
            yield Seen(None, f"{backup.label} continues {backup.parent}, which is not there", backup.folder)
    for folder, why in backups.unreadable:
        yield Seen(None, why, folder)
