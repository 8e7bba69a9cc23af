"""Chains of incremental backups: taken from a standby, across a role change, verified, restored from at every link,
kept and removed as wholes. On every installation that has pg_combinebackup."""

import json
from pathlib import Path
from typing import Any

import pytest

from integration.test_restore import ROWS, Past, ask, primary_of
from support.clusters import Cluster
from support.installations import Installation, installations

pytestmark = pytest.mark.chaos

_ABLE = [on for on in installations() if on.major >= 17 and (on.programs / "pg_combinebackup").exists()]


def listed(cluster: Cluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cluster.run("backup", "list", "--json").out)["backups"]
    return found


@pytest.mark.parametrize("on", _ABLE, ids=lambda on: on.name)
def test_a_chain_across_a_switchover_comes_back_from_every_link_and_goes_as_a_whole(on: Installation) -> None:
    with Cluster(on=on) as cluster:
        cluster.topology["backup"] = {"incremental": True, "keep": 1}
        cluster.topology["archive"]["compression"] = "lz4"
        cluster.write()
        cluster.up()
        it = Past(cluster)
        it.write("one", "db1")
        cluster.ok("backup", "--yes")
        it.write("two", "db1")
        it.mark("db1")
        it.write("three", "db1")
        cluster.ok("backup", "--yes")
        it.write("four", "db1")
        it.mark("db1")
        cluster.ok("switchover", "--yes")
        it.write("five", "db2")
        cluster.shows_row("db1", "five")
        cluster.ok("backup", "--yes")
        it.write("six", "db2")
        it.mark("db2")
        it.write("seven", "db2")
        it.settle("db2")
        full, first, second = listed(cluster)
        assert [each["kind"] for each in (full, first, second)] == ["full", "incremental", "incremental"]
        assert (first["parent"], second["parent"]) == (full["label"], first["label"])
        assert (full["node"], first["node"], second["node"]) == ("db2", "db2", "db1"), "from the standby of the time"
        assert (first["timeline"], second["timeline"]) == (1, 2)
        assert second["size_bytes"] < full["size_bytes"]
        cluster.ok("backup", "verify")
        for (moment, rows), label in zip(it.marks, (full["label"], first["label"], second["label"]), strict=True):
            into = str(cluster.folder / "data" / f"from-{label}")
            done = cluster.ok("restore", "--to", moment, "--into", into, "--yes")
            assert label in done.out
            assert ask(cluster, done, ROWS) == rows
            cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", into)
        drilled = cluster.ok("drill", "--query", "SELECT count(*) FROM note", "--yes").out
        assert f"the query says {len(it.rows)}" in drilled
        cluster.converged()

        # What is damaged below breaks what stands on it, and says so.
        base = Path(full["folder"]) / "base.tar.lz4"
        content = base.read_bytes()
        base.write_bytes(content[: len(content) // 2])
        cluster.run("backup", "verify", full["label"]).refused("PT-4053", 13)
        cluster.run("restore", "--to", it.marks[2][0], "--yes").refused("PT-4055", 13)
        base.write_bytes(content)
        cluster.ok("backup", "verify")

        # A full one takes the place of the whole chain.
        done = cluster.ok("backup", "--full", "--yes")
        assert [done.out.index(f"remove backup {each['label']}") for each in (second, first, full)] == sorted(
            done.out.index(f"remove backup {each['label']}") for each in (second, first, full)
        ), "the last of a chain first"
        (left,) = listed(cluster)
        assert left["kind"] == "full"
        assert "the query says" in cluster.ok("drill", "--query", "SELECT count(*) FROM note", "--yes").out


@pytest.mark.parametrize("on", _ABLE, ids=lambda on: on.name)
def test_the_cluster_goes_back_to_a_moment_after_an_incremental_backup(on: Installation) -> None:
    with Cluster(on=on) as cluster:
        cluster.topology["backup"] = {"incremental": True}
        cluster.write()
        cluster.up()
        it = Past(cluster)
        it.write("one", "db1")
        cluster.ok("backup", "--yes")
        it.write("two", "db1")
        cluster.ok("backup", "--yes")
        it.write("three", "db1")
        it.mark("db1")
        cluster.write_row("a mistake")
        it.settle("db1")
        cluster.ok("restore", "--to", it.marks[0][0], "--node", "db1", "--yes", seconds=300)
        assert primary_of(cluster) == "db1"
        for node in cluster.nodes:
            assert [row[0] for row in cluster.rows(node, ROWS)] == it.rows
        cluster.converged()
        # What was copied since another history is not continued.
        cluster.write_row("afterwards")
        cluster.ok("backup", "--yes")
        assert "the query says 4" in cluster.ok("drill", "--query", "SELECT count(*) FROM note", "--yes").out
