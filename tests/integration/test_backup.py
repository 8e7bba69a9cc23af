"""Base backups: taken, proven, listed, kept; whatever interrupts that."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, packaged
from support.servers import wait_until


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        cluster.write_row("one")
        yield cluster


def folder(cluster: Cluster) -> Path:
    (system,) = [path for path in cluster.archive.iterdir() if path.name.isdigit()]
    return system / "backups"


def listed(cluster: Cluster, exit_code: int = 0) -> list[dict[str, Any]]:
    done = cluster.run("backup", "list", "--json")
    assert done.exit_code == exit_code, done.said
    found: list[dict[str, Any]] = json.loads(done.out)["backups"]
    return found


def test_it_is_taken_from_the_standby_and_proven(pair: Cluster) -> None:
    assert pair.run("backup", "list").exit_code == 2
    done = pair.ok("backup", "--yes")
    assert "take a full backup from db2" in done.out
    (made,) = listed(pair)
    assert made["node"] == "db2"
    assert made["verified"] is not None
    assert made["trouble"] == ""
    names = os.listdir(folder(pair) / made["label"])
    assert {"base.tar", "pg_wal.tar", "backup_manifest", "backup.json", "SHA256SUMS", "RESTORE.txt"} <= set(names)
    assert os.listdir(folder(pair)) == [made["label"]]
    assert "full, from db2" in pair.ok("status").out
    pair.converged()


def test_a_bit_that_flips_is_found_and_told(pair: Cluster) -> None:
    label = listed(pair)[-1]["label"]
    base = folder(pair) / label / "base.tar"
    content = base.read_bytes()
    base.write_bytes(content[:5_000_000] + bytes([content[5_000_000] ^ 1]) + content[5_000_001:])
    refused = pair.run("backup", "verify", label).refused("PT-4053", 13)
    assert "base.tar changed" in refused
    (made,) = listed(pair, 2)
    assert "base.tar" in made["trouble"]
    assert "is not what was backed up" in pair.run("status").out
    base.write_bytes(content)
    pair.ok("backup", "verify")
    assert listed(pair)[0]["trouble"] == ""


def test_old_ones_go_and_the_plan_says_so_first(pair: Cluster) -> None:
    pair.topology["backup"] = {"keep": 1}
    pair.apply()
    before = listed(pair)[-1]["label"]
    done = pair.ok("backup", "--from", "db1", "--yes")
    plan = done.out.partition("done ")[0]
    assert f"remove backup {before}" in plan
    (made,) = listed(pair)
    assert made["node"] == "db1"
    assert os.listdir(folder(pair)) == [made["label"]]
    pair.converged()


def test_wal_that_no_backup_needs_goes_with_the_old_ones(pair: Cluster) -> None:
    """And what is left can still be restored."""
    before = [name for name in pair.archived() if len(name) >= 24]
    pair.write_row("later")
    done = pair.ok("backup", "--full", "--yes")
    assert "WAL that no backup and no standby needs any more is removed" in done.out.partition("done ")[0]
    assert "remove WAL from the archive that no backup and no standby needs" in done.out
    after = [name for name in pair.archived() if len(name) >= 24]
    assert not set(before[:3]) & set(after)
    pair.ok("drill", "--query", "SELECT count(*) FROM note", "--yes")
    assert "the restored" not in pair.ok("plan").out
    pair.converged()


def made_older(cluster: Cluster, label: str, days: int) -> None:
    """By its record: as if it had been taken so many days ago."""
    path = folder(cluster) / label / "backup.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {name: about[name] - days * 86400 for name in ("began", "ended")}))


def test_what_grew_old_goes_with_its_wal_and_what_stays_comes_back(pair: Cluster) -> None:
    assert "every backup is one to keep" in pair.ok("archive", "prune", "--yes").out
    pair.topology["backup"] = {"keep_for": "2d"}
    pair.apply()
    old = [made["label"] for made in listed(pair)]
    # A backup from a standby begins at its last restartpoint, and so does what a standby may need.
    pair.sql("db1", "SELECT pg_switch_wal()")
    pair.sql("db1", "CHECKPOINT")
    pair.write_row("after the old ones")
    pair.shows_row("db2", "after the old ones")
    pair.sql("db2", "CHECKPOINT")
    pair.ok("backup", "--full", "--yes")
    assert [made["label"] for made in listed(pair)][:-1] == old, "they are young"
    for label in old:
        made_older(pair, label, 3)
    before = [name for name in pair.archived() if len(name) >= 24]
    asked = pair.run("archive", "prune")
    asked.refused("PT-1007", 10)
    assert all(f"remove backup {label}" in asked.out for label in old)
    # Somebody restores from one of them, and is killed: that counts no longer once he would have said so again.
    running = pair.start("drill", "--backup", old[0], "--yes")
    wait_until(lambda: list(folder(pair).glob(".in-use.*")), "the drill says what it reads", 60)
    running.kill()
    (said,) = folder(pair).glob(".in-use.*")
    asked = pair.run("archive", "prune")
    assert f"Backup {old[0]} and its WAL stay until the drill by" in " ".join(asked.out.split())
    assert f"remove backup {old[0]}" not in asked.out
    os.utime(said, (said.stat().st_mtime - 1000,) * 2)
    pair.ok("archive", "prune", "--yes")
    said.unlink()
    (kept,) = listed(pair)
    assert kept["label"] not in old
    after = [name for name in pair.archived() if len(name) >= 24]
    assert before[0] not in after, after
    refused = pair.run("restore", "--to", "2001-01-01T00:00Z", "--yes").refused("PT-3054", 12)
    assert kept["label"] in refused
    made_older(pair, kept["label"], 9)
    assert "nothing to remove" in pair.ok("archive", "prune", "--yes").out, "never the last verified one"
    made_older(pair, kept["label"], -9)
    assert "the query says" in pair.ok("drill", "--query", "SELECT count(*) FROM note", "--yes").out
    pair.ok("archive", "verify")
    pair.topology["backup"] = {"keep": 1}
    pair.apply()


def test_killed_while_it_copies_the_next_run_clears_that_away(pair: Cluster) -> None:
    """kill -9 of pgtandem."""
    lines = pair.journal_lines()
    running = pair.start("backup", "--full", "--yes")
    wait_until(lambda: pair.journal_lines() >= lines + 2 or not running.alive, "it copies", 60)
    running.kill()
    wait_until(lambda: not any("pg_basebackup" in words for words in pair.processes().values()), "its end", 60)
    labels = [made["label"] for made in listed(pair)]
    pair.ok("backup", "--full", "--yes")
    assert len(os.listdir(folder(pair))) == 1
    assert listed(pair)[-1]["label"] not in labels


@pytest.mark.chaos
@pytest.mark.parametrize("line", range(1, 13))
def test_killed_at_every_line_of_the_journal(pair: Cluster, line: int) -> None:
    """kill -9 of pgtandem: the next run goes on with what is whole, and clears away what is not."""
    before = pair.journal_lines()
    running = pair.start("backup", "--full", "--yes")
    wait_until(lambda: pair.journal_lines() >= before + line or not running.alive, f"line {line}", 120)
    running.kill()
    wait_until(lambda: not any("pg_basebackup" in words for words in pair.processes().values()), "its end", 120)
    pair.ok("backup", "--full", "--yes")
    assert not [name for name in os.listdir(folder(pair)) if name.startswith(".")]
    assert all(made["verified"] and not made["trouble"] for made in listed(pair))
    pair.converged()


def test_the_server_killed_while_it_is_copied_leaves_nothing(pair: Cluster) -> None:
    """kill -9 of the server; the backup before is as it was."""
    before = listed(pair)
    with pair.connect("db1") as connection:
        connection.execute("CREATE TABLE big AS SELECT repeat(md5(i::text), 100) AS x FROM generate_series(1, 40000) i")
    running = pair.start("backup", "--full", "--from", "db1", "--yes")
    wait_until(lambda: list(folder(pair).glob(".*.part/base.tar")) or not running.alive, "it copies", 60)
    pair.kill_server("db1")
    done = running.end()
    if done.exit_code == 0:
        pytest.skip("the copy was faster than the kill")
    assert "PT-4051" in done.err or "PT-4052" in done.err or "PT-4002" in done.err or "PT-2004" in done.err, done.said
    assert [made["label"] for made in listed(pair)] == [made["label"] for made in before]
    pair.up()
    pair.ok("backup", "--full", "--yes")
    assert len(os.listdir(folder(pair))) == 1


def test_right_after_a_role_change_a_backup_begins_on_the_new_timeline() -> None:
    """The standby's last restartpoint is on the one that was left, whose last segment never comes into the archive."""
    with Cluster() as cluster:
        cluster.up()
        cluster.ok("switchover", "--yes")
        cluster.write_row("after the role change", "db2")
        done = cluster.ok("backup", "--yes")
        assert "PT-" not in done.said
        (made,) = json.loads(cluster.run("backup", "list", "--json").out)["backups"]
        assert (made["node"], made["timeline"]) == ("db1", 2)
        assert "from" in cluster.run("restore").out


def test_an_archive_that_takes_nothing_stops_it_and_afterwards_it_goes_on(pair: Cluster) -> None:
    """The segments that it needs cannot be stored: a folder of their name is there."""
    before = listed(pair)
    segment = pair.sql("db1", "SELECT pg_walfile_name(pg_current_wal_lsn())")
    start = int(segment[16:], 16)
    blocked = [folder(pair).parent / f"{segment[:16]}{number:08X}" for number in range(start, start + 6)]
    for path in blocked:
        path.mkdir()
        pair.own(path)
    failed = pair.run("backup", "--full", "--from", "db1", "--yes", seconds=200).refused("PT-4052", 13)
    assert "did not get into the archive" in failed
    assert [made["label"] for made in listed(pair)] == [made["label"] for made in before]
    for path in blocked:
        path.rmdir()
    wait_until(lambda: "backup" in pair.run("backup", "list").out, "it is looked at")
    done = pair.ok("backup", "--yes", seconds=200)
    assert "take a full backup" not in done.out
    assert len(os.listdir(folder(pair))) == 1


@pytest.mark.parametrize("major", [11, *(pytest.param(major, marks=pytest.mark.chaos) for major in (15, 16))])
def test_other_majors(major: int) -> None:
    try:
        on = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))
    with Cluster(on=on) as cluster:
        cluster.up()
        done = cluster.ok("backup", "--yes")
        assert ("no manifest before 13" in done.out) == (major < 13)
        assert listed(cluster)[0]["verified"] is not None


def test_incremental_ones_continue_the_last_and_a_full_one_can_be_asked_for() -> None:
    with Cluster(standbys=0) as cluster:
        cluster.topology["backup"] = {"incremental": True}
        cluster.write()
        cluster.up()
        cluster.ok("backup", "--yes")
        cluster.write_row("two")
        cluster.ok("backup", "--yes")
        cluster.ok("backup", "--full", "--yes")
        full, more, again = listed(cluster)
        assert (full["kind"], more["kind"], again["kind"]) == ("full", "incremental", "full")
        assert more["parent"] == full["label"]
        assert more["size_bytes"] < full["size_bytes"]


@pytest.mark.chaos
def test_a_role_change_while_a_standby_is_backed_up_makes_no_wrong_backup() -> None:
    """One of pgtandem's own ends it; one of somebody else's gives the backup up."""
    with Cluster(replication={"max_copy_rate": "10MB"}) as cluster:
        cluster.up()
        with cluster.connect("db1") as connection:
            connection.execute("CREATE TABLE big AS SELECT repeat(md5(i::text), 60) x FROM generate_series(1, 20000) i")
        running = cluster.start("backup", "--yes")
        wait_until(lambda: list(cluster.archive.glob("*/backups/.*.part/base.tar")), "it copies", 60)
        refused = cluster.run("failover", "--yes")
        assert refused.exit_code == 12, refused.said
        assert running.alive, "a failover that cannot be ends nobody's backup"
        cluster.ok("switchover", "--yes")
        assert '"switchover" by' in running.end().refused("PT-5002", 14)
        assert listed(cluster, 2) == []
        running = cluster.start("backup", "--full", "--yes")
        wait_until(lambda: list(cluster.archive.glob("*/backups/.*.part/base.tar")), "it copies", 60)
        cluster.pg_ctl("db1", "promote")
        assert "the standby was promoted" in running.end().refused("PT-4051", 13)
        assert os.listdir(folder(cluster)) == []


@pytest.mark.chaos
def test_what_other_clusters_have_in_the_archive_is_not_touched(pair: Cluster) -> None:
    """Two clusters, each with a folder of its own by its system identifier: one backs up while the other prunes. The
    second has our name as well, as a staging cluster may, and backups that are older and newer than ours."""
    pair.topology["backup"] = {"keep": 1}
    pair.apply()
    pair.ok("backup", "--yes")
    mine, ours = listed(pair)[-1]["label"], folder(pair)
    other = pair.archive / "7999"
    half = other / "backups/.20260101T000000Z-full.part"
    half.mkdir(parents=True)
    (half / "base.tar").write_bytes(b"it is being written")
    theirs = []
    for days in (-400, 400):
        about = json.loads((ours / mine / "backup.json").read_text())
        label = f"{'2020' if days > 0 else '2030'}0101T000000Z-full"
        (other / "backups" / label).mkdir()
        about |= {"label": label, "system_identifier": "7999", "ended": about["ended"] - days * 86400}
        (other / "backups" / label / "backup.json").write_text(json.dumps(about))
        verified = (ours / mine / "verified.json").read_text()
        (other / "backups" / label / "verified.json").write_text(verified)
        theirs.append(label)
    (other / "000000010000000000000001").write_bytes(bytes(1 << 24))
    before = sorted(other.rglob("*"))
    for path in (other, *before):
        pair.own(path)
    assert [made["label"] for made in listed(pair)] == [mine]
    pair.ok("backup", "--full", "--yes")
    pair.write_row("before the prune")
    pair.ok("archive", "prune", "--yes")
    assert sorted(other.rglob("*")) == before
    (made,) = listed(pair)
    assert made["label"] not in (mine, *theirs)
    shown = json.loads(pair.ok("restore", "--json").out)["intervals"]
    assert {each["backup"] for each in shown} == {made["label"]}


@pytest.mark.chaos
def test_a_backup_whose_wal_went_to_another_archive_is_not_waited_for_for_ever() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.write_row("one")
        cluster.topology["archive"]["directory"] = "elsewhere"
        cluster.write()
        for _ in range(2):
            cluster.sql("db1", "SELECT pg_switch_wal()")
            cluster.write_row("two")
        cluster.ok("apply", "--yes")
        refused = cluster.run("backup", "--from", "db2", "--yes", seconds=60).refused("PT-4052", 13)
        assert "is not in the archive" in refused
        assert "pgtandem backup --full --from db1" in refused
        done = cluster.ok("backup", "--full", "--from", "db1", "--yes")
        assert "remove a half-made backup" in done.out
        assert len(listed(cluster)) == 1


@pytest.mark.chaos
def test_after_archiving_was_off_status_says_that_the_last_backup_does_not_lead_to_now() -> None:
    with Cluster() as cluster:
        cluster.topology["backup"] = {"keep": 2}
        cluster.write()
        cluster.up()
        cluster.ok("backup", "--yes")
        archive, backup = cluster.topology.pop("archive"), cluster.topology.pop("backup")
        cluster.apply()
        for _ in range(2):
            cluster.write_row("not archived")
            cluster.sql("db1", "SELECT pg_switch_wal()")
        cluster.topology |= {"archive": archive, "backup": backup}
        cluster.write()
        assert "pgtandem backup --full" in " ".join(cluster.run("plan").out.split())
        assert "pgtandem backup --full" in cluster.ok("apply", "--yes").out.splitlines()[-1]
        wait_until(lambda: cluster.run("status").exit_code == 2, "it is seen")
        told = cluster.run("status").out
        assert "cannot be brought to now: WAL segment" in " ".join(told.split())
        assert "pgtandem backup --full" in told.splitlines()[-1]
        cluster.ok("backup", "--full", "--yes")
        cluster.ok("status")
        cluster.ok("drill", "--yes")
