"""Sessions on a real server of their own, which is hurt, restarted and misconfigured."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from pgtandem.adapters.database import PsycopgDatabase, PsycopgSession
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import REPLICATION_ROLE, NodeName, Secret, SlotName
from pgtandem.ports.database import Access, DatabaseRefused, DatabaseUnreachable
from pgtandem.postgres import scram
from tests.support.servers import PASSWORD, SUPERUSER, Installation, RealServer, installations

pytestmark = pytest.mark.real

SLOT = SlotName("pgtandem_db2")
VERIFIER = scram.verifier("right", b"0123456789abcdef")


@pytest.fixture(scope="module", params=installations(), ids=lambda installation: installation.name)
def only_server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    installation: Installation = request.param
    # Small segments are quick to fill; 10 has no choice.
    options = ["--wal-segsize=1"] if installation.major >= 11 else []
    settings = {"wal_level": "logical", "archive_mode": "on", "archive_command": "false"}
    with RealServer(installation) as server:
        yield server.initdb(*options, settings=settings)


@pytest.fixture
def server(only_server: RealServer) -> RealServer:
    if not only_server.alive:
        only_server.start()
    return only_server


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def access(server: RealServer) -> Access:
    return Access(NodeName("db1"), "127.0.0.1", server.port, SUPERUSER, Secret(PASSWORD))


@pytest.fixture
def session(runner: asyncio.Runner, access: Access) -> Iterator[PsycopgSession]:
    session = runner.run(PsycopgDatabase().connect(access))
    yield session
    runner.run(session.close())


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
    server.restart()
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
    session = runner.run(PsycopgDatabase(call_deadline_seconds=1).connect(access))

    async def impatient() -> None:
        async with asyncio.timeout(0.1):
            await session.observe(None)

    server.freeze()
    try:
        begun = time.monotonic()
        with pytest.raises((TimeoutError, DatabaseUnreachable)):
            runner.run(impatient())
        assert time.monotonic() - begun < 5
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
        connection.execute("DO ''")  # loads plpgsql
        connection.execute("ALTER SYSTEM SET plpgsql.variable_conflict = 'error'")
    runner.run(session.reset_setting("plpgsql.variable_conflict"))
    assert "plpgsql" not in (server.data / "postgresql.auto.conf").read_text()


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
    server.sql("ALTER ROLE postgres SET default_transaction_read_only = on")
    server.sql("ALTER ROLE postgres SET synchronous_commit = on")
    server.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
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
    server.append_hba("hostssl shop,replication  someone  10.0.0.0  255.255.254.0  scram-sha-256")
    server.append_hba("host all all samenet nonsense")
    try:
        good, bad = runner.run(session.observe(None)).hba[-2:]
    finally:
        file.write_bytes(before)
    assert (good.kind, good.databases, good.users) == ("hostssl", ("shop", "replication"), ("someone",))
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


# --- slots


def test_slot_that_keeps_nothing_is_made_again(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    server.sql("SELECT pg_create_physical_replication_slot(%s)", SLOT)
    slot = runner.run(session.observe(None)).slots[SLOT]
    assert (slot.restart_lsn, slot.held_bytes) == (None, None)
    runner.run(session.create_slot(SLOT))
    assert runner.run(session.observe(None)).slots[SLOT].restart_lsn is not None
    runner.run(session.drop_slot(SLOT))


def test_lost_slot_is_made_again(runner: asyncio.Runner, server: RealServer, session: PsycopgSession) -> None:
    if server.installation.major < 13:
        pytest.skip("slots have no cap before 13")
    runner.run(session.create_slot(SLOT))
    server.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    try:
        runner.run(session.reload())
        for _ in range(4):
            runner.run(session.finish_segment())
        server.sql("CHECKPOINT")
        assert runner.run(session.observe(None)).slots[SLOT].wal_status == "lost"
        runner.run(session.create_slot(SLOT))
        assert runner.run(session.observe(None)).slots[SLOT].wal_status == "reserved"
    finally:
        runner.run(session.reset_setting("max_slot_wal_keep_size"))
        runner.run(session.reload())
        runner.run(session.drop_slot(SLOT))


def test_logical_slot_of_that_name_is_not_touched(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    server.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", SLOT)
    with pytest.raises(DatabaseRefused, match="pgtandem_db2") as error:
        runner.run(session.create_slot(SLOT))
    assert error.value.why == "A logical slot of that name is there."
    assert runner.run(session.observe(None)).slots[SLOT].kind == "logical"
    runner.run(session.drop_slot(SLOT))


# --- segments and the archiver


@pytest.mark.parametrize("left_bytes", [0, 8, 16, 24, 32, 40, 48, 400])
def test_finished_segment_is_the_one_that_waits_for_the_archiver(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession, left_bytes: int
) -> None:
    # So many bytes are left when the segment is switched: the switch record has 24, without page headers.
    with server.connect() as filler:
        segment_bytes = filler.execute("SELECT bytes_per_wal_segment FROM pg_control_init()").fetchone()
        assert segment_bytes
        own_bytes = 72  # what finish_segment writes before the switch
        for _ in range(5):
            _fill(filler, segment_bytes[0], leave=left_bytes + own_bytes)
            begun = _position(filler)
            name, end = runner.run(session.finish_segment())
            if begun % segment_bytes[0] == segment_bytes[0] - left_bytes - own_bytes:
                break
        else:
            pytest.fail("others wrote WAL each time")
    assert name == max(_waiting(server))
    assert end.position >= begun + own_bytes


def _fill(filler: psycopg.Connection[tuple[object, ...]], segment_bytes: int, leave: int) -> None:
    """Writes until so many bytes of a segment are left; first into its last page, then to the byte."""
    page_bytes, header_bytes, safely = 8192, 62, 2048
    remaining = segment_bytes - _position(filler) % segment_bytes
    if remaining < page_bytes:
        filler.execute("SELECT pg_switch_wal()")
        filler.execute("SELECT pg_logical_emit_message(false, 'pgtandem', 'x')")
        remaining = segment_bytes - _position(filler) % segment_bytes
    pages = remaining // page_bytes
    _write(filler, remaining - pages * 24 - page_bytes + safely)
    remaining = segment_bytes - _position(filler) % segment_bytes
    assert header_bytes + 256 < remaining - leave < page_bytes, remaining
    _write(filler, remaining - leave - header_bytes)


def _write(filler: psycopg.Connection[tuple[object, ...]], size: int) -> None:
    filler.execute("SELECT pg_logical_emit_message(false, 'pgtandem', repeat('x', %s))", (size,))


def _position(filler: psycopg.Connection[tuple[object, ...]]) -> int:
    row = filler.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row
    return Lsn.parse(str(row[0])).position


def _waiting(server: RealServer) -> list[str]:
    """The segments that the archiver has yet to archive."""
    names = [path.name for path in (server.data / "pg_wal/archive_status").iterdir()]
    return [name[:24] for name in names if name.endswith(".ready") and len(name) == 30]


def test_archiver_tells_of_failures_and_of_what_waits(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    runner.run(session.finish_segment())
    server.wait_for("SELECT failed_count > 0 FROM pg_stat_archiver")
    archiver = runner.run(session.observe(None)).archiver
    assert archiver is not None
    assert archiver.failing
    assert archiver.last_failed_age_seconds is not None
    assert archiver.last_failed_age_seconds >= 0
    assert archiver.waiting_segments is not None
    assert archiver.waiting_segments >= 1
    last, failed = runner.run(session.archived())
    assert last is None
    assert failed >= 1


def test_server_that_does_not_archive_has_no_archiver(
    runner: asyncio.Runner, server: RealServer, access: Access
) -> None:
    server.sql("ALTER SYSTEM SET archive_mode = 'off'")
    server.restart()
    try:
        session = runner.run(PsycopgDatabase().connect(access))
        assert runner.run(session.observe(None)).archiver is None
        runner.run(session.reset_setting("archive_mode"))
        runner.run(session.close())
    finally:
        server.stop()


# --- promotion


def test_promoted_standby_tells_its_new_timeline_at_once(runner: asyncio.Runner, server: RealServer) -> None:
    with RealServer(server.installation) as standby:
        standby.base_backup(server).start()
        server.wait_streaming()
        access = Access(NodeName("db2"), "127.0.0.1", standby.port, SUPERUSER, Secret(PASSWORD))
        session = runner.run(PsycopgDatabase().connect(access))
        before = runner.run(session.observe(None))
        assert (before.in_recovery, before.timeline) == (True, 1)

        async def promoted() -> list[tuple[bool, int]]:
            """What the session says, asked without a pause all through a promotion."""
            promotion = asyncio.create_task(asyncio.to_thread(standby.promote))
            seen: list[tuple[bool, int]] = []
            while not seen or seen[-1][0] or not promotion.done():
                found = await session.observe(None)
                seen.append((found.in_recovery, found.timeline))
            await promotion
            return seen

        async def in_time() -> list[tuple[bool, int]]:
            async with asyncio.timeout(60):
                return await promoted()

        seen = runner.run(in_time())
        assert set(seen) == {(True, 1), (False, 2)}
        name, _ = runner.run(session.finish_segment())
        assert name.startswith("00000002")
        runner.run(session.close())


def test_observing_is_quick(runner: asyncio.Runner, session: PsycopgSession) -> None:
    async def durations() -> list[float]:
        took = []
        for _ in range(20):
            begun = time.perf_counter()
            await session.observe(Secret("right"))
            took.append(time.perf_counter() - begun)
        return took

    # 5 ms where this was written; a busy machine may have its pauses.
    assert min(runner.run(durations())) < 0.015
