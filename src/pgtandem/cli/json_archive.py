"""The JSON shape of `archive` (docs/json.md)."""

from typing import Any

from pgtandem.cli.json_views import VERSION
from pgtandem.model.archive_report import ArchiveReport
from pgtandem.model.lsn import Timeline
from pgtandem.model.topology import Topology
from pgtandem.postgres.segments import segment_name


def archive_json(topology: Topology, report: ArchiveReport) -> dict[str, Any]:
    content = report.content

    def name(timeline: Timeline, number: int) -> str:
        return segment_name(timeline, number, content.segment_bytes)

    return {
        "version": VERSION,
        "cluster": topology.cluster,
        "system_identifier": report.system_identifier,
        "directory": report.directory,
        "files": content.file_count,
        "size_bytes": content.size_bytes,
        "timelines": [
            {
                "timeline": one.timeline,
                "history": one.history,
                "segments": [
                    {"first": name(one.timeline, low), "last": name(one.timeline, high), "count": high - low + 1}
                    for low, high in one.runs
                ],
                "partial": [name(one.timeline, number) for number in one.partial],
            }
            for one in content.timelines
        ],
        "streamed": list(content.streamed),
        "streamed_to_lsn": str(content.tail.end) if content.tail else None,
        "restorable": [
            {
                "backup": interval.backup,
                "timeline": interval.timeline,
                "start_lsn": str(interval.start),
                "end_lsn": str(interval.end),
                "missing": interval.missing,
                "hole": interval.hole,
            }
            for interval in report.restorable
        ],
        "damages": [{"what": damage.what, "host": damage.where} for damage in report.damages],
        "checked": report.checked,
        "without_checksum": list(report.without_checksum),
    }
