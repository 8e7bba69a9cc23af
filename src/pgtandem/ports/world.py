"""All ports in one value, and the sessions that stay open while a command runs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from pgtandem.model.names import SUPERUSER, NodeName
from pgtandem.model.topology import HostAddress
from pgtandem.ports.clock import Clock
from pgtandem.ports.database import Access, Database, Session
from pgtandem.ports.host import Host
from pgtandem.ports.workspace import Workspace

#: The names of the secrets in the workspace.
SUPERUSER_SECRET = "superuser_password"
REPLICATION_SECRET = "replication_password"


@dataclass
class World:
    """Everything outside, for one command. `close` gives it all back."""

    hosts: Mapping[str, Host]
    database: Database
    workspace: Workspace
    clock: Clock
    _sessions: dict[tuple[NodeName, str, int], Session] = field(default_factory=dict)

    def host(self, address: HostAddress) -> Host:
        """Raises KeyError for a host that the topology does not name: a defect."""
        return self.hosts[address.url]

    async def session(self, node: NodeName, address: str, port: int) -> Session:
        """The open session of a server, or a new one. Raises DatabaseUnreachable."""
        # The node is part of the key: two that swap their ports must never get each other's session.
        key = (node, address, port)
        if key not in self._sessions:
            password = self.workspace.secret(SUPERUSER_SECRET)
            access = Access(node, address, port, SUPERUSER, password)
            self._sessions[key] = await self.database.connect(access)
        return self._sessions[key]

    async def drop_session(self, node: NodeName, address: str, port: int) -> None:
        """Closes a session that broke, or whose server is about to stop."""
        session = self._sessions.pop((node, address, port), None)
        if session is not None:
            await session.close()

    async def close(self) -> None:
        for node, address, port in list(self._sessions):
            await self.drop_session(node, address, port)
        await asyncio.gather(*(host.close() for host in self.hosts.values()))
