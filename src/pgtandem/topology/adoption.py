"""The table [adopt]: the leave to take over a cluster that pgtandem did not build."""

from pgtandem.model.names import REPLICATION_ROLE, SLOT_PREFIX, SUPERUSER
from pgtandem.model.topology import Adoption
from pgtandem.topology.table import Table
from pgtandem.topology.toml import describe


def read_adoption(table: Table) -> Adoption:
    """Which cluster, and what of it pgtandem's own role and slots replace."""
    system = table.text("system_identifier") or ""
    if system and not (system.isascii() and system.isdigit()):
        table.report(
            "system_identifier",
            f"{describe(system)} is not a system identifier",
            "It is a whole number: what pg_controldata calls the database system identifier.",
            "pgtandem adopt   (writes this table)",
        )
    roles, slots = table.lines("replaces_roles"), table.lines("replaces_slots")
    for role in roles:
        if role in (SUPERUSER, REPLICATION_ROLE):
            table.report("replaces_roles", f"{describe(role)} is needed: pgtandem itself connects as it")
    for slot in slots:
        if slot.startswith(SLOT_PREFIX):
            table.report("replaces_slots", f"{describe(slot)} is a name of pgtandem's own slots")
    return Adoption(system, roles, slots)
