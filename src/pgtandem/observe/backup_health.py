"""What the base backups mean for people: how old the last one is, whether it is good, when one was last restored."""

from collections.abc import Iterator

from pgtandem.model.backup import Backup, Backups
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.observed import NOT_LOOKED, Observed


def backups_in_words(observed: Observed) -> str | None:
    """A sentence; None where there is no archive, or no backup in it."""
    if isinstance(observed.backups, Unknown) and observed.backups != NOT_LOOKED:
        return f"unknown: {observed.backups.reason}"
    backups = _known(observed)
    if not backups.kept:
        return None
    last, others = backups.kept[-1], len(backups.kept) - 1
    words = f"{last.kind.value}, from {last.node}, {age_in_words(observed.now - last.ended)} old, {_proof(last)}"
    more = f"; {others} more" if others else ""
    return f"{words}{more}; {_drill(backups, observed.now)}"


def backup_problems(observed: Observed) -> Iterator[str]:
    """What makes it doubtful that the last backup could be restored."""
    backups = _known(observed)
    for backup in backups.kept[-1:]:
        if backup.verified is not None and backup.verified.trouble:
            yield f"The last backup, {backup.label}, is not what was backed up: {backup.verified.trouble}"
        elif backups.chain(backup) is None:
            yield f"The last backup, {backup.label}, continues {backup.parent}, which is gone"
        elif backups.missing_segment is not None and _archived(observed):
            yield (
                f"The last backup, {backup.label}, cannot be brought to now: WAL segment "
                f"{backups.missing_segment} is not in the archive"
            )
    last = backups.last_drilled
    if last is not None and last.drill is not None and last.drill.trouble:
        yield f"The last restore drill, of backup {last.label}, failed: {last.drill.trouble}"


def what_mends_backups(observed: Observed) -> str:
    """The command for what `backup_problems` tells."""
    backups = _known(observed)
    last = backups.kept[-1] if backups.kept else None
    bad = last is not None and (bool(last.verified and last.verified.trouble) or backups.chain(last) is None)
    if bad:
        return "pgtandem backup --full   (a new one, in place of the one that is not good)"
    if backups.missing_segment is not None:
        return "pgtandem backup --full   (begins behind the WAL that is missing)"
    return "pgtandem drill   (restores the last backup for trial once more)"


def age_in_words(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _archived(observed: Observed) -> bool:
    """Whether nothing waits: what is still to come is no hole."""
    archivers = [server.archiver for name in observed.primaries() if (server := observed.nodes[name].running)]
    return bool(archivers) and all(each and not each.failing and each.waiting_segments == 0 for each in archivers)


def _known(observed: Observed) -> Backups:
    return observed.backups.value if isinstance(observed.backups, Known) else Backups()


def _proof(backup: Backup) -> str:
    if backup.verified is None:
        return "never verified"
    return "verified" if not backup.verified.trouble else "NOT GOOD"


def _drill(backups: Backups, now: float) -> str:
    last = backups.last_drilled
    if last is None or last.drill is None:
        return "none was ever restored for trial"
    what = "failed" if last.drill.trouble else "passed"
    return f"drill {what} {age_in_words(now - last.drill.at)} ago"
