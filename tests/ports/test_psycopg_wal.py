"""Sessions on a real server: slots, segments, the archiver, promotion."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pgtandem.adapters.database import PsycopgDatabase
from pgtandem.adapters.session import PsycopgSession
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import SlotName
from pgtandem.ports.database import Access, DatabaseRefused
from support.servers import RealServer
from support.sessions import access_to

pytest_plugins = ["support.one_server"]
pytestmark = pytest.mark.real

SLOT = SlotName("pgtandem_db2")


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
    with server.connect() as filler, _wal_writer_halts(filler):
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


@contextmanager
def _wal_writer_halts(filler: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    """Stops the server's WAL writer until a commit has written more: messages wake it, and it panics where it comes by
    just after a switch that ends a segment to the last byte ("xlog write request ... is past end of log", 15 to 18)."""
    row = filler.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").fetchone()
    assert row
    process = int(str(row[0]))
    os.kill(process, signal.SIGSTOP)
    try:
        yield
        filler.execute("SELECT pg_logical_emit_message(true, 'pgtandem', 'x')")
    finally:
        os.kill(process, signal.SIGCONT)


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


def test_where_nothing_waits_nothing_waits_for_any_time(
    runner: asyncio.Runner, server: RealServer, session: PsycopgSession
) -> None:
    """The server's own age was once taken for that of a file that is not there: a quiet primary was told as failing."""
    server.sql("ALTER SYSTEM SET archive_command = 'true'")
    server.sql("SELECT pg_reload_conf()")
    runner.run(session.finish_segment())
    server.wait_for("SELECT archived_count > 0 FROM pg_stat_archiver")
    server.wait_for("SELECT NOT EXISTS (SELECT FROM pg_ls_dir('pg_wal/archive_status') AS name WHERE name ~ 'ready')")
    archiver = runner.run(session.observe(None)).archiver
    assert archiver is not None
    assert (archiver.waiting_segments, archiver.waiting_wal, archiver.waiting_age_seconds) == (0, None, None)


def test_server_that_does_not_archive_has_no_archiver(
    runner: asyncio.Runner, server: RealServer, access: Access
) -> None:
    server.sql("ALTER SYSTEM SET archive_mode = 'off'")
    server.restart(immediate=True)
    try:
        session = runner.run(PsycopgDatabase().connect(access))
        assert runner.run(session.observe(None)).archiver is None
        runner.run(session.reset_setting("archive_mode"))
        runner.run(session.close())
    finally:
        server.stop(immediate=True)


# --- promotion


def test_promoted_standby_tells_its_new_timeline_at_once(runner: asyncio.Runner, server: RealServer) -> None:
    with RealServer(server.installation) as standby:
        standby.base_backup(server).start()
        server.wait_streaming()
        session = runner.run(PsycopgDatabase().connect(access_to(standby, "db2")))
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
        # In recovery on 2 is possible too: the control file says so just before recovery ends.
        assert set(seen) <= {(True, 1), (True, 2), (False, 2)}
        assert seen[-1] == (False, 2)
        name, _ = runner.run(session.finish_segment())
        assert name.startswith("00000002")
        runner.run(session.close())
