"""The second look at a real server: each fact that only doctor asks for, as the server tells it."""

import asyncio
from collections.abc import Iterator

import pytest

from pgtandem.adapters.session import PsycopgSession
from pgtandem.model.examined import Examination, RoleSetting
from support.servers import RealServer

pytest_plugins = ["support.one_server"]
pytestmark = pytest.mark.real


@pytest.fixture
def spoilt(server: RealServer) -> Iterator[RealServer]:
    """With a role, a table and slots that doctor would speak of."""
    server.sql("CREATE ROLE weak LOGIN PASSWORD 'md5" + "0" * 32 + "' VALID UNTIL '2000-01-01'")
    server.sql("ALTER ROLE weak REPLICATION CONNECTION LIMIT 3")
    server.sql("ALTER ROLE weak SET statement_timeout = '7s'")
    server.sql("ALTER DATABASE postgres SET synchronous_commit = 'local'")
    server.sql("CREATE UNLOGGED TABLE fleeting (i int)")
    server.sql("SELECT pg_create_logical_replication_slot('decoded', 'pgoutput')")
    server.sql("ALTER SYSTEM SET work_mem = '5MB'")
    server.sql("SELECT pg_reload_conf()")
    try:
        yield server
    finally:
        server.sql("ALTER SYSTEM RESET work_mem")
        server.sql("SELECT pg_drop_replication_slot('decoded')")
        server.sql("DROP TABLE fleeting")
        server.sql("ALTER DATABASE postgres RESET ALL")
        server.sql("DROP ROLE weak")


def test_what_is_spoilt_is_seen(runner: asyncio.Runner, spoilt: RealServer, session: PsycopgSession) -> None:
    async def loaded() -> Examination:
        async with asyncio.timeout(30):
            while True:
                examination = await session.examine()
                if "work_mem" in examination.lines:
                    return examination
                await asyncio.sleep(0.01)

    seen = runner.run(loaded())
    file, line = seen.lines["work_mem"]
    assert file.endswith("/postgresql.auto.conf")
    assert line > 0
    weak = seen.roles["weak"]
    assert (weak.superuser, weak.replication, weak.connection_limit, weak.password_kind) == (False, True, 3, "md5")
    assert weak.expires_in_seconds is not None
    assert weak.expires_in_seconds < 0
    assert seen.roles["postgres"].superuser
    assert RoleSetting("weak", "", "statement_timeout", "7s") in seen.role_settings
    assert RoleSetting("", "postgres", "synchronous_commit", "local") in seen.role_settings
    assert seen.databases["postgres"].unlogged_files == 1
    assert seen.databases["template1"].unlogged_files == 0
    assert seen.slots["decoded"].catalog_xmin_age is not None
    assert seen.slots["decoded"].failover in (None, False)
    assert "plpgsql" in seen.extensions
    if spoilt.installation.major >= 11:
        assert "plpgsql" in seen.available_extensions
    assert seen.checkpoint_timeline == 1


def test_a_healthy_server_has_nothing_to_tell(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    seen = runner.run(session.examine())
    assert seen.file_errors == ()
    assert seen.prepared == ()
    assert seen.waiting_commits == 0
    assert seen.feedback_age is None
    assert not seen.exclusive_backup
    assert all(database.collation_recorded == database.collation_actual for database in seen.databases.values())
    assert not any(database.checksum_failures for database in seen.databases.values())


def test_a_wrong_line_is_named(runner: asyncio.Runner, server: RealServer, session: PsycopgSession) -> None:
    path = server.data / "postgresql.conf"
    before = path.read_text()
    path.write_text(before + "no_such_setting = 1\n")
    try:
        (wrong,) = runner.run(session.examine()).file_errors
    finally:
        path.write_text(before)
    assert wrong.file == str(path)
    assert wrong.line == before.count("\n") + 1
    assert "unrecognized" in wrong.error
