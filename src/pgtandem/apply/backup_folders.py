"""What taking, proving and restoring backups have in common: where a backup lies, and what stops all of them alike."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.observe.backups import backups_folder

#: A backup may take as long as it takes.
LONG_SECONDS = 7 * 24 * 3600.0


def backup_folder(context: Context, system: str, name: str) -> str:
    assert context.topology.archive is not None
    return posixpath.join(backups_folder(context.topology.archive.directory, system), name)
