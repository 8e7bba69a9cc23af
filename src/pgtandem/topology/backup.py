"""The table [backup]: how long base backups are kept, and whether they may be incremental."""

import re

from pgtandem.model.topology import Archive, BackupPolicy
from pgtandem.topology.table import Table
from pgtandem.topology.toml import describe

_DURATION = re.compile(r"([1-9][0-9]{0,5})(min|h|d)")
_UNIT_SECONDS = {"min": 60.0, "h": 3600.0, "d": 86400.0}


def read_backup(table: Table, major: int | None, archive: Archive | None) -> BackupPolicy:
    """The policy. Without an archive there are no backups, so that the table is a mistake then."""
    keep = table.integer("keep")
    if keep is not None and keep < 1:
        what = f"{describe(keep)} would keep no backup at all"
        table.report("keep", what, "At least the last one stays.", "keep = 1, or remove the line to keep all")
    incremental = table.flag("incremental")
    if incremental and major is not None and major < 17:
        what = f"PostgreSQL {major} has no incremental backups: they came with 17"
        table.report("incremental", what, "", "remove the line")
    if archive is None:
        for name in ("keep", "keep_for", "incremental", "full_every"):
            if table.given(name):
                what = "there is no [archive] that backups could lie in"
                table.report(name, what, "", 'write [archive] with directory = "archive"')
                break
    full_every = _seconds(table, "full_every")
    assert full_every is not None
    return BackupPolicy(keep, _seconds(table, "keep_for"), incremental, full_every)


def _seconds(table: Table, name: str) -> float | None:
    text = table.text(name)
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found:
        return int(found[1]) * _UNIT_SECONDS[found[2]]
    table.report(
        name, f"{describe(text)} is not a duration", "The units are min, h and d.", f'for example {name} = "14d"'
    )
    return 0.0


def duration_text(seconds: float) -> str:
    """The other way: in the largest unit that fits."""
    unit = next((unit for unit in ("d", "h", "min") if seconds % _UNIT_SECONDS[unit] == 0), "min")
    return f"{int(seconds // _UNIT_SECONDS[unit])}{unit}"
