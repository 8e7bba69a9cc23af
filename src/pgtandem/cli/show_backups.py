"""The backups in the archive, a line for each, newest last: where the eye is."""

import textwrap
import time

from pgtandem.cli.terminal import Paint
from pgtandem.model.backup import Backup, Backups
from pgtandem.model.topology import Topology
from pgtandem.model.words import size_in_words
from pgtandem.observe.backup_health import age_in_words

_HEADING = ("backup", "from", "size", "age", "verified", "drill", "restores from")


def backup_lines(topology: Topology, backups: Backups, now: float, paint: Paint, columns: int) -> list[str]:
    """The table; below it what is wrong, and what an interrupted run left."""
    if not backups.kept:
        lines = [f"there is no backup of cluster {topology.cluster} in its archive"]
    else:
        rows = [_HEADING, *(_row(backup, now) for backup in backups.kept)]
        # Where it is too wide, what can be restored from goes first: `restore` tells it anyway.
        if _wide(rows) > columns:
            rows = [row[:-1] for row in rows]
        if _wide(rows) > columns:
            rows = [(row[0], *row[3:]) for row in rows]
        heading, *body = _lines(rows)
        lines = [paint.dim(heading)]
        lines += [text if backup.sound else paint.red(text) for text, backup in zip(body, backups.kept, strict=True)]
    trouble: list[str] = []
    for backup in backups.kept:
        for what, proof in (("verify", backup.verified), ("drill", backup.drill)):
            if proof and proof.trouble:
                trouble.append(f"! {backup.label}: {what}: {proof.trouble}")
        if backups.chain(backup) is None:
            trouble.append(f"! {backup.label} continues {backup.parent}, which is not there: it cannot be restored")
    trouble += [f"! {folder} cannot be read: {why}" for folder, why in backups.unreadable]
    lines += [paint.red(line) for text in trouble for line in _wrapped(text, columns)]
    for half in backups.half_made:
        lines += _wrapped(f"half-made, the next backup removes it: {half.folder}", columns)
    return lines


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _row(backup: Backup, now: float) -> tuple[str, ...]:
    drill = backup.drill
    return (
        backup.label,
        backup.node,
        size_in_words(backup.size_bytes),
        age_in_words(now - backup.ended),
        "no"
        if backup.verified is None
        else "BAD"
        if backup.verified.trouble
        else f"{age_in_words(now - backup.verified.at)} ago",
        "no" if drill is None else "FAILED" if drill.trouble else f"{age_in_words(now - drill.at)} ago",
        f"{time.strftime('%Y-%m-%d %H:%M:%S%z', time.localtime(backup.ended))}  {backup.stop_lsn}",
    )


def _lines(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]


def _wide(rows: list[tuple[str, ...]]) -> int:
    return max(map(len, _lines(rows)))
