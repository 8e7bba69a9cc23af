"""A simulated PgBouncer, and the port Console over it.

It has the databases of the file that it includes, as that was when it last read it; it leads no client anywhere.
"""

import asyncio
import re
from dataclasses import dataclass, field, replace

from pgtandem.model.names import PgbouncerName, Secret
from pgtandem.model.pooling import PgbouncerConsole, PooledDatabase
from pgtandem.ports.database import DatabaseRefused, DatabaseUnreachable
from pgtandem.ports.pgbouncer import ConsoleAccess
from pgtandem.testing.network import SimMachine
from pgtandem.testing.probe import Probe, port_call

_LINE = re.compile(r'(?P<name>"[^"]+"|\w+) = host=(?P<host>\S+) port=(?P<port>\d+) dbname=(?P<dbname>\S+)')
_POLL_SECONDS = 0.05


@dataclass
class SimPgbouncer:
    """`included` is the path of the file that pgtandem writes. `busy` are databases on which a transaction runs on and
    on; one that does not run answers nobody."""

    machine: SimMachine
    address: str
    port: int
    included: str
    user: str = "pgtandem"
    password: Secret | None = None
    pool_mode: str = "transaction"
    running: bool = True
    busy: set[str] = field(default_factory=set)
    databases: dict[str, PooledDatabase] = field(default_factory=dict)

    def read_files(self) -> None:
        """At its start and at RELOAD; what is paused stays so."""
        content = self.machine.files.read(self.included) or b""
        found = {}
        for match in _LINE.finditer(content.decode()):
            name = match["name"].strip('"')
            before = self.databases.get(name)
            found[name] = PooledDatabase(
                name, match["host"], int(match["port"]), match["dbname"], before.paused if before else False
            )
        self.databases = found

    def restart(self) -> None:
        """What was paused is not any more."""
        self.databases = {}
        self.running = True
        self.read_files()


class SimConsole:
    """One connection to the console."""

    def __init__(self, name: PgbouncerName, pgbouncer: SimPgbouncer, probe: Probe) -> None:
        self.node = f"PgBouncer {name}"
        self.pgbouncer = pgbouncer
        self.probe = probe
        self.title = f"console {name}"
        self._open = True

    @port_call(changes=False)
    async def show(self) -> PgbouncerConsole:
        self._reach()
        return PgbouncerConsole("1.18.0", self.pgbouncer.pool_mode, dict(self.pgbouncer.databases))

    @port_call(changes=True)
    async def pause(self, database: str) -> None:
        self._set(database, "pause", paused=True)
        try:
            while database in self.pgbouncer.busy:
                await asyncio.sleep(_POLL_SECONDS)
                self._reach()
        except asyncio.CancelledError:
            self._open = False
            raise

    @port_call(changes=True)
    async def resume(self, database: str) -> None:
        self._set(database, "resume", paused=False)

    @port_call(changes=True)
    async def reload(self) -> None:
        self._reach()
        self.pgbouncer.read_files()

    @port_call(changes=True)
    async def connect_at_once(self) -> None:
        self._reach()

    async def close(self) -> None:
        self._open = False

    def _set(self, database: str, verb: str, *, paused: bool) -> None:
        self._reach()
        databases = self.pgbouncer.databases
        if database not in databases:
            raise DatabaseRefused(self.node, f"{verb} {database}", f"No such database: {database}.")
        databases[database] = replace(databases[database], paused=paused)

    def _reach(self) -> None:
        if not self._open or not self.pgbouncer.running:
            self._open = False
            raise DatabaseUnreachable(self.node, "Server closed the connection unexpectedly.")


def open_console(pgbouncers: list[SimPgbouncer], access: ConsoleAccess, probe: Probe) -> SimConsole:
    """Raises DatabaseUnreachable."""
    title = f"PgBouncer {access.name}"
    for pgbouncer in pgbouncers:
        if (pgbouncer.address, pgbouncer.port) == (access.address, access.port) and pgbouncer.running:
            if (access.user, access.password) != (pgbouncer.user, pgbouncer.password):
                raise DatabaseUnreachable(title, "FATAL: password authentication failed.")
            return SimConsole(access.name, pgbouncer, probe)
    raise DatabaseUnreachable(title, "Connection refused.")
