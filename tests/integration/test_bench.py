"""bench durability on real servers: what it shows, and that nothing of it stays."""

import json
from collections.abc import Iterator

import pytest

from support.clusters import Cluster, installation
from support.servers import wait_until

pytestmark = pytest.mark.real

FAST = ("bench", "durability", "--seconds", "1", "--clients", "2", "--scale", "1", "--yes")


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    # Only some installations have client programs of their own.
    with Cluster(on=installation(18), replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        yield cluster


def databases(cluster: Cluster) -> list[str]:
    return [row[0] for row in cluster.rows("db1", "SELECT datname FROM pg_database ORDER BY 1")]


BEFORE = ["postgres", "template0", "template1"]


def test_five_levels_are_measured_what_a_killed_run_left_goes_first_and_nothing_is_different_afterwards(
    pair: Cluster,
) -> None:
    running = pair.start(*FAST[:2], "--seconds", "60", "--scale", "1", "--yes")
    wait_until(lambda: pair.sql("db1", _AT_WORK), "pgbench is at work", 60)
    running.kill()
    assert "pgtandem_bench" in databases(pair)
    settings = "SELECT name, setting, source FROM pg_settings WHERE name LIKE 'synchronous%' ORDER BY 1"
    before = pair.rows("db1", settings)
    done = pair.ok(*FAST, "--json", "-o", "bench.svg")
    assert "removing the database pgtandem_bench of an earlier run" in done.err
    document = json.loads(done.out)
    assert [level["durability"] for level in document["levels"]] == [
        "off",
        "local",
        "remote_write",
        "on",
        "remote_apply",
    ]
    for level in document["levels"]:
        assert level["not_run"] is None
        assert level["tps"] > 0
        assert level["latency_ms"] > 0
        assert level["transactions"] > 0
    assert (pair.folder / "bench.svg").read_text().count('class="bar') == 5
    assert databases(pair) == BEFORE
    assert pair.rows("db1", settings) == before
    pair.converged()
    assert pair.password() not in done.said


def test_ctrl_c_removes_the_database(pair: Cluster) -> None:
    running = pair.start(*FAST[:2], "--seconds", "60", "--scale", "1", "--yes")
    wait_until(lambda: pair.sql("db1", _AT_WORK), "pgbench is at work", 60)
    running.interrupt()
    done = running.end(60)
    assert done.exit_code == 130 or "[PT-4009]" in done.err, done.said
    assert "the scratch database was removed" in done.err
    assert databases(pair) == BEFORE


_AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'pgtandem_bench' AND application_name = 'pgbench'"


@pytest.mark.chaos
def test_one_that_was_cut_off_before_it_had_its_mark_is_removed(pair: Cluster) -> None:
    pair.sql("db1", "CREATE DATABASE pgtandem_bench TEMPLATE template0 ALLOW_CONNECTIONS false")
    pair.ok(*FAST[:2], "--seconds", "1", "--scale", "1", "--clients", "1", "--yes")
    assert databases(pair) == BEFORE


def test_a_database_of_that_name_that_is_not_ours_is_not_touched(pair: Cluster) -> None:
    pair.sql("db1", "CREATE DATABASE pgtandem_bench")
    try:
        said = pair.run(*FAST).refused("PT-3061", 12)
        assert "a database pgtandem_bench that pgtandem did not make" in said
        assert "pgtandem_bench" in databases(pair)
    finally:
        pair.sql("db1", "DROP DATABASE pgtandem_bench")


def test_without_a_standby_that_can_confirm_no_level_is_run_that_would_not_end(pair: Cluster) -> None:
    pair.stop_server("db2")
    try:
        levels = json.loads(pair.ok(*FAST, "--json").out)["levels"]
    finally:
        pair.up()
    assert [level["not_run"] is None for level in levels] == [True, True, False, False, False]
    assert "no commit would end" in levels[-1]["not_run"]
    assert databases(pair) == BEFORE


@pytest.mark.chaos
def test_a_standby_that_goes_away_meanwhile_ends_the_run_and_the_database_goes(pair: Cluster) -> None:
    running = pair.start(*FAST[:2], "--seconds", "4", "--clients", "2", "--scale", "1", "--yes", "--json")
    wait_until(lambda: pair.sql("db1", _WAITS), "a commit waits for the standby", 60)
    pair.stop_server("db2")
    try:
        done = running.end(150)
    finally:
        pair.up()
    assert done.exit_code == 0, done.said
    assert "standbys that must confirm went away" in done.out
    assert databases(pair) == BEFORE


_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'pgtandem_bench' AND wait_event = 'SyncRep'"


def test_nobody_is_asked_where_there_is_no_terminal_and_wrong_words_are_refused(pair: Cluster) -> None:
    done = pair.run("bench", "durability")
    done.refused("PT-1007", 10)
    assert "No setting of the cluster changes" in done.out
    pair.run("bench").refused("PT-1006", 10)
    pair.run("bench", "speed", "--yes").refused("PT-1006", 10)
    pair.run("bench", "durability", "--seconds", "0").refused("PT-1006", 10)
    assert databases(pair) == BEFORE
