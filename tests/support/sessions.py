"""Sessions of the real adapter on the tests' real servers."""

import asyncio
from collections.abc import Iterator

from pgtandem.adapters.database import PsycopgDatabase
from pgtandem.adapters.session import PsycopgSession
from pgtandem.model.names import NodeName, Secret
from pgtandem.ports.database import Access
from support.servers import PASSWORD, SUPERUSER, RealServer


def access_to(server: RealServer, node: str) -> Access:
    return Access(NodeName(node), "127.0.0.1", server.port, SUPERUSER, Secret(PASSWORD))


def opened(runner: asyncio.Runner, access: Access) -> Iterator[PsycopgSession]:
    """A session as long as a fixture lives."""
    session = runner.run(PsycopgDatabase().connect(access))
    yield session
    runner.run(session.close())
