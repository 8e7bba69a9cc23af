"""A real PgBouncer before the cluster: its clients see no error and one pause, and are never left waiting."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from support.clusters import Cluster
from support.pgbouncers import PROGRAM, Pgbouncer
from support.provoking import Looks, ids, provokes
from support.servers import wait_until
from support.writer import Writer

from .conftest import TellLines

pytestmark = [pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")]


class Pooled(Cluster):
    """A pair with a PgBouncer before it, running and right."""

    def __init__(self, **options: object) -> None:
        super().__init__(standbys=1, **options)  # type: ignore[arg-type]
        self.pool = Pgbouncer(self.base / "pool1", self.folder / "led" / "databases.ini", self.password)

    def __exit__(self, *_: object) -> None:
        self.pool.kill()
        super().__exit__(*_)

    def declare(self, **more: object) -> None:
        """Writes it into the topology file."""
        self.topology["pgbouncers"] = {"pool1": self.pool.table(**more)}
        self.write()

    def leads_to(self, database: str = "shop") -> str:
        """The node whose port a database leads to."""
        port = int(self.pool.database(database)["port"])
        return next(node for node in self.nodes if self.nodes[node]["port"] == port)

    def primary(self) -> str:
        (name,) = [name for name, (role, _) in self.states().items() if role == "primary"]
        return name

    def is_well(self) -> None:
        """Nothing is left to do, and clients are led to the primary and do not wait."""
        self.converged()
        assert self.leads_to("shop") == self.primary()
        assert not self.pool.database("shop")["paused"]


@pytest.fixture(scope="module")
def pooled() -> Iterator[Pooled]:
    with Pooled() as cluster:
        cluster.declare(read_only_databases={"shop_ro": "postgres"})
        done = cluster.up()
        assert "PgBouncer pool1 cannot be asked" in done.out, "it does not run yet, and its file is written"
        cluster.pool.start()
        cluster.is_well()
        yield cluster


def test_a_switchover_there_and_back_shows_clients_no_error_and_one_pause(pooled: Pooled) -> None:
    with Writer(pooled, pooled.pool.uri()) as writer:
        for _ in range(2):
            before = pooled.primary()
            pooled.ok("switchover", "--yes")
            assert pooled.primary() != before
            writer.goes_on()
            pooled.is_well()
            assert pooled.leads_to("shop_ro") == before, "the standby serves reads"
    assert writer.errors == []
    writer.everything_is_on("db1", "db2")


def test_a_transaction_that_does_not_end_ends_the_switchover_and_not_the_clients(pooled: Pooled) -> None:
    before = pooled.primary()
    with Writer(pooled, pooled.pool.uri()) as writer, pooled.pool.connect() as slow, slow.transaction():
        slow.execute("SELECT 1")
        words = pooled.run("switchover", "--yes", "--max-pause-seconds", "1").refused("PT-4062", 13)
        assert "let the clients of shop wait" in words
        assert f"{before} goes on as the primary. Clients that waited go on." in words
        writer.goes_on()
        assert slow.execute("SELECT 2").fetchone() == (2,), "the transaction goes on"
    assert writer.errors == []
    assert pooled.primary() == before
    pooled.is_well()


def paused(cluster: Pooled) -> None:
    wait_until(lambda: cluster.pool.database("shop")["paused"], "PgBouncer is paused", 60)


def test_a_pgtandem_that_was_killed_in_the_pause_leaves_a_fact_that_the_next_command_mends(pooled: Pooled) -> None:
    before = pooled.primary()
    with Writer(pooled, pooled.pool.uri()) as writer:
        for command in (("apply",), ("switchover",)):
            with pooled.pool.connect() as slow, slow.transaction():
                slow.execute("SELECT 1")
                running = pooled.start("switchover", "--yes")
                paused(pooled)
                running.kill()
                assert "CLIENTS WAIT: PgBouncer pool1 has shop paused" in pooled.run("status").out
            pooled.ok(*command, "--yes")
            writer.goes_on()
            assert (pooled.primary() == before) is (command == ("apply",))
            pooled.is_well()
    assert writer.errors == []
    writer.everything_is_on("db1", "db2")


@provokes("POL01", "POL02", "POL03")
def test_doctor_tells_of_one_that_pauses_leads_astray_or_is_gone(pooled: Pooled, looks: Looks) -> None:
    def look() -> set[str]:
        done = pooled.run("doctor", "--json")
        assert done.exit_code in (0, 2), done.said
        return looks.take(ids(json.loads(done.out)))

    assert not {"POL01", "POL02", "POL03"} & look()
    primary, standby = (str(pooled.nodes[node]["port"]) for node in sorted(pooled.nodes, key=is_not(pooled.primary())))
    pooled.pool.admin("PAUSE shop")
    assert "POL01" in look()
    pooled.pool.admin("RESUME shop")
    pooled.edit(pooled.pool.owned, lambda text: text.replace(primary, standby))
    pooled.pool.admin("RELOAD")
    assert "POL02" in look()
    pooled.ok("apply", "--yes")
    pooled.is_well()
    pooled.pool.kill()
    assert "POL03" in look()
    pooled.pool.start()
    pooled.is_well()


def is_not(primary: str) -> Callable[[str], bool]:
    return lambda node: node != primary


def test_ctrl_c_in_the_pause_lets_the_clients_go_on(pooled: Pooled) -> None:
    before = pooled.primary()
    with Writer(pooled, pooled.pool.uri()) as writer, pooled.pool.connect() as slow, slow.transaction():
        slow.execute("SELECT 1")
        running = pooled.start("switchover", "--yes")
        paused(pooled)
        running.interrupt()
        done = running.end(60)
        assert done.exit_code == 130, done.said
        assert "Clients that waited go on." in done.err
        writer.goes_on()
    assert pooled.primary() == before
    pooled.is_well()
    assert writer.errors == []


def test_a_failover_leads_clients_to_the_new_primary(pooled: Pooled) -> None:
    old = pooled.primary()
    with Writer(pooled, pooled.pool.uri()) as writer:
        pooled.kill_server(old)
        pooled.ok("failover", "--yes")
        began = time.monotonic()
        writer.goes_on()
        assert time.monotonic() - began < 10, "PgBouncer's own wait after a failed connection is over"
        assert pooled.leads_to("shop") == pooled.primary() != old
        pooled.ok("rejoin", old, "--yes")
        pooled.is_well()
        assert pooled.leads_to("shop_ro") == old


def test_a_pgbouncer_that_is_down_stops_a_switchover_and_no_failover(pooled: Pooled) -> None:
    old = pooled.primary()
    pooled.pool.kill()
    try:
        assert "PgBouncer pool1 is out of reach" in pooled.run("switchover", "--yes").refused("PT-3042", 12)
        assert "PgBouncer pool1 cannot be asked" in pooled.run("status").out
        pooled.kill_server(old)
        done = pooled.ok("failover", "--yes")
        assert "PgBouncer pool1 cannot be asked" in done.out
        new = pooled.primary()
        assert new != old
    finally:
        pooled.pool.start()
    assert pooled.leads_to("shop") == new, "it reads the file when it starts"
    pooled.ok("rejoin", old, "--yes")
    pooled.is_well()


def test_what_somebody_else_changed_is_told_and_put_right(pooled: Pooled) -> None:
    primary, text = pooled.primary(), pooled.pool.owned.read_text()
    standby = "db2" if primary == "db1" else "db1"
    port = str(pooled.nodes[standby]["port"])
    pooled.edit(pooled.pool.owned, lambda text: re.sub(r"(shop = .* port=)\d+", rf"\g<1>{port}", text))
    pooled.pool.admin("RELOAD")
    assert f"PgBouncer pool1 leads shop to {standby}, not to {primary}" in pooled.run("status").out
    assert ("repoint", "pool1") in pooled.step_kinds()
    pooled.ok("apply", "--yes")
    assert pooled.pool.owned.read_text() == text
    assert "password" not in text
    assert pooled.pool.owned.stat().st_mode & 0o777 == 0o644, "it holds no secret, and PgBouncer must read it"
    pooled.pool.admin("PAUSE shop")
    assert pooled.step_kinds() == [("resume", "pool1")]
    pooled.ok("apply", "--yes")
    pooled.is_well()


def test_a_file_that_is_not_included_and_a_password_that_others_may_read_are_told(pooled: Pooled) -> None:
    pooled.declare(databases={"shop": "postgres", "more": "postgres"}, file="elsewhere/databases.ini")
    try:
        words = pooled.run("apply", "--yes").refused("PT-4061", 13)
        assert "%include" in words
        assert "elsewhere/databases.ini" in words
        pooled.pool.password_file.chmod(0o644)
        assert "Others than its owner may read" in pooled.run("status").out
    finally:
        pooled.pool.password_file.chmod(0o600)
        pooled.declare(read_only_databases={"shop_ro": "postgres"})
    pooled.ok("apply", "--yes")
    pooled.is_well()


def test_a_folder_that_the_account_may_not_write_in_is_told_before_anything_is_done(pooled: Pooled) -> None:
    closed = pooled.folder / "closed"
    closed.mkdir(mode=0o555)
    pooled.topology["pgbouncers"]["pool1"]["file"] = str(closed / "databases.ini")
    pooled.write()
    said = " ".join(pooled.run("plan").out.split())
    assert "databases.ini is out of reach" in said
    assert "may not" in said
    assert "Then: chmod" in said or "Then: chown" in said
    pooled.topology["pgbouncers"]["pool1"]["file"] = str(pooled.folder / "led" / "databases.ini")
    pooled.write()
    pooled.is_well()


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_killed_at_every_line_of_the_journal_clients_see_no_error_and_go_on_after_the_next_command(
    tell_lines: TellLines,
) -> None:
    with Pooled() as cluster:
        cluster.declare()
        cluster.up()
        cluster.pool.start()
        lines = 1
        while True:
            before = cluster.journal_lines()
            with Writer(cluster, cluster.pool.uri()) as writer:
                running = cluster.start("switchover", "--yes")
                wait_until(
                    lambda running=running, before=before, lines=lines: (
                        cluster.journal_lines() - before >= lines or not running.alive
                    ),
                    f"line {lines}",
                    120,
                )
                cut_off = running.alive
                running.kill()
                cluster.ok(*(("switchover", "--yes") if lines % 2 else ("apply", "--yes")))
                writer.goes_on()
            # One that was killed between the stop and the pause of nobody may show its clients the stopped primary.
            cluster.is_well()
            writer.everything_is_on("db1", "db2")
            if not cut_off:
                tell_lines(lines - 1)
                return
            lines += 1


@pytest.mark.chaos
def test_a_pgbouncer_that_freezes_in_the_pause_is_told_and_found_paused_when_it_thaws(pooled: Pooled) -> None:
    before = pooled.primary()
    assert pooled.pool.process is not None
    with pooled.pool.connect() as slow, slow.transaction():
        slow.execute("SELECT 1")
        running = pooled.start("switchover", "--yes", "--max-pause-seconds", "8")
        paused(pooled)
        pooled.pool.process.send_signal(signal.SIGSTOP)
        try:
            words = running.end(120).refused("PT-4062", 13)
        finally:
            pooled.pool.process.send_signal(signal.SIGCONT)
        assert f"{before} goes on as the primary. PgBouncer pool1 cannot be asked" in " ".join(words.split())
    assert "CLIENTS WAIT" in pooled.run("status").out
    pooled.ok("apply", "--yes")
    assert pooled.primary() == before
    pooled.is_well()


def test_a_frozen_pgbouncer_is_waited_for_no_longer_than_a_server(pooled: Pooled) -> None:
    assert pooled.pool.process is not None
    pooled.pool.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert "PgBouncer pool1 cannot be asked" in pooled.run("status").out
        assert time.monotonic() - began < 25
    finally:
        pooled.pool.process.send_signal(signal.SIGCONT)
    with pooled.pool.connect() as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), pooled.pool.connect("shop_ro") as connection:
        connection.execute("CREATE TABLE nothing ()")
