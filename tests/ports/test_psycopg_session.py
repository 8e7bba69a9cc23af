"""Sessions on a real server that is killed, frozen and misconfigured; roles and settings."""

import asyncio
import time
from dataclasses import replace

import psycopg
import pytest

from pgtandem.adapters.database import PsycopgDatabase
from pgtandem.adapters.session import PsycopgSession
from pgtandem.model.names import REPLICATION_ROLE, REWIND_ROLE, Secret
from pgtandem.ports.database import Access, DatabaseRefused, DatabaseUnreachable
from pgtandem.postgres import scram
from support.servers import RealServer, wait_until

pytest_plugins = ["support.one_server"]
pytestmark = pytest.mark.real

VERIFIER = scram.verifier("right", b"0123456789abcdef")


# --- somebody's queries


_QUERIES = {
    "SELECT count(*) FROM orders": "",
    "SELECT count(*) FROM nowhere;": 'Relation "nowhere" does not exist.',
    "SELECT nothing FROM orders": 'Column "nothing" does not exist.',
    "SELEC 1": 'Syntax error at or near "SELEC".',
    "SELECT (1": "Syntax error at end of input.",
    "SELECT 'x'::int": "Invalid input syntax for ",
    "SELECT never_defined(1)": "Function never_defined(integer) does not exist.",
    # What cannot be told so is no mistake.
    "SELECT 1; SELECT count(*) FROM nowhere": None,
    "SELECT 1/0 FROM orders": "",
    "": "",
    # Read, and not carried out.
    "DROP TABLE orders": "",
}


def test_a_query_is_read_in_its_database_and_not_carried_out(
    runner: asyncio.Runner, server: RealServer, access: Access, session: PsycopgSession
) -> None:
    server.sql("CREATE DATABASE shop")
    server.sql("ALTER DATABASE shop SET search_path = sales")
    try:
        assert runner.run(session.has_database("shop"))
        asked = runner.run(PsycopgDatabase().connect(replace(access, database="shop")))
        with server.connect(dbname="shop") as connection:
            connection.execute("CREATE SCHEMA sales")
            connection.execute("CREATE TABLE sales.orders (id int)")
            connection.execute("CREATE TABLE sales.locked (id int)")
        for query, wrong in _QUERIES.items():
            said = runner.run(asked.check_query(query))
            assert said == wrong or (wrong and said and said.startswith(wrong)), query
        with server.connect(dbname="shop", autocommit=False) as connection:
            connection.execute("LOCK TABLE sales.locked")
            assert runner.run(asked.check_query("SELECT * FROM locked")) is None, "who has locked it is not to blame"
        assert runner.run(asked.check_query("SELECT * FROM orders")) == ""
        runner.run(asked.close())
    finally:
        server.sql("DROP DATABASE shop")


# --- sessions that break


def test_killed_server_is_unreachable_for_good(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    server.kill()
    for _ in range(2):
        with pytest.raises(DatabaseUnreachable, match="node db1"):
            runner.run(session.observe(None))


def test_restarted_server_needs_a_new_session(
    runner: asyncio.Runner, server: RealServer, access: Access, session: PsycopgSession
) -> None:
    server.restart(immediate=True)
    with pytest.raises(DatabaseUnreachable) as error:
        runner.run(session.write_proof("x"))
    assert error.value.why.endswith(".")
    again = runner.run(PsycopgDatabase().connect(access))
    assert not runner.run(again.observe(None)).in_recovery
    runner.run(again.close())


def test_session_that_the_server_ended_is_unreachable(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgtandem'")
    with pytest.raises(DatabaseUnreachable):
        runner.run(session.read_proof())


def test_frozen_server_does_not_hang_a_call(runner: asyncio.Runner, server: RealServer, access: Access) -> None:
    session = runner.run(PsycopgDatabase(call_deadline_seconds=0.3).connect(access))
    server.freeze()
    try:
        begun = time.monotonic()
        with pytest.raises(DatabaseUnreachable) as error:
            runner.run(session.observe(None))
        assert error.value.why == "It did not answer within 0.3 seconds."
        with pytest.raises(DatabaseUnreachable) as error:
            runner.run(PsycopgDatabase().connect(access, deadline_seconds=0.3))
        assert error.value.why == "It did not answer within 0.3 seconds."
        assert time.monotonic() - begun < 5
    finally:
        server.thaw()
    runner.run(session.close())


def test_cancelled_caller_does_not_wait_for_a_frozen_server(
    runner: asyncio.Runner, server: RealServer, access: Access
) -> None:
    session = runner.run(PsycopgDatabase().connect(access))

    async def impatient() -> None:
        async with asyncio.timeout(0.1):
            await session.observe(None)

    server.freeze()
    try:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            runner.run(impatient())
        assert time.monotonic() - begun < 15, "a call has 35 seconds"
    finally:
        server.thaw()
    runner.run(session.close())


def test_session_goes_on_after_a_refusal(runner: asyncio.Runner, server: RealServer, session: PsycopgSession) -> None:
    server.sql("DROP SCHEMA IF EXISTS pgtandem CASCADE")
    server.sql("CREATE SCHEMA pgtandem")
    server.sql("CREATE TABLE pgtandem.proof (something int)")
    try:
        with pytest.raises(DatabaseRefused) as error:
            runner.run(session.observe(None))
        assert error.value.what == "node db1 refused to be observed"
        assert error.value.why == 'Column "token" does not exist.'
    finally:
        server.sql("DROP SCHEMA pgtandem CASCADE")
    assert runner.run(session.observe(None)).proof_token is None


# --- settings


def test_settings_are_those_of_the_server_and_not_of_the_session(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    server.sql("ALTER SYSTEM SET statement_timeout = '17s'")
    server.sql("ALTER SYSTEM SET synchronous_commit = 'remote_write'")
    try:
        runner.run(session.reload())
        settings = runner.run(session.observe(None)).settings
        assert (settings["statement_timeout"].value, settings["lock_timeout"].value) == ("17000", "0")
        wanted = settings["synchronous_commit"]
        assert (wanted.value, wanted.source) == ("remote_write", "configuration file")
        assert (wanted.source_file or "").endswith("postgresql.auto.conf")
    finally:
        runner.run(session.reset_setting("statement_timeout"))
        runner.run(session.reset_setting("synchronous_commit"))
        runner.run(session.reload())
    settings = runner.run(session.observe(None)).settings
    assert settings["statement_timeout"].value == "0"
    assert settings["synchronous_commit"].source == "default"


def test_setting_of_an_extension_is_reset(runner: asyncio.Runner, server: RealServer, session: PsycopgSession) -> None:
    with server.connect() as connection:
        connection.execute("DO 'BEGIN END'")  # loads plpgsql
        connection.execute("ALTER SYSTEM SET plpgsql.variable_conflict = 'error'")
    runner.run(session.reset_setting("plpgsql.variable_conflict"))
    assert "plpgsql" not in (server.data / "postgresql.auto.conf").read_text()


def test_a_servers_own_ways_to_write_values_do_not_matter(
    runner: asyncio.Runner, server: RealServer, access: Access
) -> None:
    ways = {"datestyle": "German", "intervalstyle": "iso_8601", "standard_conforming_strings": "off"}
    with server.connect() as connection:
        for name, value in ways.items():
            connection.execute(f"ALTER ROLE postgres SET {name} = '{value}'".encode())
    try:
        session = runner.run(PsycopgDatabase().connect(access))
        runner.run(session.reload())
        runner.run(session.write_proof("it's \\ here"))
        assert runner.run(session.observe(None)).proof_token == "it's \\ here"
        runner.run(session.finish_segment())
        runner.run(session.close())
    finally:
        server.sql("ALTER ROLE postgres RESET ALL")


def test_setting_that_needs_a_restart_is_seen_after_a_reload(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    server.sql("ALTER SYSTEM SET max_connections = 57")
    try:
        runner.run(session.reload())
        setting = runner.run(session.observe(None)).settings["max_connections"]
        assert setting.pending_restart
        assert setting.value != "57"
    finally:
        runner.run(session.reset_setting("max_connections"))


def test_settings_of_the_superuser_do_not_stop_a_change(
    runner: asyncio.Runner, server: RealServer, access: Access
) -> None:
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("ALTER ROLE postgres SET synchronous_commit = on")
        connection.execute("ALTER ROLE postgres SET default_transaction_read_only = on")
    session = runner.run(PsycopgDatabase(call_deadline_seconds=10).connect(access))
    try:
        runner.run(session.reload())
        runner.run(session.write_proof("nobody confirms it"))
        assert runner.run(session.read_proof()) == "nobody confirms it"
        runner.run(session.put_replication_role(REPLICATION_ROLE, VERIFIER))
    finally:
        runner.run(session.reset_setting("synchronous_standby_names"))
        runner.run(session.reload())
        runner.run(session.close())
        with server.connect(options="-c default_transaction_read_only=off") as connection:
            connection.execute("ALTER ROLE postgres RESET ALL")


def test_hba_lines_are_read_with_their_mistakes(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    file = server.data / "pg_hba.conf"
    before = file.read_bytes()
    server.append_hba("host shop,replication  someone  10.0.0.0  255.255.254.0  scram-sha-256")
    server.append_hba("host all all samenet nonsense")
    try:
        good, bad = runner.run(session.observe(None)).hba[-2:]
    finally:
        file.write_bytes(before)
    assert (good.kind, good.databases, good.users) == ("host", ("shop", "replication"), ("someone",))
    assert (good.address, good.method, good.error) == ("10.0.0.0/23", "scram-sha-256", None)
    assert bad.line == good.line + 1
    assert bad.error == 'invalid authentication method "nonsense"'


# --- the role


def test_role_that_was_spoilt_is_corrected(runner: asyncio.Runner, server: RealServer, session: PsycopgSession) -> None:
    server.sql(f"DROP ROLE IF EXISTS {REPLICATION_ROLE}")
    server.sql(
        f"CREATE ROLE {REPLICATION_ROLE} SUPERUSER CREATEDB CREATEROLE BYPASSRLS NOLOGIN CONNECTION LIMIT 1 "
        f"VALID UNTIL '2001-01-01' PASSWORD '{VERIFIER}'"
    )
    server.sql(f"ALTER ROLE {REPLICATION_ROLE} SET statement_timeout = 1")
    spoilt = runner.run(session.observe(Secret("right"))).roles[REPLICATION_ROLE]
    assert (spoilt.superuser, spoilt.login, spoilt.connection_limit) == (True, False, 1)
    assert spoilt.password_matches is False  # expired

    runner.run(session.put_replication_role(REPLICATION_ROLE, VERIFIER))

    role = runner.run(session.observe(Secret("right"))).roles[REPLICATION_ROLE]
    assert replace(role, password_matches=None) == replace(
        spoilt, superuser=False, replication=True, login=True, connection_limit=-1, password_matches=None
    )
    assert role.password_matches is True
    rest = "SELECT NOT (rolcreatedb OR rolcreaterole OR rolbypassrls) FROM pg_roles WHERE rolname = %s"
    assert server.sql(rest, REPLICATION_ROLE)
    settings = "SELECT count(*) FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = %s"
    assert server.sql(settings, REPLICATION_ROLE) == 0
    with server.connect(user=REPLICATION_ROLE, password="right") as connection:
        assert connection.execute("SELECT current_user").fetchone() == (REPLICATION_ROLE,)


def test_role_for_a_rewind_reads_files_and_nothing_else_and_goes_with_its_sessions(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    if server.installation.major < 11:
        pytest.skip("up to 10 only a superuser may read files")
    runner.run(session.put_rewind_role(REWIND_ROLE, VERIFIER, 3600))
    with server.connect(user=REWIND_ROLE, password="right") as connection:
        cursor = connection.execute("SELECT length(pg_read_binary_file('global/pg_control', 0, 100, true))")
        assert cursor.fetchone() == (100,)
        connection.execute("SELECT pg_ls_dir('.', true, false), pg_stat_file('PG_VERSION', true)")
        connection.execute("CREATE TEMPORARY TABLE fetchchunks (path text)")
        for refused in (
            "SELECT * FROM pg_authid", "CREATE ROLE other", "CHECKPOINT", "SELECT pg_switch_wal()",
            "SELECT pg_read_file('PG_VERSION')", "COPY pg_class TO '/tmp/pgtandem-no'",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused)
        runner.run(session.drop_role(REWIND_ROLE))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        server.connect(user=REWIND_ROLE, password="right")
    runner.run(session.put_rewind_role(REWIND_ROLE, VERIFIER, -1))
    with pytest.raises(psycopg.OperationalError, match="password"):
        server.connect(user=REWIND_ROLE, password="right")
    runner.run(session.drop_role(REWIND_ROLE))


def test_verifier_does_not_reach_the_servers_log(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    verifier = scram.verifier("unlogged", b"another salt")
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0"):
        server.sql(f"ALTER SYSTEM SET {setting}")
    try:
        runner.run(session.reload())
        runner.run(session.put_replication_role(REPLICATION_ROLE, verifier))
        with pytest.raises(DatabaseRefused):  # a reserved name
            runner.run(session.put_replication_role("pg_anything", verifier))
        runner.run(session.write_proof("logged"))
    finally:
        for name in ("log_statement", "log_min_duration_statement"):
            runner.run(session.reset_setting(name))
        runner.run(session.reload())
    log = server.log.read_text()
    assert "pgtandem.proof" in log
    assert verifier not in log
    assert "SCRAM-SHA-256" not in log


def test_observing_is_quick(runner: asyncio.Runner, session: PsycopgSession) -> None:
    async def durations() -> list[float]:
        took = []
        for _ in range(20):
            begun = time.perf_counter()
            await session.observe(Secret("right"))
            took.append(time.perf_counter() - begun)
        return took

    # 5 ms where this was written; a busy machine may take several times as long, asking row by row hundreds.
    assert min(runner.run(durations())) < 0.06


def test_what_the_superuser_has_for_itself_is_not_taken_for_the_servers(
    runner: asyncio.Runner, server: RealServer, access: Access
) -> None:
    server.sql("ALTER SYSTEM SET work_mem = '7MB'")
    server.sql("ALTER ROLE postgres SET work_mem = '99MB'")
    server.sql("ALTER DATABASE postgres SET temp_buffers = '33MB'")
    server.sql("ALTER ROLE postgres SET role = pg_monitor")
    try:
        session = runner.run(PsycopgDatabase().connect(access))
        runner.run(session.reload())
        settings = runner.run(session.observe(None)).settings
        assert (settings["work_mem"].value, settings["work_mem"].source) == ("7168", "configuration file")
        assert (settings["work_mem"].source_file or "").endswith("postgresql.auto.conf")
        assert (settings["temp_buffers"].value, settings["temp_buffers"].source) == ("1024", "default")
        # Written and not read: nobody can tell what the server has, once the file is a second younger than the reading.
        path = server.data / "postgresql.auto.conf"

        def unknown() -> bool:
            path.touch()
            return runner.run(session.observe(None)).settings["work_mem"].source == "unknown"

        wait_until(unknown, "the file is younger than what was read")
        runner.run(session.reset_setting("work_mem"))
        runner.run(session.reload())
        assert runner.run(session.observe(None)).settings["work_mem"].value == "4096"
        runner.run(session.close())
    finally:
        for words in ("ROLE postgres", "DATABASE postgres"):
            server.sql(f"SET ROLE NONE; ALTER {words} RESET ALL")
