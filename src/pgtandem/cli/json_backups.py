"""The JSON shape of `backup list` (docs/json.md)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pgtandem.cli.json_views import VERSION
from pgtandem.model.backup import Backup, Backups
from pgtandem.model.restore import Interval, Searched
from pgtandem.model.topology import Topology


def backups_json(topology: Topology, backups: Backups, now: float) -> dict[str, Any]:
    return {
        "version": VERSION,
        "cluster": topology.cluster,
        "backups": [_backup(backup, now) for backup in backups.kept],
        "half_made": [half.folder for half in backups.half_made],
        "unreadable": [f"{folder}: {why}" for folder, why in backups.unreadable],
    }


def _backup(backup: Backup, now: float) -> dict[str, Any]:
    verified, drill = backup.verified, backup.drill
    return {
        "label": backup.label,
        "kind": backup.kind.value,
        "parent": backup.parent,
        "node": backup.node,
        "host": backup.host.url,
        "folder": backup.folder,
        "timeline": backup.timeline,
        "start_lsn": str(backup.start_lsn),
        "stop_lsn": str(backup.stop_lsn),
        "began": _time(backup.began),
        "ended": _time(backup.ended),
        "age_seconds": round(max(now - backup.ended, 0.0), 1),
        "size_bytes": backup.size_bytes,
        "verified": _time(verified.at) if verified and not verified.trouble else None,
        "trouble": verified.trouble if verified else "",
        "drilled": _time(drill.at) if drill and not drill.trouble else None,
        "drill_trouble": drill.trouble if drill else "",
    }


def restorable_json(topology: Topology, found: Sequence[Interval], searched: Searched | None) -> dict[str, Any]:
    return {
        "version": VERSION,
        "cluster": topology.cluster,
        "intervals": [
            {
                "timeline": each.timeline,
                "backup": each.backup.label,
                "begin_lsn": str(each.begin),
                "end_lsn": str(each.end),
                "begin": None if each.begin_time is None else _time(each.begin_time),
                "end": None if each.end_time is None else _time(each.end_time),
                "missing_segment": each.missing,
                "hole": each.hole,
                "trouble": each.spoilt.verified.trouble if each.spoilt and each.spoilt.verified else "",
            }
            for each in found
        ],
        "restore_points": None
        if searched is None
        else [
            {
                "name": point.name,
                "lsn": str(point.lsn),
                "time": None if point.time is None else _time(point.time),
            }
            for point in searched.points
        ],
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
