"""doctor on servers that are named by their DSNs: SQL only, no topology file, no host."""

import os
from collections.abc import Sequence

from pgtandem.cli.dsn import Dsn, parse_dsn
from pgtandem.cli.workbench import result_of
from pgtandem.doctor.look import Look
from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName, Secret
from pgtandem.model.topology import LOCAL, HostAddress
from pgtandem.observe.by_sql import SqlServer, look_by_sql
from pgtandem.ports import Access, Encryption


def look_at_dsns(texts: Sequence[str]) -> Look:
    """Raises PgtandemError PT-1006 for a DSN that cannot be read or is given twice, PT-2004 where no server answers."""
    dsns = [parse_dsn(text) for text in texts]
    names = [dsn.name for dsn in dsns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PgtandemError("PT-1006", f"{twice} is given twice", next_step="one --dsn per server")

    async def work() -> Look:
        from pgtandem.adapters.clock import SystemClock
        from pgtandem.adapters.database import PsycopgDatabase

        servers = [SqlServer(_access(dsn), _host(dsn)) for dsn in dsns]
        seen = await look_by_sql(PsycopgDatabase(), SystemClock(), ", ".join(names), servers)
        return Look(seen.topology, seen.observed, seen.examined, sql_only=True)

    return result_of(work())


def _host(dsn: Dsn) -> HostAddress:
    return LOCAL if dsn.local else HostAddress(f"ssh://{dsn.url_host}")


def _access(dsn: Dsn) -> Access:
    variable = os.environ.get("PGPASSWORD")
    return Access(
        NodeName(dsn.name),
        dsn.host or "localhost",
        dsn.port,
        dsn.user,
        dsn.password or (Secret(variable) if variable else None),
        Encryption.REQUIRED if dsn.encrypted else Encryption.ANY,
        root_certificate=dsn.root_certificate,
    )
