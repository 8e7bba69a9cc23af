"""The settings of a server that somebody set, as people read them."""

from collections.abc import Mapping

from pgtandem.model.names import NodeName
from pgtandem.model.server import Server
from pgtandem.model.value import dataclass
from pgtandem.postgres.conf import SETTINGS_FILE
from pgtandem.postgres.settings import readable

#: Not what only pgtandem's own session has, and not what the server computes of itself.
_SET = ("configuration file", "command line", "environment variable", "database", "user", "database user", "unknown")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """`where` says who set it; `pending` that the value takes effect at a restart only."""

    name: str
    value: str
    where: str
    pending: bool


def changed_settings(server: Server) -> tuple[ShownSetting, ...]:
    """Those that do not come from the default, in the order of their names; those that wait for a restart first."""
    found = []
    for name, setting in server.settings.items():
        if setting.source not in _SET and not setting.pending_restart:
            continue
        file = setting.source_file or setting.source
        where = "pgtandem" if file.endswith(f"/{SETTINGS_FILE}") else file.rpartition("/")[2]
        value = "not known" if setting.source == "unknown" else readable(server.major, name, setting.value)
        found.append(ShownSetting(name, value, where, setting.pending_restart))
    return tuple(sorted(found, key=lambda each: (not each.pending, each.name)))


#: What decides about replication, durability, the archive and recovery, and what standbys must have as the primary.
_MATTERS = (
    *("wal_level", "fsync", "full_page_writes", "wal_log_hints", "data_checksums", "wal_compression"),
    *("synchronous_commit", "synchronous_standby_names"),
    *("max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size", "wal_keep_size", "wal_keep_segments"),
    *("wal_sender_timeout", "wal_receiver_timeout", "wal_retrieve_retry_interval"),
    *("archive_mode", "archive_command", "archive_library", "archive_timeout"),
    *(
        "primary_conninfo",
        "primary_slot_name",
        "restore_command",
        "recovery_target_timeline",
        "recovery_min_apply_delay",
    ),
    *("hot_standby", "hot_standby_feedback", "max_standby_streaming_delay", "max_standby_archive_delay"),
    *("checkpoint_timeout", "max_wal_size", "shared_buffers", "work_mem"),
    *("max_connections", "max_worker_processes", "max_prepared_transactions", "max_locks_per_transaction"),
    *("listen_addresses", "ssl", "password_encryption"),
)


def settings_that_matter(servers: Mapping[NodeName, Server]) -> dict[str, dict[NodeName, str]]:
    """Of each setting its value on every server, as people read it; "-" where a server does not know it."""
    shown: dict[str, dict[NodeName, str]] = {}
    for name in _MATTERS:
        values = {node: _shown(server, name) for node, server in servers.items()}
        if any(value != "-" for value in values.values()):
            shown[name] = values
    return shown


def _shown(server: Server, name: str) -> str:
    setting = server.settings.get(name)
    if setting is None:
        return "-"
    text = "not known" if setting.source == "unknown" else readable(server.major, name, setting.value)
    return (text or "''") + (" (after a restart only)" if setting.pending_restart else "")
