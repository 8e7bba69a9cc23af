"""A disk of the archive that fills up under a cluster: it is named with what to do, and no more once there is room."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.hosts import Hosts, why_no_hosts
from support.program import Done
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

SWITCH = "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')"
#: What does not compress on its way: a segment that is nearly empty is archived with holes over SSH.
FULL_SEGMENT = """SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(false, 'test', string_agg(
    sha512(random()::text::bytea), '')) FROM generate_series(1, 250000)) AS written"""
HELD = "never remove files from pg_wal"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(standbys=0) as made:
        disk = made.folder / "disk"
        made.topology["archive"]["directory"] = str(disk / "archive")
        made.write()
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tmpfs", str(disk)], check=True)
        try:
            made.own(disk)
            made.up()
            yield made
        finally:
            made.run("down", "--yes")
            subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leaves so many megabytes."""
    filler, space = disk / "filler", os.statvfs(disk)
    subprocess.run(["fallocate", "-l", str(space.f_bavail * space.f_frsize - (free << 20)), str(filler)], check=True)
    return filler


def found(done: Done) -> dict[str, str]:
    assert done.exit_code in (0, 2), done.said
    return {finding["id"]: json.dumps(finding) for finding in json.loads(done.out)["findings"]}


@pytest.mark.chaos
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_backup_that_does_not_fit_is_refused_before_it_fills_the_disk(cluster: Cluster) -> None:
    """Clearly too large: in the plan. Perhaps: by the server's own word for it, once it has told it."""
    cluster.sql("db1", f"CREATE TABLE much AS SELECT repeat('x', 1000) FROM generate_series(1, 80000); {SWITCH}")
    wait_until(lambda: not cluster.status()["archive_waiting_segments"], "it is archived", 60)
    filler = fill(cluster.folder / "disk", 80)
    refused = cluster.run("backup", "--yes")
    # So small a one may be over before the server's own word for it is read: then the disk has ended it.
    assert "PT-3009" in refused.err or "No space left on device" in refused.err
    assert "make room" in refused.err
    assert "Warning: the archive's disk has" in refused.out
    assert not list((cluster.folder / "disk/archive").glob("*/backups/.*.part"))
    filler.unlink()
    filler = fill(cluster.folder / "disk", 30)
    refused = cluster.run("backup", "--yes")
    refused.refused("PT-3009", 12)
    assert "take a full backup" not in refused.out
    cluster.topology["archive"]["compression"] = "zstd"
    cluster.write()
    cluster.ok("apply", "--yes")
    cluster.ok("backup", "--yes")


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_full_archive_is_named_until_there_is_room(cluster: Cluster) -> None:
    status = cluster.status()
    assert (status["problems"], status["archive_free_bytes"] > 100 << 20) == ([], True)

    filler = fill(cluster.folder / "disk", 10)
    cluster.sql("db1", SWITCH)
    # Its third attempt is the last one for a minute: none takes room from what is measured.
    cluster.wait_for("db1", "SELECT failed_count >= 3 FROM pg_stat_archiver")
    (problem,) = cluster.status()["problems"]
    assert problem.startswith("db1 cannot archive WAL: 1 segment waits; the archive's disk has 10.5 MB free")
    assert HELD in problem
    assert "they stay in pg_wal, whose disk has" in problem
    findings = found(cluster.run("doctor", "--json"))
    assert HELD in findings["ARC05"]
    assert "less than one segment takes" in findings["ARC18"]
    filler.unlink()
    # After three failures the archiver waits for a minute, or for the next segment.
    cluster.sql("db1", SWITCH)
    cluster.wait_for("db1", "SELECT last_archived_time > last_failed_time FROM pg_stat_archiver")
    cluster.nothing_waits_for_the_archive()
    assert cluster.status()["problems"] == []


@pytest.mark.chaos
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_server_whose_disk_is_full_is_named_and_starts_once_there_is_room() -> None:
    with Cluster(standbys=0) as cluster:
        disk = cluster.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "tmpfs", str(disk)], check=True)
        try:
            cluster.own(disk)
            cluster.nodes["db1"]["data_directory"] = str(disk / "db1")
            cluster.write()
            cluster.up()
            cluster.ok("down", "--yes")
            filler = fill(disk, 0)
            problems = cluster.status()["problems"]
            assert "db1 is stopped: its disk has 0 B free. Make room there, but never in pg_wal by hand" in problems
            done = cluster.run("apply", "--yes")
            assert done.exit_code >= 10
            assert "No space left on device" in done.err
            assert "make room on that disk" in done.err
            filler.unlink()
            cluster.apply()
            assert cluster.status()["problems"] == []
            cluster.ok("down", "--yes")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")


@pytest.mark.chaos
@pytest.mark.skipif(_reason is not None, reason=_reason or "")
def test_full_archive_on_another_host_is_named_until_there_is_room() -> None:
    with Hosts(3) as hosts, RemoteCluster(hosts, 2) as cluster:
        cluster.know_hosts()
        archive = f"{cluster.base}/archive"
        cluster.tables["archive"] = {"directory": archive, "host": f"ssh://postgres@{hosts.address('h3')}"}
        for argv in (["mkdir", "-p", archive], ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", archive],
                     ["chown", "-R", "postgres:postgres", cluster.base]):  # fmt: skip
            assert hosts.run("h3", argv).returncode == 0
        cluster.apply()
        assert cluster.status()["problems"] == []

        (free,) = hosts.run("h3", ["df", "--output=avail", "-B1", archive]).stdout.split()[1:]
        size = str(int(free) - (10 << 20))
        assert hosts.run("h3", ["fallocate", "-l", size, f"{archive}/filler"]).returncode == 0
        assert cluster.status()["problems"][0].startswith("the archive's disk is almost full: 10.5 MB free")
        cluster.psql("db1", FULL_SEGMENT)
        cluster.wait_for("db1", "SELECT failed_count > 0 FROM pg_stat_archiver")
        (problem,) = cluster.status()["problems"]
        assert f"at {archive} on host {hosts.address('h3')}, less than one segment takes" in problem
        assert {"ARC05", "ARC18"} <= set(found(cluster.run("doctor", "--json")))
        # A backup that cannot fit is refused before it begins.
        for command, words in (("apply", "No space left on device"), ("backup", "PT-3009")):
            done = cluster.run(command, "--yes")
            assert done.exit_code >= 10
            assert words in done.err
            assert "make room" in done.err
            assert command == "backup" or "less than one segment takes" in done.err

        assert hosts.run("h3", ["rm", f"{archive}/filler"]).returncode == 0
        cluster.psql("db1", SWITCH)
        cluster.wait_for("db1", "SELECT last_archived_time > last_failed_time FROM pg_stat_archiver", 90)
        wait_until(lambda: cluster.status()["archive_waiting_segments"] == 0, "all is archived", 90)
        assert cluster.status()["problems"] == []
        assert not {"ARC05", "ARC18"} & set(found(cluster.run("doctor", "--json")))
        cluster.ok("backup", "--yes")
