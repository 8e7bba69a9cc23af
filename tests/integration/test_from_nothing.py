"""The main job: from an empty folder to a verified pair, again and again, and back to nothing."""

import json
import os
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from support.clusters import Cluster, free_ports
from support.installations import Installation, installations


@pytest.fixture(scope="module", params=installations(), ids=lambda found: found.name)
def pair(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    found: Installation = request.param
    with Cluster(on=found) as cluster:
        cluster.up()
        yield cluster


def test_up_builds_a_streaming_archived_pair_of_that_version(pair: Cluster) -> None:
    assert pair.states() == {"db1": ("primary", "running"), "db2": ("standby", "streaming")}
    version = int(pair.setting("db1", "server_version_num")) // 10000
    assert version == pair.installation.major
    assert pair.sql("db2", "SELECT pg_is_in_recovery()") is True
    pair.write_row("written on the primary")
    pair.shows_row("db2", "written on the primary")
    archived = pair.sql("db1", "SELECT last_archived_wal FROM pg_stat_archiver")
    assert archived is not None
    assert archived[:24] in pair.archived()


def test_up_again_has_nothing_to_do(pair: Cluster) -> None:
    before = pair.started_at("db1"), pair.started_at("db2"), pair.journal_lines()
    done = pair.up()
    assert "nothing to do" in done.out
    assert (pair.started_at("db1"), pair.started_at("db2"), pair.journal_lines()) == before
    assert "nothing to do" in pair.ok("apply", "--yes").out


def test_plan_answers_0_when_converged_and_2_after_an_edit(pair: Cluster) -> None:
    assert pair.run("plan").exit_code == 0
    document = pair.plan()
    assert document["converged"] is True
    assert document["steps"] == []

    pair.topology["parameters"]["work_mem"] = "5MB"
    pair.write()
    changed = pair.run("plan")
    assert changed.exit_code == 2
    assert "work_mem" in changed.out
    assert pair.plan()["converged"] is False
    assert pair.setting("db1", "work_mem") != "5MB", "plan changes nothing"

    del pair.topology["parameters"]["work_mem"]
    pair.write()
    assert pair.run("plan").exit_code == 0


def test_status_as_json_has_the_documented_shape(pair: Cluster) -> None:
    document = pair.status()
    assert document["cluster"] == "shop"
    assert document["primary"] == "db1"
    assert document["problems"] == []
    primary, standby = document["nodes"]
    assert (primary["name"], primary["role"], primary["state"]) == ("db1", "primary", "running")
    assert (standby["name"], standby["role"], standby["state"]) == ("db2", "standby", "streaming")
    assert (primary["upstream"], standby["upstream"]) == (None, "db1")
    assert (primary["timeline"], standby["timeline"]) == (1, 1)
    assert isinstance(standby["lag_bytes"], int)
    assert isinstance(standby["replay_lag_seconds"], float | int)
    assert (primary["port"], standby["port"]) == (pair.port("db1"), pair.port("db2"))


def test_the_uri_leads_a_client_to_the_primary_or_to_a_standby(pair: Cluster) -> None:
    for options, recovering in (
        ((), False),
        (("--read-write",), False),
        (("--read-only",), True),
        (("--node", "db2"), True),
    ):
        uri = pair.ok("uri", *options).out.strip()
        with psycopg.connect(uri) as connection:
            assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (recovering,), uri
        said = subprocess.run(
            [pair.programs() / "psql", "-XAtc", "SELECT pg_is_in_recovery()", uri],
            env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert said.stdout == f"{'t' if recovering else 'f'}\n", said.stderr
    assert json.loads(pair.ok("uri", "--json").out)["uri"] == pair.ok("uri").out.strip()
    assert pair.password() not in pair.ok("uri").out


def test_psql_opens_on_the_primary_and_on_any_node(pair: Cluster) -> None:
    assert pair.ok("psql", "--", "-XAtc", "SELECT pg_is_in_recovery()").out == "f\n"
    assert pair.ok("psql", "--read-only", "--", "-XAtc", "SELECT pg_is_in_recovery()").out == "t\n"
    assert pair.ok("psql", "--node", "db2", "--", "-XAtc", "SHOW cluster_name").out == "shop/db2\n"
    assert pair.run("psql", "--", "-XAtc", "SELEKT").exit_code == 1
    pair.run("psql", "--node", "db3").refused("PT-1006", 10)


def test_what_would_change_something_asks_first(pair: Cluster) -> None:
    for command in (("down",), ("down", "--destroy")):
        done = pair.run(*command)
        done.refused("PT-1007", 10)
        assert "--yes" in done.err
    assert pair.pid("db1") is not None


def test_down_stops_and_up_starts_again_with_every_row(pair: Cluster) -> None:
    pair.write_row("before down")
    pair.ok("down", "--yes")
    assert pair.processes() == {}
    assert pair.states() == {"db1": ("primary", "stopped"), "db2": ("standby", "stopped")}
    assert pair.run("plan").exit_code == 2
    assert "nothing to do" in pair.ok("down", "--yes").out
    pair.up()
    pair.converged()
    assert pair.sql("db1", "SELECT count(*) FROM note WHERE text = 'before down'") == 1
    pair.shows_row("db2", "before down")


def test_destroy_leaves_nothing_it_made_and_everything_it_did_not_make(pair: Cluster) -> None:
    """The last of the module: it takes the shared pair away."""
    (pair.folder / "notes.txt").write_text("the user's own")
    beside = pair.data("db1").parent / "the users own file beside the data"
    beside.write_text("x")
    foreign_archive = pair.archive / "12345-not-a-system"
    foreign_archive.mkdir()
    (foreign_archive / "segment").write_text("WAL of another")
    pair.ok("down", "--destroy", "--yes")
    assert pair.processes() == {}
    left = sorted(os.path.relpath(path, pair.folder) for path in pair.folder.rglob("*"))
    assert left == [
        "archive", "archive/12345-not-a-system", "archive/12345-not-a-system/segment",
        "data", "data/the users own file beside the data",
        "notes.txt", "pgtandem.toml",
    ]  # fmt: skip


def test_destroy_of_a_cluster_alone_leaves_only_the_topology_file() -> None:
    with Cluster(standbys=0) as cluster:
        cluster.up()
        cluster.ok("down", "--yes")
        cluster.ok("down", "--destroy", "--yes")
        assert [path.name for path in cluster.folder.rglob("*")] == ["pgtandem.toml"]
        assert cluster.processes() == {}


def test_up_in_an_empty_folder_writes_the_topology_file_first() -> None:
    with Cluster() as cluster:
        cluster.file.unlink()
        port = free_ports(1)[0]
        cluster.ok("init", "--name", "first-one", "--port", str(port), "--synchronous", "any 1")
        cluster.run("init").refused("PT-1005", 10)
        done = cluster.up()
        assert "first-one" in done.out
        assert cluster.run("plan").exit_code == 0
        assert cluster.sql("db1", "SHOW synchronous_standby_names", port=port) == 'ANY 1 ("db2")'
        cluster.ok("down", "--destroy", "--yes")
        assert [path.name for path in cluster.folder.rglob("*")] == ["pgtandem.toml"]


def test_every_named_folder_of_programs_serves() -> None:
    """`binaries` as a path and as a word: Debian's packages are found by both."""
    system = [found for found in installations() if found.name.startswith("system")]
    if not system:
        pytest.skip("there is no PostgreSQL package on this machine")
    with Cluster(standbys=0, on=system[0]) as cluster:
        for word in ("auto", "system", str(system[0].programs)):
            cluster.topology["cluster"]["binaries"] = word
            cluster.write()
            assert cluster.run("plan").exit_code == 2
        cluster.topology["cluster"]["binaries"] = "system"
        cluster.write()
        cluster.up()
        assert cluster.programs() == system[0].programs
