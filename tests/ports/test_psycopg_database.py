"""Sessions on a real primary with a real standby: the contract, connecting, and what a pair shows."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from pgtandem.adapters.database import PsycopgDatabase
from pgtandem.adapters.session import PsycopgSession
from pgtandem.model.names import NodeName, Secret, SlotName
from pgtandem.model.server import ReplayHold
from pgtandem.ports.database import Access, DatabaseUnreachable
from support.installations import Installation, installations
from support.servers import PASSWORD, SUPERUSER, RealServer, free_port, wait_until
from support.sessions import access_to, opened

from .database_contract import SessionContract

pytest_plugins = ["support.one_server"]
pytestmark = pytest.mark.real

STANDBY_SLOT = SlotName("pgtandem_standby")


@dataclass(frozen=True)
class Pair:
    primary: RealServer
    standby: RealServer


@pytest.fixture(scope="module", params=installations(), ids=lambda installation: installation.name)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    installation: Installation = request.param
    with RealServer(installation) as primary, RealServer(installation) as standby:
        primary.initdb().start()
        primary.sql("SELECT pg_create_physical_replication_slot(%s)", STANDBY_SLOT)
        standby.base_backup(primary, slot=STANDBY_SLOT).start()
        primary.wait_streaming()
        yield Pair(primary, standby)


@pytest.fixture
def session(runner: asyncio.Runner, pair: Pair) -> Iterator[PsycopgSession]:
    pair.primary.sql("DROP SCHEMA IF EXISTS pgtandem CASCADE")
    pair.primary.sql("DROP ROLE IF EXISTS pgtandem_replication")
    left = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name <> %s"
    pair.primary.sql(left, STANDBY_SLOT)
    yield from opened(runner, access_to(pair.primary, "db1"))


@pytest.fixture
def standby_session(runner: asyncio.Runner, pair: Pair) -> Iterator[PsycopgSession]:
    pair.primary.wait_streaming()
    yield from opened(runner, access_to(pair.standby, "db2"))


class TestRealSession(SessionContract):
    @pytest.fixture
    def runner(self, runner: asyncio.Runner) -> asyncio.Runner:
        return runner

    @pytest.fixture
    def session(self, session: PsycopgSession) -> PsycopgSession:
        return session

    @pytest.fixture
    def standby_session(self, standby_session: PsycopgSession) -> PsycopgSession:
        return standby_session


# --- what a pair shows


def test_primary_sees_its_standby_and_the_slot_that_it_uses(
    runner: asyncio.Runner, pair: Pair, session: PsycopgSession, standby_session: PsycopgSession
) -> None:
    runner.run(session.write_proof("moved"))
    pair.primary.wait_for("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication")
    primary = runner.run(session.observe(None))
    standby = runner.run(standby_session.observe(None))
    (sender,) = primary.senders
    assert (sender.application_name, sender.client_address, sender.sync_state) == ("standby", "127.0.0.1", "async")
    assert sender.replay_lsn is not None
    slot = primary.slots[STANDBY_SLOT]
    assert (slot.active, slot.active_pid) == (True, sender.pid)
    assert slot.wal_status == ("reserved" if primary.major >= 13 else None)
    receiver = standby.receiver
    assert receiver is not None
    assert (receiver.sender_host, receiver.sender_port) == ("127.0.0.1", pair.primary.port)
    assert (receiver.slot, receiver.received_timeline) == (STANDBY_SLOT, 1)
    assert standby.receiver_pid in pair.standby.children()

    def replays_nothing() -> bool:
        # Any record that comes in between, of the primary's own making, is received a moment before it is replayed.
        look = runner.run(standby_session.observe(None))
        return look.receive_lsn == look.replay_lsn and look.replay_age_seconds == 0

    wait_until(replays_nothing, "what was received is replayed, and nothing is late")


def test_replay_age_counts_only_while_there_is_something_to_replay(
    runner: asyncio.Runner, pair: Pair, session: PsycopgSession, standby_session: PsycopgSession
) -> None:
    runner.run(session.write_proof("before"))
    pair.standby.sql("SELECT pg_wal_replay_pause()")
    try:
        if pair.standby.installation.major >= 14:
            # Replay pauses at the next record.
            runner.run(session.write_proof("pausing"))
            pair.standby.wait_for("SELECT pg_get_wal_replay_pause_state() = 'paused'")
        runner.run(session.write_proof("waiting"))
        pair.standby.wait_for("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
        standby = runner.run(standby_session.observe(None))
        assert standby.replay_paused
        assert standby.replay_age_seconds is not None
        assert standby.replay_age_seconds > 0
    finally:
        pair.standby.sql("SELECT pg_wal_replay_resume()")
    pair.standby.wait_for("SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()")
    assert not runner.run(standby_session.observe(None)).replay_paused


def test_the_last_checkpoint_is_told_with_its_age(runner: asyncio.Runner, pair: Pair, session: PsycopgSession) -> None:
    runner.run(session.checkpoint())
    primary = runner.run(session.observe(None))
    assert primary.current_lsn is not None
    assert primary.redo_lsn is not None
    assert primary.redo_age_seconds is not None
    assert 0 <= primary.current_lsn - primary.redo_lsn < 1_000_000
    assert primary.redo_age_seconds < 60
    assert primary.replay_hold is None


def test_who_holds_replay_up_is_named(
    runner: asyncio.Runner, pair: Pair, session: PsycopgSession, standby_session: PsycopgSession
) -> None:
    assert runner.run(standby_session.observe(None)).replay_hold is None
    pair.primary.sql("CREATE TABLE held AS SELECT 1 AS x")
    pair.primary.wait_for("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication")
    with psycopg.connect(
        host="127.0.0.1", port=pair.standby.port, user=SUPERUSER, password=PASSWORD, application_name="reader"
    ) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT * FROM held")  # which it locks until it ends
        pair.primary.sql("DROP TABLE held")

        def held() -> ReplayHold | None:
            return runner.run(standby_session.observe(None)).replay_hold

        wait_until(held, "replay waits for the lock", 20)
        hold = held()
        assert hold is not None
        assert (hold.pid, hold.user, hold.application_name) == (reader.info.backend_pid, SUPERUSER, "reader")
        assert hold.waits_for == "lock"
        assert 0 <= hold.transaction_seconds < 60
        reader.rollback()
        wait_until(lambda: held() is None, "replay goes on", 20)


def test_a_query_that_may_still_read_what_replay_removes_is_named_from_14_on(
    runner: asyncio.Runner, pair: Pair, session: PsycopgSession, standby_session: PsycopgSession
) -> None:
    if pair.standby.installation.major < 14:
        return  # no wait event tells
    pair.primary.sql("CREATE TABLE old AS SELECT generate_series(1, 1000) AS x")
    pair.primary.wait_for("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication")
    with psycopg.connect(
        host="127.0.0.1", port=pair.standby.port, user=SUPERUSER, password=PASSWORD, application_name="reader"
    ) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # its snapshot
        pair.primary.sql("DELETE FROM old")
        pair.primary.sql("VACUUM old")

        def held() -> ReplayHold | None:
            return runner.run(standby_session.observe(None)).replay_hold

        wait_until(held, "replay waits for the snapshot", 20)
        hold = held()
        assert hold is not None
        assert (hold.pid, hold.waits_for) == (reader.info.backend_pid, "snapshot")
        reader.rollback()
    pair.primary.sql("DROP TABLE old")


def test_recovery_conf_that_was_written_after_the_start_is_seen_as_not_read(
    runner: asyncio.Runner, pair: Pair, standby_session: PsycopgSession
) -> None:
    assert not runner.run(standby_session.observe(None)).recovery_unread
    if pair.standby.installation.major >= 12:
        return  # its settings are ordinary ones
    path, started = pair.standby.data / "recovery.conf", pair.standby.sql("SELECT pg_postmaster_start_time()")
    before = path.stat().st_mtime
    try:
        for seconds, unread in ((1, True), (-1, False), (60, True)):
            written = started.timestamp() + seconds
            os.utime(path, (written, written))
            assert runner.run(standby_session.observe(None)).recovery_unread is unread
    finally:
        os.utime(path, (before, before))


def test_slot_in_use_is_dropped_though_its_standby_comes_back_at_once(
    runner: asyncio.Runner, pair: Pair, session: PsycopgSession
) -> None:
    pair.primary.wait_for(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{STANDBY_SLOT}'")
    try:
        runner.run(session.drop_slot(STANDBY_SLOT))
        assert STANDBY_SLOT not in runner.run(session.observe(None)).slots
    finally:
        runner.run(session.create_slot(STANDBY_SLOT))
    pair.primary.wait_streaming()


# --- connecting


def test_nobody_listens(runner: asyncio.Runner) -> None:
    nowhere = Access(NodeName("db7"), "127.0.0.1", free_port(), SUPERUSER, Secret(PASSWORD))
    with pytest.raises(DatabaseUnreachable) as error:
        runner.run(PsycopgDatabase().connect(nowhere))
    assert error.value.what == "could not connect to node db7"
    assert "Connection refused" in error.value.why
    assert "\n" not in error.value.why
    assert error.value.__cause__ is None


def test_host_that_accepts_and_says_nothing_is_given_up(runner: asyncio.Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        mute = Access(NodeName("db7"), "127.0.0.1", port, SUPERUSER, None)
        with pytest.raises(DatabaseUnreachable, match="db7") as error:
            runner.run(PsycopgDatabase().connect(mute, deadline_seconds=0.2))
    assert error.value.why == "It did not answer within 0.2 seconds."


def test_wrong_password_is_said_and_not_shown(runner: asyncio.Runner, pair: Pair) -> None:
    wrong = replace(access_to(pair.primary, "db1"), password=Secret("swordfish"))
    with pytest.raises(DatabaseUnreachable) as error:
        runner.run(PsycopgDatabase().connect(wrong))
    assert "password authentication failed" in error.value.why
    assert "swordfish" not in repr(vars(error.value)) + str(error.value)


def test_nothing_of_the_users_libpq_settings_reaches_a_connection(
    runner: asyncio.Runner, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    misleading = {
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGPASSWORD": "wrong",
        "PGSERVICE": "no_such_service",
        "PGSERVICEFILE": "/nonexistent",
        "PGOPTIONS": "-c statement_timeout=1 -c work_mem=123kB",
        "PGAPPNAME": "somebody",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/nonexistent",
        "PGCHANNELBINDING": "require",
        "PGREQUIREAUTH": "none",
        "PGREQUIREPEER": "nobody",
        "PGGSSENCMODE": "require",
        "PGCLIENTENCODING": "LATIN1",
        "PGTARGETSESSIONATTRS": "standby",
        "PGCONNECT_TIMEOUT": "nonsense",
        "PGMINPROTOCOLVERSION": "nonsense",
        "PGTZ": "Asia/Tokyo",
        "PGDATESTYLE": "German",
        "PGGEQO": "off",
    }
    for name, value in misleading.items():
        monkeypatch.setenv(name, value)

    async def two() -> list[PsycopgSession]:
        database = PsycopgDatabase()
        return list(await asyncio.gather(*(database.connect(access_to(pair.primary, "db1")) for _ in range(2))))

    sessions = runner.run(two())
    server = runner.run(sessions[0].observe(None))
    for session in sessions:
        runner.run(session.close())
    assert {name: os.environ[name] for name in misleading} == misleading
    from_us = {name for name, setting in server.settings.items() if setting.source in ("client", "session")}
    assert from_us <= {"application_name", "client_encoding"}
    assert server.settings["application_name"].value == "pgtandem"


def test_password_is_taken_from_nowhere_else(
    runner: asyncio.Runner,
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    passfile = tmp_path / ".pgpass"
    passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pytest.raises(DatabaseUnreachable, match="db1") as error:
        runner.run(PsycopgDatabase().connect(replace(access_to(pair.primary, "db1"), password=None)))
    assert "no password supplied" in error.value.why
    assert capfd.readouterr().err == ""


def test_importing_the_adapter_does_not_import_psycopg() -> None:
    code = "import sys, pgtandem.adapters.database; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
