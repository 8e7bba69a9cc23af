"""A real server per installation for the tests of sessions, which they hurt, restart and misconfigure.

A plugin of pytest: `pytest_plugins = ["support.one_server"]` in a test module.
"""

import asyncio
from collections.abc import Iterator

import pytest

from pgtandem.adapters.session import PsycopgSession
from pgtandem.ports.database import Access
from support.installations import Installation, installations
from support.servers import RealServer
from support.sessions import access_to, opened


@pytest.fixture(scope="session", params=installations(), ids=lambda installation: installation.name)
def only_server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    installation: Installation = request.param
    # Small segments are quick to fill; 10 has no choice.
    options = ["--wal-segsize=1"] if installation.major >= 11 else []
    settings: dict[str, object] = {"wal_level": "logical", "archive_mode": "on", "archive_command": "false"}
    # PostgreSQL 18's WAL writer panics ("xlog write request ... is past end of log") where it comes by just after a
    # switch that ends a segment to the last byte, which these tests do on purpose: it sleeps.
    settings["wal_writer_delay"] = "10s"
    with RealServer(installation) as server:
        yield server.initdb(*options, settings=settings)


@pytest.fixture
def server(only_server: RealServer) -> RealServer:
    """Running, whatever the test before did to it."""
    if not only_server.alive:
        only_server.start()
    return only_server


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def access(server: RealServer) -> Access:
    return access_to(server, "db1")


@pytest.fixture
def session(runner: asyncio.Runner, access: Access) -> Iterator[PsycopgSession]:
    yield from opened(runner, access)
