"""Which facts of a node a condition is judged by: a step's conditions are looked at, and nothing else.

A full look at a node runs a program, reads a dozen files and asks its server everything, and a plan has two looks per
step. What was not looked at is Unknown, which no condition takes for true: a part that is missing in this table makes
a step fail, and never lets one pass.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition
from pgtandem.plan.conditions import BACKUPS, COMPARING, POOLING, STREAMING


class Part(Enum):
    """A part of a node's facts that costs something. The server process is always looked for."""

    DATA = "data directory, with its control file"
    SERVER = "what the server says over SQL"
    PORT = "who has the node's port"
    TLS = "certificates, in files and as the server shows them"
    SURROUNDINGS = "disk space and leftovers, and what the system knows of the server"


Parts = frozenset[Part]

EVERYTHING: Parts = frozenset(Part)
SERVER: Parts = frozenset({Part.SERVER})
_DATA: Parts = frozenset({Part.DATA})
_NOTHING: Parts = frozenset()

#: By the kind of a condition; one that is not here gets everything.
_READ: Mapping[str, Parts] = {
    "data_absent": _DATA,
    "data_is_ours": _DATA,
    "control_at_most": _DATA,
    "adoptable": _DATA,
    "records_replaced": _DATA,
    "scram_password": SERVER,
    "role_disabled": SERVER,
    "stopped": _NOTHING,
    "archive_ready": _NOTHING,
    "wal_way_open": _NOTHING,
    "port_free": frozenset({Part.PORT}),
    "nothing_replaced": frozenset({Part.SURROUNDINGS}),
    "answers": SERVER,
    "is_primary": SERVER,
    "is_standby": SERVER,
    "setting_is": SERVER,
    "follows_only": SERVER,
    "archive_streams": SERVER,
    COMPARING: SERVER,
    "role_ready": SERVER,
    "superuser_ready": SERVER,
    "runs_version": SERVER,
    "role_gone": SERVER,
    "slot_usable": SERVER,
    "slot_gone": SERVER,
    "registered": frozenset({Part.SURROUNDINGS}),
    "not_registered": frozenset({Part.SURROUNDINGS}),
    "nothing_pending": SERVER,
    "serves_certificate": frozenset({Part.TLS}),
    **dict.fromkeys(BACKUPS, _NOTHING),
}


def parts_read_by(conditions: Sequence[Condition]) -> dict[NodeName, Parts]:
    """The nodes that conditions are about, each with the parts that they read of it."""
    parts: dict[NodeName, Parts] = {}
    for condition in conditions:
        if condition.kind in POOLING:
            continue
        streams = condition.kind in STREAMING
        if condition.kind == COMPARING:
            other = NodeName(condition.argument)
            parts[other] = parts.get(other, _NOTHING) | SERVER
        if condition.kind == "streams_or_delays":
            parts[condition.node] = parts.get(condition.node, _NOTHING) | SERVER
        node = NodeName(condition.argument) if streams else condition.node
        parts[node] = parts.get(node, _NOTHING) | (SERVER if streams else _READ.get(condition.kind, EVERYTHING))
    return parts
