"""Removing WAL from the archive: what no backup needs, looked at once more right before."""

from pgtandem.apply.context import Context
from pgtandem.apply.wal_pruning import remove_wal_before
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.plan import Step


async def prune_wal(context: Context, step: Step) -> str:
    """Removes the segments below a number, with their .partial and .backup files, in whichever form they are stored.
    History files stay: they are small, and they say where every timeline came from.

    Raises PgtandemError PT-4002 where a backup needs what was to be removed: somebody put it back meanwhile.
    """
    system, horizon, size = step.names[0], int(step.names[1]), int(step.names[2])
    backups = await context.observer.backups()
    kept = backups.value.kept if isinstance(backups, Known) else ()
    if not kept or any(backup.start_lsn.position // size < horizon for backup in kept):
        raise PgtandemError(
            "PT-4002",
            "a backup is there that needs the WAL which was to be removed",
            why="Nothing was removed.",
            next_step="run the same command again: it looks at the backups anew",
        )
    count = await remove_wal_before(context.topology, context.world, system, horizon, size)
    return f"{count} file{'' if count == 1 else 's'}"
