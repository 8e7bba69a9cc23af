"""The settings that pgtandem itself decides, each with what to write in the topology file instead."""

from collections.abc import Mapping
from types import MappingProxyType

_RECOVERY = "it is decided by a restore, never kept in the configuration"

OWNED: Mapping[str, str] = MappingProxyType(
    {
        "archive_cleanup_command": "the WAL archive is pruned by backup retention",
        "archive_command": "say where the archive is under [archive]",
        "archive_library": "say where the archive is under [archive]",
        "archive_mode": "it follows from [archive]",
        "cluster_name": "it follows from the names of the cluster and the node",
        "config_file": "the configuration lives in the data directory",
        "data_directory": "say it as nodes.NAME.data_directory",
        "hba_file": "the configuration lives in the data directory",
        "hot_standby": "it is always on",
        "ident_file": "the configuration lives in the data directory",
        "port": "say it as nodes.NAME.port",
        "primary_conninfo": "it follows from nodes.NAME.upstream",
        "primary_slot_name": "it follows from the node's name",
        "promote_trigger_file": "roles are changed by pgtandem",
        "recovery_end_command": _RECOVERY,
        "recovery_min_apply_delay": "say it as nodes.NAME.apply_delay",
        "recovery_target": _RECOVERY,
        "recovery_target_action": _RECOVERY,
        "recovery_target_inclusive": _RECOVERY,
        "recovery_target_lsn": _RECOVERY,
        "recovery_target_name": _RECOVERY,
        "recovery_target_time": _RECOVERY,
        "recovery_target_timeline": "standbys always follow the latest timeline",
        "recovery_target_xid": _RECOVERY,
        "restore_command": "it follows from [archive]",
        "standby_mode": "it follows from the node's role",
        "synchronous_commit": 'say it as replication.durability, for example durability = "on"',
        "synchronous_standby_names": 'say it as replication.synchronous, for example synchronous = "any 1"',
        "trigger_file": "roles are changed by pgtandem",
    }
)
