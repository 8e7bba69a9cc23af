"""Point-in-time recovery under a writer, across a switchover and a failover, from an archive and backups in lz4: every
mark comes back row for row, by the servers' own times of commit, and everything that was acknowledged at the end."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from integration.test_restore import archived, ask
from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, Installation, packaged
from support.servers import wait_until
from support.writer import Writer

pytestmark = pytest.mark.chaos

_MARKS_PER_TIMELINE = 3


@dataclass(frozen=True)
class _Mark:
    """A moment by the primary's clock, in the middle of the writer's rows, and how many were acknowledged before."""

    moment: datetime
    acknowledged: int


def on(major: int) -> Installation:
    try:
        return packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))


def mark(cluster: Cluster, writer: Writer, node: str) -> _Mark:
    writer.goes_on()
    acknowledged = len(writer.acknowledged)
    made = _Mark(cluster.sql(node, "SELECT clock_timestamp()"), acknowledged)
    writer.goes_on()
    return made


def settled(cluster: Cluster, node: str) -> None:
    segment = cluster.sql(node, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    cluster.sql(node, "SELECT pg_switch_wal()")
    wait_until(lambda: archived(cluster, segment), f"{segment} is archived", 60)


@pytest.mark.parametrize("major", [10, 11, 12, 13, 14, 15, 16, 17, 18])
def test_every_mark_comes_back_row_for_row_on_timelines_1_to_3(major: int) -> None:
    # A row is acknowledged when the other node has it: nothing that was acknowledged goes with a primary.
    synchronous = {"synchronous": "any 1"}
    settings = {"track_commit_timestamp": "on"}
    with Cluster(on=on(major), replication=synchronous, parameters=settings) as cluster:
        cluster.topology["archive"] |= {"compression": "lz4"}
        cluster.write()
        cluster.up()
        cluster.ok("backup", "--yes")
        marks: list[_Mark] = []
        with Writer(cluster) as writer:
            marks += [mark(cluster, writer, "db1") for _ in range(_MARKS_PER_TIMELINE)]
            cluster.ok("switchover", "--yes")
            writer.goes_on()
            marks += [mark(cluster, writer, "db2") for _ in range(_MARKS_PER_TIMELINE)]
            if major != 18:
                settled(cluster, "db2")
                writer.goes_on()
            cluster.kill_server("db2")
            cluster.ok("failover", "--yes")
            cluster.ok("rejoin", "db2", "--yes")
            writer.goes_on()
            marks += [mark(cluster, writer, "db1") for _ in range(_MARKS_PER_TIMELINE)]
        settled(cluster, "db1")
        cluster.converged()
        intervals = json.loads(cluster.ok("restore", "--json").out)["intervals"]
        # On 18 both role changes are in one segment, which nobody finished on timeline 2.
        assert [each["timeline"] for each in intervals] == ([1, 3] if major == 18 else [1, 2, 3])
        files = [name for name in cluster.archived() if len(name.partition(".")[0]) == 24 and ".backup" not in name]
        assert files
        assert all(name.endswith(".lz4") for name in files)
        committed = cluster.rows("db1", "SELECT id, pg_xact_commit_timestamp(xmin) FROM written ORDER BY id")
        assert {id for id, _ in committed} >= set(writer.acknowledged)
        for number, made in enumerate(marks):
            directory = cluster.folder / "data" / f"mark-{number}"
            moment = made.moment.astimezone(UTC).isoformat()
            done = cluster.run("restore", "--to", moment, "--into", str(directory), "--yes")
            assert done.exit_code == 0, done.said + directory.with_name(f"{directory.name}.log").read_text()
            there = ask(cluster, done, "SELECT id FROM written ORDER BY id")
            assert there == [id for id, at in committed if at <= made.moment], f"mark {number}"
            assert set(writer.acknowledged[: made.acknowledged]) <= set(there), f"mark {number}"
            cluster.program("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(directory))
        done = cluster.ok("restore", "--to", "latest", "--yes")
        there = ask(cluster, done, "SELECT id FROM written ORDER BY id")
        assert there == [id for id, _ in committed]
        cluster.ok("drill", "--yes")
        assert cluster.run("archive", "verify").exit_code == 0
        cluster.ok("backup", "verify")


def test_what_was_lost_with_a_primary_is_exactly_what_lies_behind_the_interval() -> None:
    """Nobody confirms, there is no standby, and the primary goes: the archive's end is the end, and `restore` says when
    that is. (It says when a segment came into the archive, in whole seconds: its last commits are a little older.)"""
    with Cluster(standbys=0, parameters={"track_commit_timestamp": "on"}) as cluster:
        cluster.topology["archive"] |= {"compression": "lz4"}
        cluster.write()
        cluster.up()
        cluster.ok("backup", "--yes")
        with Writer(cluster) as writer:
            mark(cluster, writer, "db1")
            settled(cluster, "db1")
            writer.goes_on(100)
            before = json.loads(cluster.ok("restore", "--json").out)["intervals"][-1]
            committed = cluster.rows("db1", "SELECT id, pg_xact_commit_timestamp(xmin) FROM written ORDER BY id")
            cluster.kill_server("db1")
        (interval,) = json.loads(cluster.ok("restore", "--json").out)["intervals"]
        assert interval == before, "nothing more came into the archive"
        done = cluster.ok("restore", "--to", "latest", "--yes")
        there = ask(cluster, done, "SELECT id FROM written ORDER BY id")
        assert there == [id for id, _ in committed][: len(there)], "a beginning of it, without a hole"
        lost = [(id, at) for id, at in committed if id not in there]
        assert lost, "the last segment was not archived"
        end = datetime.fromisoformat(interval["end"])
        assert all(at.timestamp() >= end.timestamp() - 2 for _, at in lost)
        assert all(at <= end for id, at in committed if id in there)
