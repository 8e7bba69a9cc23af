"""The settings of a server that is restored: recovers to a target, and can disturb nobody."""

import json
import shlex
from collections.abc import Mapping

from pgtandem.model.names import NodeName
from pgtandem.model.restore import RestoreOrder, TargetKind
from pgtandem.postgres.settings import canonical, setting_spec
from pgtandem.postgres.versions import STANDBY_FLOOR, has_standby_signal

RESTORE_FILE = "pgtandem/restore.json"

#: What belongs to the cluster: a restored server must not archive, stream, wait for anybody, or use others' files. Each
#: is written down where the version has it, since what people wrote into postgresql.conf was backed up too.
_NEUTRAL = {
    "archive_mode": "off",
    "archive_command": "",
    "archive_library": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "recovery_min_apply_delay": "0",
    "synchronous_standby_names": "",
    "ssl": "off",
    "external_pid_file": "",
    "default_transaction_read_only": "off",
    "hot_standby": "on",
    # A subscription came along with the data: it would take from the publisher what belongs to the cluster.
    "max_logical_replication_workers": "0",
}
#: What only makes sense together with those.
_DROPPED = (
    *("synchronous_commit", "archive_timeout", "promote_trigger_file", "summarize_wal", "restore_command"),
    *("ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file", "ssl_min_protocol_version"),
)
TARGET_SETTINGS = tuple(
    f"recovery_target_{kind}" for kind in ("time", "lsn", "xid", "name", "action", "timeline", "inclusive")
)
#: With more than this, a copy beside the running cluster could take the memory that the cluster needs.
_MOST_BUFFERS = 16384  # of 8 kB

HEADING = """\
Made by pgtandem for a restored copy of the cluster: it archives nothing and streams from nobody."""


def quiet_settings(order: RestoreOrder, major: int, backed_up: Mapping[str, str]) -> dict[str, str]:
    """What the server had when it was backed up, but for what would disturb the cluster."""
    settings = {name: value for name, value in backed_up.items() if name not in (*_DROPPED, *TARGET_SETTINGS)}
    settings |= {name: value for name, value in _NEUTRAL.items() if setting_spec(major, name)}
    settings |= {
        "port": str(order.port),
        "listen_addresses": "localhost" if order.host.is_local is False else order.address,
        "unix_socket_directories": "",
        "cluster_name": f"restored/{order.target.kind.value}",
        "shared_buffers": _buffers(major, backed_up.get("shared_buffers")),
    }
    floor = dict(order.floor)
    for name in STANDBY_FLOOR:
        text = settings.get(name, "0")
        if name in floor and text.isdigit() and int(text) < int(floor[name]):
            settings[name] = floor[name]
    return settings


def _buffers(major: int, text: str | None) -> str:
    spec = setting_spec(major, "shared_buffers")
    if text is None or spec is None:
        return "128MB"
    return text if int(canonical(spec, text)) <= _MOST_BUFFERS else "128MB"


def recovery_settings(order: RestoreOrder) -> dict[str, str]:
    """Where to get WAL and where to stop: settings from 12 on, the content of recovery.conf before."""
    settings = {"restore_command": order.restore_command, "recovery_target_timeline": str(order.timeline)}
    kind = order.target.kind
    if kind is not TargetKind.LATEST:
        settings[f"recovery_target_{kind.value}"] = order.target.text
        settings["recovery_target_action"] = "promote" if order.promote else "pause"
    return settings


def restored_settings(
    order: RestoreOrder, major: int, backed_up: Mapping[str, str], *, recovering: bool
) -> dict[str, str]:
    """The settings file while it recovers, and afterwards. A copy that was brought to the archive's end and is not
    to be promoted has no recovery left to be paused in: it refuses writes instead."""
    settings = quiet_settings(order, major, backed_up)
    if recovering and has_standby_signal(major):
        settings |= recovery_settings(order)
    if order.target.kind is TargetKind.LATEST and not order.promote:
        settings["default_transaction_read_only"] = "on"
    return settings


def changed_by_hand(order: RestoreOrder, major: int) -> frozenset[str]:
    """Settings that ALTER SYSTEM on the cluster must not decide here: postgresql.auto.conf is read last."""
    return frozenset({*quiet_settings(order, major, {}), *_NEUTRAL, *_DROPPED, *TARGET_SETTINGS, "recovery_target"})


def recorded(text: str | None) -> Mapping[str, object] | None:
    """What `render_order` wrote; None for anything else."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("made_by") == "pgtandem" else None


def same_target(text: str | None, order: RestoreOrder) -> bool:
    """Whether data was restored to the same target, from whichever backup."""
    value = recorded(text)
    wanted = (order.target.kind.value, order.target.text, order.drill)
    return value is not None and (value.get("target"), value.get("value"), value.get("drill")) == wanted


def same_restore(text: str | None, order: RestoreOrder) -> bool:
    """Whether data was restored to the same target from the same backup, and has what it has outside its folder where
    the order says; whether it was to take a node's place may be decided later where it has nothing there."""
    if recorded(text) is None or _but_for_the_node(text) != _but_for_the_node(render_order(order)):
        return False
    return not order.places or has_its_places(text, order)


def has_its_places(text: str | None, order: RestoreOrder) -> bool:
    """Whether it was restored for the same node's place, or beside the cluster as the order says: tablespaces and WAL
    of a node's successor lie on the disks of that node."""
    return (recorded(text) or {}).get("node") == (order.like if order.replaces else None)


def _but_for_the_node(text: str | None) -> dict[str, object]:
    return {key: value for key, value in (recorded(text) or {}).items() if key != "node"}


def in_place_of(text: str | None, name: NodeName) -> bool:
    """Whether data was restored to take this node's place. A copy of that node brings the note along, and means
    nothing."""
    return (recorded(text) or {}).get("node") == name


def as_asked_for(text: str | None) -> str:
    """The command that restored it, "" for a note that does not say so."""
    value = recorded(text) or {}
    kind, word = value.get("target"), str(value.get("value", ""))
    if kind not in [each.value for each in TargetKind] or value.get("drill") is not None:
        return ""
    target = f"{kind}:{word}" if kind in (TargetKind.XID.value, TargetKind.NAME.value) else word
    into = f" --node {value['node']}" if value.get("node") else ""
    return f"pgtandem restore --to {shlex.quote(target)}{into}"


def is_drills(text: str | None) -> bool:
    """Whether what stands beside the data says that it was restored for trial."""
    try:
        return json.loads(text or "null")["drill"] is not None
    except (ValueError, KeyError, TypeError):
        return False


def render_order(order: RestoreOrder) -> str:
    """What stands beside the data: which restore it is. Whether it is promoted may be decided later."""
    value = {
        "made_by": "pgtandem",
        "system_identifier": order.backup.system_identifier,
        "backups": [backup.label for backup in order.chain],
        "target": order.target.kind.value,
        "value": order.target.text,
        "timeline": order.timeline,
        "drill": order.drill,
        **({"node": order.like} if order.replaces else {}),
    }
    return json.dumps(value, indent=2) + "\n"
