"""Other programs that take care of a cluster, as settings and files in a data directory give them away."""

from collections.abc import Mapping, Sequence

#: Files that stand in a data directory, or in its parent's place for one.
_FILES = {
    "patroni.dynamic.json": "Patroni",
    "postgresql.base.conf": "Patroni",
    "postgresql-auto-failover.conf": "pg_auto_failover",
    "stolon-temp-postgresql.conf": "Stolon",
}

#: Words in settings: a library that is loaded, or a program that is called.
_WORDS = (
    ("shared_preload_libraries", "pgautofailover", "pg_auto_failover"),
    ("shared_preload_libraries", "repmgr", "repmgr"),
    ("archive_command", "/controller/manager", "CloudNativePG"),
    ("restore_command", "/controller/manager", "CloudNativePG"),
    ("primary_conninfo", "application_name=pgautofailover_standby", "pg_auto_failover"),
    ("primary_conninfo", "application_name=cnpg", "CloudNativePG"),
    ("primary_slot_name", "pgautofailover_standby", "pg_auto_failover"),
    ("primary_slot_name", "repmgr_slot", "repmgr"),
    ("archive_command", "pcp_", "Pgpool-II"),
)


def managed_by(settings: Mapping[str, str], entries: Sequence[str]) -> str:
    """The program in charge, "" where none is seen."""
    for name, manager in _FILES.items():
        if name in entries:
            return manager
    for setting, word, manager in _WORDS:
        if word in settings.get(setting, ""):
            return manager
    return ""
