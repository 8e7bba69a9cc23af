"""What pg_controldata prints (in the C locale), as a value."""

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.observed import ControlData

_SETTINGS = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}


def parse_control_data(text: str) -> ControlData:
    """Reads the output of pg_controldata of any version from 10 on. Raises ValueError when a line is missing."""
    lines: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            lines[key.strip()] = value.strip()

    def line_of(key: str) -> str:
        if key not in lines:
            raise ValueError(f"pg_controldata printed no line {key!r}")
        return lines[key]

    return ControlData(
        system_identifier=line_of("Database system identifier"),
        state=line_of("Database cluster state"),
        timeline=Timeline(int(line_of("Latest checkpoint's TimeLineID"))),
        checkpoint_lsn=Lsn.parse(line_of("Latest checkpoint location")),
        min_recovery_lsn=Lsn.parse(line_of("Minimum recovery ending location")),
        checksums=line_of("Data page checksum version") != "0",
        wal_segment_bytes=int(line_of("Bytes per WAL segment")),
        min_recovery_timeline=Timeline(int(line_of("Min recovery ending loc's timeline"))),
        hints=lines.get("wal_log_hints setting") == "on",
        settings={name: lines[key] for key, name in _SETTINGS.items() if key in lines},
    )
