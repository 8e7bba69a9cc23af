"""The packages were updated: plan says which servers run an older version, and apply restarts them one by one."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.installations import older, packaged
from support.provoking import Looks, ids, provokes
from support.writer import Writer

pytestmark = pytest.mark.chaos


@pytest.fixture
def updated() -> Iterator[Cluster]:
    """A cluster on 17.9, in whose folder of programs there is 17.10 now."""
    try:
        before, after = older(17), packaged(17)
    except LookupError as reason:
        pytest.skip(str(reason))
    with Cluster(standbys=2, on=before, replication={"synchronous": "any 1"}) as cluster:
        programs = cluster.base / "programs"
        point(programs, before.programs)
        cluster.installation = replace(before, programs=programs)
        cluster.topology["cluster"]["binaries"] = str(programs)
        cluster.write()
        cluster.up()
        assert versions(cluster) == ["17.9"] * 3
        point(programs, after.programs)
        yield cluster


def point(link: Path, folder: Path) -> None:
    hidden = link.with_name("programs.new")
    hidden.symlink_to(folder)
    os.rename(hidden, link)


def versions(cluster: Cluster) -> list[str]:
    return [cluster.setting(node, "server_version").split()[0] for node in cluster.nodes]


@provokes("HST16")
def test_servers_that_run_an_older_version_are_restarted_the_primary_last(updated: Cluster, looks: Looks) -> None:
    assert "db1 waits for a restart: it runs 17.9, and 17.10 is installed" in " ".join(
        updated.run("status").out.split()
    )
    assert "HST16" in looks.take(ids(json.loads(updated.run("doctor", "--json").out)))
    assert updated.step_kinds()[:3] == [("restart", "db2"), ("restart", "db3"), ("restart", "db1")]
    with Writer(updated) as writer:
        updated.apply()
        writer.goes_on()
    looks.take(ids(json.loads(updated.run("doctor", "--json").out)))
    assert versions(updated) == ["17.10"] * 3
    writer.everything_is_on(*updated.nodes)


def test_a_switchover_takes_the_place_of_the_primarys_restart(updated: Cluster) -> None:
    pg_ctl = str(updated.installation.programs / "pg_ctl")  # the new one
    for node in ("db2", "db3"):
        data = str(updated.data(node))
        updated.stop_server(node)
        updated.program(pg_ctl, "start", "-w", "-D", data, "-l", f"{data}.log")
    with Writer(updated) as writer:
        updated.ok("switchover", "--to", "db2", "--yes")
        writer.goes_on()
    assert versions(updated) == ["17.10"] * 3
    updated.converged()
    writer.everything_is_on(*updated.nodes)
