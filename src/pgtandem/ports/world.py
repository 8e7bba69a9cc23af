"""All ports in one value, and the sessions that stay open while a command runs."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pgtandem.model.names import SUPERUSER, NodeName, PgbouncerName
from pgtandem.model.topology import HostAddress, Node, Pgbouncer
from pgtandem.ports.certificates import Certificates
from pgtandem.ports.clock import Clock
from pgtandem.ports.database import Access, Database, DatabaseUnreachable, Encryption, Session
from pgtandem.ports.host import Host
from pgtandem.ports.pgbouncer import Console, ConsoleAccess
from pgtandem.ports.workspace import Workspace

#: The names of the secrets in the workspace.
SUPERUSER_SECRET = "superuser_password"
REPLICATION_SECRET = "replication_password"
AUTHORITY_SECRET = "certificate_authority"


def next_of(name: str) -> str:
    """The password that a role is about to get."""
    return f"next_{name}"


def former_of(name: str) -> str:
    """The password that a role had until it got the one in force: not every node may know that yet."""
    return f"former_{name}"


@dataclass
class World:
    """Everything outside, for one command. `close` gives it all back."""

    hosts: Mapping[str, Host]
    database: Database
    workspace: Workspace
    clock: Clock
    certificates: Certificates
    #: Held while the role that pg_rewind uses is there: there is one, with one password at a time.
    rewind_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sessions: dict[tuple[NodeName, str, str, int], Session] = field(default_factory=dict)
    _consoles: dict[PgbouncerName, Console] = field(default_factory=dict)

    def host(self, address: HostAddress) -> Host:
        """Raises KeyError for a host that the topology does not name: a defect."""
        return self.hosts[address.url]

    async def session(self, node: Node, port: int, encryption: Encryption = Encryption.ANY) -> Session:
        """The open session of a node's server, which listens on `port` now, or a new one.

        Raises DatabaseUnreachable, HostUnreachable and HostFailure.
        """
        # The node is part of the key: two that swap their ports must never get each other's session.
        key = _key(node, port)
        if key not in self._sessions:
            self._sessions[key] = await self.own_session(node, port, encryption)
        return self._sessions[key]

    async def own_session(
        self, node: Node, port: int, encryption: Encryption = Encryption.ANY, database: str = "postgres"
    ) -> Session:
        """A new session that nobody else uses; the caller closes it. Raises the same."""
        root = self.workspace.root_certificate() if encryption is not Encryption.ANY else None
        address, way = await self.host(node.host).forward(node.address, port)
        access = Access(
            *(node.name, address, way, SUPERUSER, self.workspace.secret(SUPERUSER_SECRET)),
            encryption=encryption,
            name=node.address,
            root_certificate=root[0] if root else None,
            database=database,
        )
        return await self._connect(access)

    async def session_by_socket(self, node: Node, port: int, directory: str) -> Session:
        """The same through the server's Unix socket in `directory`, where it may trust the account without a password.

        Raises as `session` does.
        """
        key = _key(node, port)
        if key not in self._sessions:
            folder = await self.host(node.host).socket(directory, port)
            password = self.workspace.secret(SUPERUSER_SECRET)
            self._sessions[key] = await self._connect(Access(node.name, folder, port, SUPERUSER, password))
        return self._sessions[key]

    async def _connect(self, access: Access) -> Session:
        """While the password is changed, a node may know the next or the former one."""
        try:
            return await self.database.connect(access)
        except DatabaseUnreachable:
            for name in (next_of(SUPERUSER_SECRET), former_of(SUPERUSER_SECRET)):
                password = self.workspace.secret(name)
                if password is not None:
                    with suppress(DatabaseUnreachable):
                        return await self.database.connect(replace(access, password=password))
            raise

    def has_session(self, node: Node, port: int) -> bool:
        """Whether a session of this node's server is open."""
        return _key(node, port) in self._sessions

    async def drop_session(self, node: Node, port: int) -> None:
        """Closes a session that broke, or whose server is about to stop."""
        session = self._sessions.pop(_key(node, port), None)
        if session is not None:
            await session.close()

    async def console(self, pgbouncer: Pgbouncer) -> Console:
        """The open connection to a PgBouncer's admin console, or a new one.

        Raises DatabaseUnreachable, HostUnreachable, HostFailure, and PgtandemError PT-1002 where the file with the
        password cannot be used.
        """
        name = pgbouncer.name
        if name not in self._consoles:
            given = pgbouncer.admin_password_file
            password = self.workspace.given_secret(given) if given else None
            address, way = await self.host(pgbouncer.host).forward(pgbouncer.address, pgbouncer.port)
            access = ConsoleAccess(name, address, way, pgbouncer.admin_user, password)
            self._consoles[name] = await self.database.console(access)
        return self._consoles[name]

    async def drop_console(self, pgbouncer: Pgbouncer) -> None:
        """Closes a connection that broke."""
        console = self._consoles.pop(pgbouncer.name, None)
        if console is not None:
            await console.close()

    async def close(self) -> None:
        sessions: list[Session | Console] = [*self._sessions.values(), *self._consoles.values()]
        self._sessions.clear()
        self._consoles.clear()
        await asyncio.gather(*(session.close() for session in sessions))
        await asyncio.gather(*(host.close() for host in self.hosts.values()))


def _key(node: Node, port: int) -> tuple[NodeName, str, str, int]:
    return node.name, node.host.url, node.address, port
