"""pgtandem archive on a real cluster: what it shows, what it finds; and the commands of another tool as the archive."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.servers import wait_until
from support.slots import drop_slot


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster(standbys=1) as cluster:
        cluster.topology["archive"] |= {"compression": "zstd"}
        cluster.write()
        cluster.up()
        cluster.ok("backup", "--yes")
        yield cluster


def finish(cluster: Cluster, count: int) -> list[str]:
    """Finishes so many segments, and waits until they are archived."""
    names = []
    for _ in range(count):
        query = "SELECT pg_walfile_name(pg_current_wal_lsn()) FROM pg_logical_emit_message(false, 'test', 'x')"
        names.append(str(cluster.sql("db1", query)))
        cluster.sql("db1", "SELECT pg_switch_wal()")
    cluster.wait_for("db1", f"SELECT last_archived_wal >= '{names[-1]}' FROM pg_stat_archiver", 60)
    return names


def stored(cluster: Cluster, name: str) -> Path:
    (path,) = cluster.archive.glob(f"*/{name}*")
    return path


def test_a_whole_archive_is_shown_with_what_can_be_restored_from_it(pair: Cluster) -> None:
    names = finish(pair, 3)
    done = pair.run("archive", "verify")
    assert done.exit_code == 0, done.out
    assert names[-1] in done.out
    assert "read and compared with their checksums" in done.out
    shape = json.loads(pair.ok("archive", "--json").out)
    assert shape["damages"] == []
    assert [one["timeline"] for one in shape["timelines"]] == [1]
    assert shape["timelines"][0]["segments"][-1]["last"] == names[-1]
    assert [each["hole"] for each in shape["restorable"]] == [False]


def test_holes_and_damaged_files_are_found(pair: Cluster) -> None:
    names = finish(pair, 4)
    hole, flipped = stored(pair, names[1]), stored(pair, names[2])
    content = flipped.read_bytes()
    hole.rename(pair.folder / hole.name)
    flipped.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    listed = pair.run("archive")
    assert listed.exit_code == 2
    assert f"1 segment missing on timeline 1: {names[1]}" in " ".join(listed.out.split())
    assert f"where {names[1]} is missing" in " ".join(listed.out.split())
    verified = pair.run("archive", "verify")
    assert verified.exit_code == 2
    assert f"{flipped.name} has not the content that was archived" in " ".join(verified.out.split())
    flipped.write_bytes(content)
    (pair.folder / hole.name).rename(hole)
    assert pair.run("archive", "verify").exit_code == 0


def test_a_cluster_with_the_commands_of_another_tool_archives_and_catches_up_by_them() -> None:
    with Cluster(standbys=1, archive=False, parameters={"min_wal_size": "32MB", "max_wal_size": "32MB"}) as cluster:
        # As a user's own script would be: the place is the same for both commands.
        place = cluster.folder / "elsewhere"
        tool = cluster.folder / "keeper"
        tool.write_text(
            "#!/bin/sh\ncase $1 in\n"
            f'push) mkdir -p "{place}" && cp "$2" "{place}/.part" && mv "{place}/.part" "{place}/$3" ;;\n'
            f'get) cp "{place}/$2" "$3" ;;\nesac\n'
        )
        tool.chmod(0o755)
        cluster.folder.chmod(0o777)
        cluster.topology["archive"] = {"command": f"{tool} push %p %f", "restore": f"{tool} get %f %p"}
        cluster.write()
        cluster.up()
        cluster.converged()
        assert "keeper (what it holds, only that tells): last" in cluster.ok("status").out
        refused = cluster.run("archive")
        assert refused.exit_code == 12
        assert "PT-3071" in refused.err
        cluster.stop_server("db2")
        needed = drop_slot(cluster, "db2")
        cluster.write_row("kept by another tool")

        def gone() -> bool:
            finish(cluster, 3)
            cluster.sql("db1", "CHECKPOINT")
            return not (cluster.data("db1") / "pg_wal" / needed).exists()

        wait_until(gone, f"{needed} is gone from the primary", 90)
        cluster.apply()
        cluster.shows_row("db2", "kept by another tool")
        assert f'restored log file "{needed}" from archive' in cluster.log("db2")


@pytest.mark.chaos
def test_a_command_that_is_not_found_is_told_although_postgresql_counts_no_failure() -> None:
    """Above 125 it ends the archiver: pg_stat_archiver says nothing of it, and the disk fills up."""
    with Cluster(standbys=0) as cluster:
        cluster.topology["archive"] = {"command": f"cp %p {cluster.folder}/%f", "restore": f"cp {cluster.folder}/%f %p"}
        cluster.folder.chmod(0o777)
        cluster.write()
        cluster.up()
        assert cluster.status()["problems"] == []
        cluster.sql("db1", "ALTER SYSTEM SET archive_timeout = '1h'")  # what is written below ends no segment by itself
        settings = cluster.data("db1") / "pgtandem/settings.conf"
        settings.write_text(settings.read_text().replace("'cp %p", "'no-such-program %p"))
        cluster.sql("db1", "SELECT pg_reload_conf()")
        cluster.sql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
        wait_until(lambda: cluster.status()["problems"], "it is told", 300)
        (problem,) = cluster.status()["problems"]
        assert problem.startswith("db1 cannot archive WAL: 1 segment waits")
        assert "no-such-program" in problem
        assert cluster.rows("db1", "SELECT failed_count FROM pg_stat_archiver") == [(0,)]
