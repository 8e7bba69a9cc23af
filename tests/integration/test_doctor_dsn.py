"""doctor over SQL alone, on servers that nobody of pgtandem built: each trap set on a real server, silent before.

A row of TRAPS is a state of the pair that somebody may bring about, and the rules that must find it. The states come
one after the other on the same two servers; `doctor` looks before and after each.
"""

import json
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from support.installations import Installation, installations, older, packaged
from support.program import PROGRAM, Done
from support.provoking import Looks, provokes
from support.relay import Relay
from support.servers import PASSWORD, RealServer, wait_until
from support.transactions import age_prepared_transaction, pass_transactions, spend_transactions

pytestmark = pytest.mark.real

NEWEST = next((each for each in installations() if each.major == 18), None)


def pgtandem(*arguments: str) -> Done:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, check=False, env={**environment, "PGPASSWORD": PASSWORD}
    )
    return Done("pgtandem " + " ".join(arguments), done.returncode, done.stdout, done.stderr)


def doctor(*servers: RealServer) -> dict[str, Any]:
    done = pgtandem("doctor", "--format", "json", *_dsns(*servers))
    assert done.exit_code in (0, 2), done.said
    assert PASSWORD not in done.said
    document: dict[str, Any] = json.loads(done.out)
    return document


def _dsns(*servers: RealServer) -> list[str]:
    return [word for each in servers for word in ("--dsn", f"postgres://postgres@127.0.0.1:{each.port}/postgres")]


def found(looks: Looks, *servers: RealServer) -> set[str]:
    """The ids of what doctor finds; the same as the program does, without starting it each time."""
    return looks.over_sql(*(dsn.replace("postgres@", f"postgres:{PASSWORD}@") for dsn in _dsns(*servers)[1::2]))


@dataclass
class Pair:
    primary: RealServer
    standby: RealServer
    looks: Looks
    stack: ExitStack
    threads: list[threading.Thread] = field(default_factory=list)

    def set(self, server: RealServer, **settings: str) -> None:
        for name, value in settings.items():
            server.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        server.sql("SELECT pg_reload_conf()")

    def restart(self, server: RealServer, **settings: object) -> None:
        server.stop()
        server.configure(settings)
        server.start()

    def fill_segments(self, count: int) -> None:
        for _ in range(count):
            self.primary.sql("SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")


def _archive_fails(pair: Pair) -> None:
    """What waited above ends, and fails."""
    pair.set(pair.primary, archive_command="false")
    (pair.primary.data / "gate").unlink()
    pair.primary.wait_for("SELECT failed_count > 0 FROM pg_stat_archiver")


def _archive_falls_behind(pair: Pair) -> None:
    """One segment gets through, the next one takes its time, and more are finished meanwhile."""
    before = pair.primary.sql("SELECT archived_count FROM pg_stat_archiver")
    command = "test ! -e gate && touch gate || { while test -e gate; do sleep 0.1; done; exit 1; }"
    pair.set(pair.primary, archive_command=command)
    pair.fill_segments(1)
    pair.primary.wait_for(f"SELECT archived_count > {before} FROM pg_stat_archiver", 90)
    pair.fill_segments(13)


def _slot_is_lost(pair: Pair) -> None:
    pair.set(pair.primary, max_slot_wal_keep_size="1MB", wal_keep_size="0")
    pair.primary.sql("SELECT pg_create_physical_replication_slot('lost', true)")

    def lost() -> bool:
        pair.fill_segments(3)
        pair.primary.sql("CHECKPOINT")
        return bool(pair.primary.sql("SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = 'lost'"))

    wait_until(lost, "the slot is lost", 30)


def _commits_wait(pair: Pair) -> None:
    pair.set(pair.standby, recovery_min_apply_delay="0")
    pair.set(pair.primary, synchronous_standby_names="nobody", synchronous_commit="on")
    pair.primary.wait_for("SELECT current_setting('synchronous_standby_names') = 'nobody'")

    def commit() -> None:
        with suppress(psycopg.Error), pair.primary.connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS waits (i int)")

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    pair.threads.append(thread)
    pair.primary.wait_for("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')")


def _apply_waits_for_a_delay(pair: Pair) -> None:
    pair.set(pair.standby, recovery_min_apply_delay="1h")
    pair.set(pair.primary, synchronous_standby_names="standby", synchronous_commit="remote_apply")


def _query_is_cancelled(pair: Pair) -> None:
    pair.set(pair.primary, synchronous_standby_names="")
    pair.set(pair.standby, max_standby_streaming_delay="0")
    pair.primary.sql("CREATE TABLE rows AS SELECT generate_series(1, 100) AS i")
    pair.standby.wait_for("SELECT to_regclass('rows') IS NOT NULL")
    with pair.standby.connect(autocommit=False) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM rows")
        pair.primary.sql("DELETE FROM rows")
        pair.primary.sql("VACUUM (FREEZE) rows")
        pair.standby.wait_for("SELECT sum(conflicts) > 0 FROM pg_stat_database")
        with suppress(psycopg.Error):
            reader.rollback()


def _a_page_is_damaged(pair: Pair) -> None:
    pair.set(pair.standby, recovery_min_apply_delay="0")
    pair.set(pair.primary, synchronous_standby_names="", synchronous_commit="on")
    pair.primary.wait_for("SELECT current_setting('synchronous_standby_names') = ''")
    pair.primary.sql("CREATE TABLE damaged AS SELECT generate_series(1, 1000) AS i")
    path = pair.primary.data / pair.primary.sql("SELECT pg_relation_filepath('damaged')")
    pair.primary.stop()
    content = bytearray(path.read_bytes())
    content[4000] ^= 0xFF
    path.write_bytes(content)
    pair.primary.start()
    with pytest.raises(psycopg.Error, match="invalid page"):
        pair.primary.sql("SELECT count(*) FROM damaged")
    pair.primary.wait_for("SELECT sum(checksum_failures) > 0 FROM pg_stat_database")


def _starts_with_other_limits(pair: Pair) -> None:
    outside = pair.standby.base / "pg_hba.conf"
    (pair.standby.data / "pg_hba.conf").rename(outside)
    pair.restart(
        pair.standby, max_connections=150, archive_mode="off", recovery_target_timeline="current", hba_file=outside
    )
    pair.restart(
        pair.primary, hot_standby="off", recovery_target_name="yesterday", max_wal_senders=2, max_replication_slots=0
    )
    pair.primary.wait_streaming()


def _nothing_keeps_wal(pair: Pair) -> None:
    pair.restart(pair.primary, hot_standby="on", recovery_target_name="", max_wal_senders=10, max_replication_slots=10)
    pair.restart(pair.standby, archive_mode="always")
    pair.primary.wait_streaming()
    pair.set(pair.standby, archive_command="cp %p /dev/null")


def _catches_up_slowly(pair: Pair) -> None:
    """The network lets little through of what was written while the standby was away."""
    pair.standby.stop()
    pair.set(pair.primary, synchronous_standby_names="standby", synchronous_commit="local")
    pair.fill_segments(40)
    relay = pair.stack.enter_context(Relay(pair.primary.port, 1024**2))
    usual = f"host=127.0.0.1 port={pair.primary.port} user=postgres password={PASSWORD} application_name=standby"
    pair.standby.configure({"primary_conninfo": usual.replace(str(pair.primary.port), str(relay.port))})
    pair.standby.start()


def _has_caught_up(pair: Pair) -> None:
    usual = f"host=127.0.0.1 port={pair.primary.port} user=postgres password={PASSWORD} application_name=standby"
    pair.set(pair.primary, synchronous_standby_names="", synchronous_commit="on")
    pair.set(pair.standby, primary_conninfo=usual)
    pair.primary.wait_streaming()
    wait_until(lambda: "ARC06" not in found(pair.looks, pair.primary, pair.standby), "all segments are archived", 120)


#: In this order: what one state leaves behind the next one may need.
TRAPS: tuple[tuple[str, Callable[[Pair], None], set[str]], ...] = (
    (
        "limits and leftovers",
        _starts_with_other_limits,
        {"ARC10", "REP09", "REP10", "REP19", "REP20", "REP30", "RST03", "RST05"},
    ),
    ("archived by the standby too", _nothing_keeps_wal, {"ARC11", "ARC01"}),
    ("a standby that is far behind", _catches_up_slowly, {"SYN10"}),
    ("and no more", _has_caught_up, set()),
    ("archive falls behind", _archive_falls_behind, {"ARC06"}),
    ("archive fails", _archive_fails, {"ARC05"}),
    (
        "two archivers",
        lambda pair: pair.set(pair.primary, archive_library="nonesuch", archive_timeout="0"),
        {"ARC12", "ARC17"},
    ),
    ("a slot that lost its WAL", _slot_is_lost, {"REP14", "REP11"}),
    (
        "a logical slot",
        lambda pair: pair.primary.sql("SELECT pg_create_logical_replication_slot('sub', 'pgoutput')"),
        {"REP18"},
    ),
    ("a query is cancelled", _query_is_cancelled, {"STB12"}),
    ("a delay that a commit waits for", _apply_waits_for_a_delay, {"STB16", "SYN01", "SYN08", "SYN09"}),
    ("a page is damaged", _a_page_is_damaged, {"STB19"}),
    ("nobody confirms", _commits_wait, {"SYN02", "SYN06"}),
    (
        "another manager",
        lambda pair: pair.set(pair.standby, restore_command="/controller/manager wal-restore %f %p"),
        {"STB08"},
    ),
    ("replay is paused", lambda pair: pair.standby.sql("SELECT pg_wal_replay_pause()"), {"STB10"}),
)


def _made(stack: ExitStack, installation: Installation, looks: Looks) -> Pair:
    settings: dict[str, object] = {
        "wal_level": "logical",
        "archive_mode": "on",
        "archive_timeout": "5min",
        "archive_command": "/bin/sh pgtandem/none %p",
        "synchronous_commit": "on",
        "wal_keep_size": "2GB",
        "full_page_writes": "on",
    }
    primary = stack.enter_context(RealServer(installation)).initdb(
        "--wal-segsize=1", "--data-checksums", settings=settings
    )
    primary.start()
    primary.sql("ALTER SYSTEM SET archive_command = '/bin/sh -c ''exit 0'' pgtandem/x %p'")
    primary.sql("SELECT pg_reload_conf()")
    standby = stack.enter_context(RealServer(installation)).base_backup(primary)
    standby.start()
    primary.wait_streaming()
    return Pair(primary, standby, looks, stack)


@provokes("RST01", *(rule for _, _, rules in TRAPS for rule in rules), over_sql=True)
@pytest.mark.skipif(NEWEST is None, reason="there is no embedded PostgreSQL 18")
def test_each_trap_that_is_set_on_a_foreign_pair_is_found_and_was_silent_before(looks: Looks) -> None:
    assert NEWEST is not None
    with ExitStack() as stack:
        pair = _made(stack, NEWEST, looks)
        before = found(looks, pair.primary, pair.standby)
        # What the recipe of these tests has by itself: a superuser streams, with its password in primary_conninfo.
        assert before >= {"REP01", "REP22", "RST01"}
        for name, arrange, expected in TRAPS:
            assert expected & before == set(), f"{name}: not silent before"
            arrange(pair)
            now = _found_soon(pair, expected)
            assert expected - now == set(), f"{name}: not found"
            before = now
        _commits_end(pair)


def _found_soon(pair: Pair, expected: set[str]) -> set[str]:
    """What is found once all of that is found, or after a while."""
    now: set[str] = set()

    def all_found() -> bool:
        now.clear()
        now.update(found(pair.looks, pair.primary, pair.standby))
        return expected <= now

    with suppress(AssertionError):
        wait_until(all_found, "", 60)
    return now


def _commits_end(pair: Pair) -> None:
    pair.set(pair.primary, synchronous_standby_names="")
    for thread in pair.threads:
        thread.join(30)


@provokes("ARC09", "HST04", "REP08", "STB01", "STB02", "STB03", "STB04", "STB07", "STB09", "STB21", over_sql=True)
@pytest.mark.skipif(NEWEST is None, reason="there is no embedded PostgreSQL 18")
def test_clusters_that_are_none_and_servers_that_parted_are_found(looks: Looks) -> None:
    assert NEWEST is not None
    archiving = {"archive_mode": "on", "archive_command": "put %p"}
    with ExitStack() as stack:
        primary = stack.enter_context(RealServer(NEWEST)).initdb("--no-data-checksums", settings=archiving)
        primary.start()
        copy = stack.enter_context(RealServer(NEWEST)).base_backup(primary)
        copy.start()
        primary.wait_streaming()
        assert "STB04" in found(looks, primary, copy)
        # What replay has changed in memory the checkpoint after a promotion writes at its leisure.
        primary.sql("CREATE TABLE many AS SELECT i, repeat('x', 500) AS filler FROM generate_series(1, 12000) AS i")
        copy.wait_for("SELECT to_regclass('many') IS NOT NULL")
        copy.promote()
        copy.wait_for("SELECT NOT pg_is_in_recovery()")
        assert found(looks, primary, copy) >= {"STB01", "STB07"}
        copy.stop()
        copy.follow(primary)
        copy.start()
        # It asks again and again, and is refused each time.
        wait_until(lambda: found(looks, primary, copy) >= {"STB03", "STB09", "STB21"}, "the parted standby is found")
        lone = stack.enter_context(RealServer(NEWEST)).initdb(
            "--wal-segsize=1", settings={"wal_level": "minimal", "max_wal_senders": 0, "fsync": "on"}
        )
        lone.start()
        assert found(looks, primary, lone) >= {"STB02", "HST04", "REP08"}
        assert not {"STB20", "STB04"} & found(looks, lone)
        lone.stop()
        lone.configure({"wal_level": "replica", **archiving})
        lone.start()
        assert "ARC09" in found(looks, primary, lone)


@provokes("RST12", "HST15", over_sql=True)
def test_an_exclusive_backup_and_a_version_past_its_last_day_are_found(looks: Looks) -> None:
    """On a pair of the age of recovery.conf, whose settings SQL does not show: nothing is said of them."""
    try:
        old = packaged(11)
    except LookupError as reason:
        pytest.skip(str(reason))
    with RealServer(old) as server, RealServer(old) as standby:
        server.initdb(settings={"archive_mode": "on", "archive_command": "put %p"}).start()
        standby.base_backup(server).start()
        server.wait_streaming()
        assert not {"RST12", "RST01", "RST03", "STB09"} & found(looks, server, standby)
        server.sql("SELECT pg_start_backup('by hand', true)")
        assert found(looks, server, standby) >= {"RST12", "HST15"}
        with RealServer(installations()[0]) as new:
            new.initdb().start()
            assert "HST15" not in found(looks, new)


@provokes("STB14", "STB18", over_sql=True)
@pytest.mark.skipif(NEWEST is None, reason="there is no embedded PostgreSQL 18")
def test_what_has_kept_rows_for_long_is_found(looks: Looks) -> None:
    """An hour and a hundred million transactions are put in place: see support/transactions.py."""
    assert NEWEST is not None
    with RealServer(NEWEST) as server:
        server.initdb(settings={"max_prepared_transactions": 5, "wal_level": "logical"}).start()
        server.sql("SELECT pg_create_logical_replication_slot('old', 'pgoutput')")
        with server.connect(autocommit=False) as connection:
            connection.execute("CREATE TABLE prepared (i int)")
            connection.execute("PREPARE TRANSACTION 'forgotten'")
        server.sql("CHECKPOINT")  # which writes it to its file
        assert not {"STB14", "STB18"} & found(looks, server)
        server.stop()
        age_prepared_transaction(server, hours=3)
        server.start()
        assert "STB18" in found(looks, server)
        server.sql("ROLLBACK PREPARED 'forgotten'")
        server.stop()
        pass_transactions(server, 150_000_000)
        server.start()
        assert "STB14" in found(looks, server)


@provokes("STB13", over_sql=True)
@pytest.mark.chaos
@pytest.mark.skipif(NEWEST is None, reason="there is no embedded PostgreSQL 18")
def test_a_query_on_a_standby_that_keeps_rows_of_ten_million_transactions_is_found(looks: Looks) -> None:
    assert NEWEST is not None
    with RealServer(NEWEST) as primary, RealServer(NEWEST) as standby:
        primary.initdb(settings={"autovacuum": "off", "max_wal_size": "4GB"}).start()
        standby.base_backup(primary, settings={"hot_standby_feedback": "on"})
        standby.configure({"wal_receiver_status_interval": "1s"})
        standby.start()
        primary.wait_streaming()
        with standby.connect(autocommit=False) as reader:
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM pg_class")
            primary.wait_for("SELECT backend_xmin IS NOT NULL FROM pg_stat_replication")
            assert "STB13" not in found(looks, primary, standby)
            spend_transactions(primary, 10_100_000)
            assert "STB13" in found(looks, primary, standby)
            reader.rollback()
        wait_until(lambda: "STB13" not in found(looks, primary, standby), "the query is over")


@provokes("HST01", over_sql=True)
def test_texts_that_another_library_has_ordered_are_found(looks: Looks) -> None:
    """Two releases of an operating system are not to be had here: the version that the database was made with is put
    into the catalogue, as pg_upgrade or a new release of ICU leaves it."""
    debian = next((each for each in installations() if each.name.startswith("system")), None)
    if debian is None or debian.major < 15:
        pytest.skip("Debian's PostgreSQL, which has ICU, is not installed")
    with RealServer(debian) as server:
        server.initdb("--locale-provider=icu", "--icu-locale=en").start()
        assert "HST01" not in found(looks, server)
        server.sql("UPDATE pg_database SET datcollversion = '58.0.6.50' WHERE datname = 'postgres'")
        assert "HST01" in found(looks, server)


@provokes("HST03", "HST17", over_sql=True)
@pytest.mark.chaos
def test_minor_versions_that_differ_are_found(looks: Looks) -> None:
    try:
        before, after = older(17), packaged(17)
    except LookupError as reason:
        pytest.skip(str(reason))
    with RealServer(after) as primary, RealServer(before) as standby, RealServer(after) as same:
        primary.initdb().start()
        for each in (standby, same):
            each.base_backup(primary).start()
        primary.wait_streaming(2)
        assert not {"HST03", "HST17"} & found(looks, primary, same)
        assert {"HST03", "HST17"} <= found(looks, primary, standby)


def test_it_says_what_it_could_not_see_and_who_did_not_answer() -> None:
    installation = installations()[0]
    with RealServer(installation) as server, RealServer(installation) as gone:
        server.initdb().start()
        document = doctor(server, gone)
        unseen = {row["name"]: row["why"] for row in document["unseen"]}
        assert "Only SQL was asked" in unseen[f"127.0.0.1:{server.port}"]
        assert "ARC07" in unseen["rules"], "they say nothing without a host"
        assert "refused" in unseen[f"127.0.0.1:{gone.port}"].lower()
        words = pgtandem("doctor", *_dsns(server))
        assert "pgtandem adopt" in words.out
        server.sql("CREATE ROLE ordinary LOGIN PASSWORD 'known'")
        ordinary = pgtandem("doctor", "--dsn", f"postgres://ordinary:known@127.0.0.1:{server.port}/postgres")
        assert "(doctor asks as a superuser)" in ordinary.refused("PT-2004", 11)
        assert "known" not in ordinary.said.replace(ordinary.command, "")
    assert "PT-2004" in pgtandem("doctor", *_dsns(gone)).err
    pgtandem("doctor", "--dsn", "postgres://a:secret@h:x/").refused("PT-1006", 10)
    pgtandem("doctor", "--dsn", "host=h port=1 nonsense=2").refused("PT-1006", 10)
    pgtandem("doctor", "--dsn", "postgres://h1,h2/").refused("PT-1006", 10)
    pgtandem("doctor", *_dsns(gone, gone)).refused("PT-1006", 10)
