"""Changes of the topology file on a running cluster: a primary, two standbys, and one more below the first of them."""

from collections.abc import Iterator

import pytest

from support.clusters import Cluster, free_ports
from support.installations import Installation, installations
from support.processes import alive
from support.servers import wait_until

FLOOR = ("max_connections", "max_worker_processes", "max_locks_per_transaction", "max_prepared_transactions")


def _params() -> list[object]:
    newest, *others = sorted(installations(), key=lambda found: -found.major)
    older = [pytest.param(found, marks=pytest.mark.chaos, id=found.name) for found in others]
    return [pytest.param(newest, id=newest.name), *older]


@pytest.fixture(scope="module", params=_params())
def built(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    found: Installation = request.param
    with Cluster(standbys=3, on=found) as cluster:
        cluster.nodes["db4"]["upstream"] = "db2"
        cluster.write()
        cluster.up()
        yield cluster


@pytest.fixture
def four(built: Cluster) -> Cluster:
    """Converged, as every test must leave it."""
    assert built.run("plan").exit_code == 0, "an earlier test has left changes"
    return built


def starts(cluster: Cluster) -> dict[str, object]:
    return {name: cluster.started_at(name) for name in cluster.nodes}


def restarted(cluster: Cluster, before: dict[str, object]) -> set[str]:
    return {name for name, when in starts(cluster).items() if before.get(name) != when}


def test_a_cascade_streams_and_shows_every_row(four: Cluster) -> None:
    assert four.streams("db1") == ["db2", "db3"]
    assert four.streams("db2") == ["db4"]
    assert four.slots("db1") == ["pgtandem_db2", "pgtandem_db3"]
    assert four.slots("db2") == ["pgtandem_db4"]
    assert {node["name"]: node["upstream"] for node in four.status()["nodes"]} == {
        "db1": None, "db2": "db1", "db3": "db1", "db4": "db2",
    }  # fmt: skip
    four.write_row("down the cascade")
    for name in four.nodes:
        four.shows_row(name, "down the cascade")


def test_a_setting_that_a_reload_takes_restarts_nobody(four: Cluster) -> None:
    before = starts(four)
    four.topology["parameters"]["work_mem"] = "7MB"
    four.nodes["db3"]["parameters"] = {"work_mem": "9MB", "log_min_duration_statement": 250}
    four.apply()
    assert [four.setting(name, "work_mem") for name in four.nodes] == ["7MB", "7MB", "9MB", "7MB"]
    assert four.setting("db3", "log_min_duration_statement") == "250ms"
    del four.nodes["db3"]["parameters"]
    del four.topology["parameters"]["work_mem"]
    four.apply()
    assert four.setting("db3", "work_mem") == "4MB", "a setting that is taken away has its default again"
    assert restarted(four, before) == set()


def test_raising_what_standbys_must_have_restarts_them_before_the_primary(four: Cluster) -> None:
    before = starts(four)
    four.topology["parameters"]["max_connections"] = 130
    four.apply()
    assert {four.setting(name, "max_connections") for name in four.nodes} == {"130"}
    after = starts(four)
    assert restarted(four, before) == set(four.nodes)
    assert max(after[name] for name in ("db2", "db3", "db4")) < after["db1"]  # type: ignore[type-var]


def test_lowering_what_standbys_must_have_restarts_the_primary_before_them(four: Cluster) -> None:
    before = starts(four)
    four.topology["parameters"]["max_connections"] = 70
    four.apply()
    assert {four.setting(name, "max_connections") for name in four.nodes} == {"70"}
    after = starts(four)
    assert restarted(four, before) == set(four.nodes)
    assert min(after[name] for name in ("db2", "db3", "db4")) > after["db1"]  # type: ignore[type-var]
    assert not any("insufficient parameter settings" in four.log(name) for name in four.nodes)


def test_raising_one_and_lowering_another_of_its_kin_at_once(four: Cluster) -> None:
    four.topology["parameters"] |= {"max_connections": 110, "max_worker_processes": 6}
    four.apply()
    four.topology["parameters"] |= {"max_connections": 60, "max_worker_processes": 11, "max_prepared_transactions": 5}
    four.apply()
    for name in four.nodes:
        values = [four.setting(name, setting) for setting in ("max_connections", "max_worker_processes")]
        assert values == ["60", "11"]
    four.topology["parameters"] |= {"max_connections": 90, "max_worker_processes": 8, "max_prepared_transactions": 0}
    four.apply()
    assert not any("insufficient parameter settings" in four.log(name) for name in four.nodes)
    four.write_row("after the settings")
    four.shows_row("db4", "after the settings")


def test_a_standby_is_added_and_removed_and_nobody_else_is_restarted(four: Cluster) -> None:
    before = starts(four)
    four.write_row("before db5 was there")
    four.nodes["db5"] = {"port": free_ports(1)[0], "upstream": "db3", "address": "127.0.0.2"}
    four.apply()
    assert four.streams("db3") == ["db5"]
    assert restarted(four, before) == {"db5"}
    assert four.sql("db5", "SELECT count(*) FROM note WHERE text = 'before db5 was there'") == 1
    assert all("127.0.0.2/32" in (four.data(name) / "pg_hba.conf").read_text() for name in four.nodes)

    # It goes with its slot and its lines in pg_hba.conf, and its data is left.
    before, pid, spec = starts_but(four, "db5"), four.pid("db5"), four.nodes.pop("db5")
    four.apply()
    assert pid is not None
    assert not alive(pid)
    assert four.slots("db3") == []
    assert not any("127.0.0.2" in (four.data(name) / "pg_hba.conf").read_text() for name in four.nodes)
    assert (four.data("db5") / "PG_VERSION").exists()
    assert restarted(four, before) == set()

    # It is as good as before when it is wanted again: nothing is copied.
    inode = (four.data("db5") / "PG_VERSION").stat().st_ino
    four.write_row("while db5 was away")
    four.nodes["db5"] = spec
    four.apply()
    assert four.sql("db5", "SELECT count(*) FROM note WHERE text = 'while db5 was away'") == 1
    assert (four.data("db5") / "PG_VERSION").stat().st_ino == inode
    del four.nodes["db5"]
    four.apply()


def starts_but(cluster: Cluster, left_out: str) -> dict[str, object]:
    return {name: cluster.started_at(name) for name in cluster.nodes if name != left_out}


def test_a_standby_moves_to_another_upstream_without_a_restart(four: Cluster) -> None:
    before = starts(four)
    four.nodes["db4"]["upstream"] = "db3"
    four.apply()
    assert (four.streams("db1"), four.streams("db2"), four.streams("db3")) == (["db2", "db3"], [], ["db4"])
    assert (four.slots("db2"), four.slots("db3")) == ([], ["pgtandem_db4"])
    del four.nodes["db4"]["upstream"]
    four.apply()
    assert four.streams("db1") == ["db2", "db3", "db4"]
    four.nodes["db4"]["upstream"] = "db2"
    four.apply()
    assert four.streams("db2") == ["db4"]
    assert restarted(four, before) == set()
    four.write_row("after the moves")
    four.shows_row("db4", "after the moves")


def test_the_middle_of_a_cascade_is_removed_and_put_back(four: Cluster) -> None:
    spec = four.nodes.pop("db2")
    del four.nodes["db4"]["upstream"]
    four.apply()
    assert four.streams("db1") == ["db3", "db4"]
    assert four.slots("db1") == ["pgtandem_db3", "pgtandem_db4"]
    four.topology["nodes"] = {"db1": four.nodes["db1"], "db2": spec, **four.nodes}
    four.nodes["db4"]["upstream"] = "db2"
    four.apply()
    assert four.streams("db1") == ["db2", "db3"]
    assert four.streams("db2") == ["db4"]


def test_the_port_of_a_standby_changes(four: Cluster) -> None:
    before = starts_but(four, "db2")
    old = four.nodes["db2"]["port"]
    four.nodes["db2"]["port"] = free_ports(1)[0]
    four.apply()
    assert four.port("db2") == four.nodes["db2"]["port"] != old
    assert restarted(four, before) == {"db2"}
    assert four.streams("db2") == ["db4"], "the cascading standby follows it to its new port"
    assert str(old) not in four.ok("uri").out


def test_the_port_of_the_primary_changes(four: Cluster) -> None:
    before = starts_but(four, "db1")
    four.nodes["db1"]["port"] = free_ports(1)[0]
    four.apply()
    assert four.port("db1") == four.nodes["db1"]["port"]
    assert restarted(four, before) == {"db1"}
    four.write_row("through the new port")
    four.shows_row("db4", "through the new port")


def test_two_standbys_swap_their_ports(four: Cluster) -> None:
    two, three = four.nodes["db2"]["port"], four.nodes["db3"]["port"]
    four.nodes["db2"]["port"], four.nodes["db3"]["port"] = three, two
    four.apply()
    assert (four.port("db2"), four.port("db3")) == (three, two)
    assert four.streams("db1") == ["db2", "db3"]


def test_archiving_is_taken_away_and_given_back(four: Cluster) -> None:
    archive = four.topology.pop("archive")
    four.apply()
    assert four.setting("db1", "archive_mode") == "off"
    assert four.archived()
    four.topology["archive"] = archive
    four.apply()
    before = set(four.archived())
    four.sql("db1", "SELECT pg_logical_emit_message(false, 'test', 'x')")
    four.sql("db1", "SELECT pg_switch_wal()")
    wait_until(lambda: set(four.archived()) - before, "a segment is archived")


def test_commits_wait_for_whom_the_file_names_in_the_end(four: Cluster) -> None:
    four.topology["replication"] = {"synchronous": "any 2", "durability": "remote_apply"}
    four.apply()
    assert four.setting("db1", "synchronous_standby_names") == 'ANY 2 ("db2", "db3")'
    four.nodes["db6"] = {"port": free_ports(1)[0]}
    four.apply()
    assert four.setting("db1", "synchronous_standby_names") == 'ANY 2 ("db2", "db3", "db6")'
    # A synchronous standby goes: writes must never wait for it.
    del four.nodes["db6"]
    four.topology["replication"] = {"synchronous": "first 2"}
    four.apply()
    four.write_row("nobody waits", "db1")
    assert four.setting("db1", "synchronous_standby_names") == 'FIRST 2 ("db2", "db3")'
    four.topology["replication"] = {}
    four.apply()
    assert four.setting("db1", "synchronous_standby_names") == ""


def test_standbys_restart_one_after_the_other(four: Cluster) -> None:
    """Under "any 1" no commit waits for a restart: one of the two streams at every moment."""
    four.topology["replication"] = {"synchronous": "any 1"}
    four.apply()
    before = starts(four)
    for name in ("db2", "db3"):
        four.nodes[name]["parameters"] = {"max_connections": 177}
    four.write()
    seen: list[int] = []
    running = four.start("apply", "--yes")
    with four.connect("db1") as connection:
        while running.alive:
            row = connection.execute("SELECT count(*) FROM pg_stat_replication WHERE application_name <> ''").fetchone()
            assert row is not None
            seen.append(row[0])
    done = running.end()
    assert done.exit_code == 0, done.said
    assert restarted(four, before) == {"db2", "db3"}
    assert 1 in seen, "a restart was seen"
    assert min(seen) >= 1
    for name in ("db2", "db3"):
        del four.nodes[name]["parameters"]
    four.topology["replication"] = {}
    four.apply()
