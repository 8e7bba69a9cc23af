"""Every major version from 10 to 18 by the same rules: built, changed, hurt, mended, removed, on its own servers.

`make test` runs the three that differ most among those that no other test has: 11 (recovery.conf), 13 (wal_keep_size)
and 17. `make majors` runs all of them.
"""

import json
import re
from collections.abc import Iterator

import pytest

from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, Installation, packaged
from support.servers import wait_until

MAJORS = tuple(range(10, 19))
EVERY_TIME = (11, 13, 17)


def _params() -> list[object]:
    return [
        pytest.param(major, id=str(major), marks=() if major in EVERY_TIME else pytest.mark.chaos) for major in MAJORS
    ]


def _installation(major: int) -> Installation:
    try:
        return packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module", params=_params())
def major(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def three(major: int) -> Iterator[Cluster]:
    """A primary, a standby, and one more below that; archived, a commit waits for the standby."""
    keep = {"wal_keep_segments": 4} if major < 13 else {"wal_keep_size": "64MB"}
    replication = {"synchronous": "any 1"}
    with Cluster(standbys=2, on=_installation(major), replication=replication, parameters=keep) as cluster:
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.write()
        cluster.up()
        yield cluster


def test_the_programs_of_another_major_are_refused_by_name() -> None:
    with Cluster(on=_installation(17)) as cluster:
        cluster.topology["cluster"]["postgresql"] = 16
        cluster.write()
        words = cluster.run("plan").refused("PT-3005", 12)
        assert f"{cluster.installation.programs} has PostgreSQL 17." in words
        assert "write postgresql = 17 under [cluster]" in words


def test_a_newer_version_than_tested_is_refused_until_the_file_allows_it() -> None:
    with Cluster(on=_installation(17)) as cluster:
        cluster.topology["cluster"]["postgresql"] = 19
        cluster.write()
        assert "allow_untested_postgresql = true" in cluster.run("plan").refused("PT-1004", 10)
        cluster.topology["cluster"]["allow_untested_postgresql"] = True
        cluster.write()
        assert "has PostgreSQL 17." in cluster.run("plan").refused("PT-3005", 12)
        status = cluster.run("status")
        assert "Warning: PostgreSQL 19 is newer than 18" in status.out
        assert "Warning: PostgreSQL 19" in cluster.status()["remarks"][0]


def test_doctor_finds_only_what_is_so(three: Cluster, major: int) -> None:
    """One standby confirms and it is the only one (SYN01); which majors are past their last day, the calendar says."""
    document = json.loads(three.run("doctor", "--json").out)
    assert {finding["id"] for finding in document["findings"]} - {"HST15"} == {"SYN01"}
    assert document["unseen"] == []
    assert {note["id"] for note in document["notes"]} <= {"ARC04", "ARC12", "RST10"} | (
        {"REP12"} if major < 13 else set()
    )


def test_from_nothing_to_a_streaming_archived_cascade(three: Cluster, major: int) -> None:
    assert three.run("plan").exit_code == 0
    assert three.sql("db1", "SELECT current_setting('server_version_num')::int / 10000") == major
    assert three.streams("db1") == ["db2"]
    assert three.streams("db2") == ["db3"]
    assert three.slots("db1") == ["pgtandem_db2"]
    assert three.slots("db2") == ["pgtandem_db3"]
    assert [(node["name"], node["role"], node["state"], node["upstream"]) for node in three.status()["nodes"]] == [
        ("db1", "primary", "running", None),
        ("db2", "standby", "streaming", "db1"),
        ("db3", "standby", "streaming", "db2"),
    ]
    assert three.sql("db1", "SELECT sync_state FROM pg_stat_replication") == "quorum"
    three.write_row("through the cascade")
    three.shows_row("db2", "through the cascade")
    three.shows_row("db3", "through the cascade")


def test_a_standby_is_one_by_the_file_of_its_version(three: Cluster, major: int) -> None:
    for name, standby in (("db1", False), ("db2", True), ("db3", True)):
        assert (three.data(name) / "recovery.conf").exists() == (standby and major < 12)
        assert (three.data(name) / "standby.signal").exists() == (standby and major >= 12)
        if major < 13:
            assert three.setting(name, "wal_keep_segments") == "4"
        else:
            assert three.setting(name, "wal_keep_size") == "64MB"
            assert re.fullmatch(r"\d+(MB|GB|TB)", three.setting(name, "max_slot_wal_keep_size"))


def test_a_stopped_standby_catches_up_from_the_archive(three: Cluster) -> None:
    three.stop_server("db3")
    assert three.states()["db3"][1] == "stopped"
    three.write_row("while db3 was away")
    segment = three.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())")
    three.sql("db1", "SELECT pg_switch_wal()")
    wait_until(lambda: segment in three.archived(), f"{segment} is archived")
    assert three.sql("db1", "SELECT failed_count FROM pg_stat_archiver") == 0
    three.ok("apply", "--yes")
    three.shows_row("db3", "while db3 was away")
    assert f'restored log file "{segment}" from archive' in three.log("db3")


def test_what_a_reload_does_restarts_nobody(three: Cluster) -> None:
    """recovery.conf (up to 11) is only read at a start: it is not to be written again with what it has."""
    before = {name: three.pid(name) for name in three.nodes}
    three.topology["parameters"]["work_mem"] = "5MB"
    three.write()
    done = three.ok("apply", "--yes")
    assert "restart" not in done.out
    assert {name: three.pid(name) for name in three.nodes} == before
    assert three.setting("db3", "work_mem") == "5MB"


def test_more_and_fewer_connections_keep_every_standby_running(three: Cluster) -> None:
    for connections in (120, 60):
        three.topology["parameters"]["max_connections"] = connections
        three.write()
        three.ok("apply", "--yes")
        assert {three.setting(name, "max_connections") for name in three.nodes} == {str(connections)}
    assert not any("insufficient parameter settings" in three.log(name) for name in three.nodes)


def test_killed_servers_are_started_again(three: Cluster) -> None:
    """kill -9 of the primary's postmaster and of the last standby's."""
    three.kill_server("db3")
    three.kill_server("db1")
    three.apply()
    three.write_row("after the kills")
    three.shows_row("db3", "after the kills")


def test_down_leaves_data_and_destroy_leaves_nothing(three: Cluster, major: int) -> None:
    three.ok("down", "--yes")
    assert three.processes() == {}
    assert all((three.data(name) / "PG_VERSION").read_text() == f"{major}\n" for name in three.nodes)
    three.ok("down", "--destroy", "--yes")
    assert three.processes() == {}
    assert {path.name for path in three.folder.iterdir()} == {"pgtandem.toml"}
