"""Names and secrets as distinct types, so that one is never taken for the other."""

import hmac
from typing import NewType

NodeName = NewType("NodeName", str)
SlotName = NewType("SlotName", str)
PgbouncerName = NewType("PgbouncerName", str)

#: Every slot that pgtandem makes begins with this; a slot without it is never touched.
SLOT_PREFIX = "pgtandem_"

#: What the receiver of the archive's stream is called: its slot on the primary, and its application_name there.
STREAM_NAME = "pgtandem_archive"

#: The role that standbys stream as.
REPLICATION_ROLE = "pgtandem_replication"

#: The role that pg_rewind reads another node as; there is one only while that goes on.
REWIND_ROLE = "pgtandem_rewind"

#: The superuser that initdb makes.
SUPERUSER = "postgres"


def slot_name(node: NodeName) -> SlotName:
    """The replication slot of a standby: lower-case letters, digits and underscores only (manual, 26.2.6)."""
    return SlotName(SLOT_PREFIX + node.replace("-", "_"))


class Secret:
    """A text that is never shown: its `str` and `repr` are stars. `reveal` gives the text to who must send it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._text))
