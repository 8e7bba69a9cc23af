"""What is refused, with which words; and that nothing on disk is touched then."""

import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from support.clusters import Cluster
from support.servers import wait_until


def test_a_foreign_cluster_is_refused_with_what_was_found() -> None:
    with Cluster() as cluster, Cluster(name="other") as other:
        other.up()
        other.ok("down", "--yes")
        cluster.nodes["db1"]["data_directory"] = str(other.data("db1"))
        (other.data("db1") / "pgtandem" / "node.json").unlink()
        cluster.write()
        with cluster.unchanged(), other.unchanged():
            for command in (("up", "--yes"), ("plan",), ("down", "--destroy", "--yes")):
                words = cluster.run(*command).refused("PT-3003", 12)
                assert "PG_VERSION" in words or "base" in words
                assert "did not make" in words


def test_another_clusters_node_is_refused() -> None:
    with Cluster() as cluster, Cluster(name="other") as other:
        other.up()
        cluster.nodes["db1"]["data_directory"] = str(other.data("db2"))
        cluster.write()
        with cluster.unchanged(), other.unchanged(servers_run=True):
            words = cluster.run("up", "--yes").refused("PT-3003", 12)
        assert '"db2"' in words
        assert '"other"' in words


def test_a_folder_with_something_in_it_is_refused() -> None:
    with Cluster() as cluster:
        cluster.data("db2").mkdir(parents=True)
        (cluster.data("db2") / "thesis.txt").write_text("five years of work")
        cluster.own(cluster.data("db2"))
        with cluster.unchanged():
            assert "thesis.txt" in cluster.run("up", "--yes").refused("PT-3003", 12)
            cluster.run("down", "--destroy", "--yes").refused("PT-3003", 12)


def test_a_taken_port_is_refused_and_its_holder_named() -> None:
    with Cluster() as cluster, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        cluster.nodes["db2"]["port"] = listener.getsockname()[1]
        cluster.write()
        with cluster.unchanged():
            words = cluster.run("up", "--yes").refused("PT-3007", 12)
        assert str(listener.getsockname()[1]) in words
        assert f"(process {os.getpid()})" in words or "another program" in words


def test_folders_that_the_servers_account_cannot_have_are_refused_with_the_command_that_mends_it() -> None:
    if os.geteuid() != 0:
        pytest.skip("as an ordinary user the folder of the topology file is one's own")
    with Cluster() as cluster:
        os.chown(cluster.folder, 54321, 54321)  # an ordinary user's, in which root works
        with cluster.unchanged():
            for command in (("plan",), ("up", "--yes")):
                words = cluster.run(*command).refused("PT-3015", 12)
                assert f'Account "{cluster.account}" may not write in {cluster.folder}' in words
                assert str(cluster.data("db2")) in words
        mends = re.findall(r"-> (install -d .*?)   or name", words)
        assert len(mends) == 2, "one for the data directories, one for the archive"
        for mend in mends:
            subprocess.run(["sh", "-c", mend], check=True)
        cluster.up()
        cluster.ok("down", "--destroy", "--yes")


def test_a_folder_that_the_servers_account_may_not_enter_is_refused_with_the_command_that_mends_it() -> None:
    if os.geteuid() != 0:
        pytest.skip("as an ordinary user the folder of the topology file is one's own")
    with Cluster(archive=False, subfolder="private") as cluster:
        cluster.folder.chmod(0o700)
        with cluster.unchanged():
            words = cluster.run("plan").refused("PT-3015", 12)
            assert f'Account "{cluster.account}" may not enter {cluster.folder}' in words
            cluster.run("up", "--yes").refused("PT-3015", 12)
            cluster.run("down", "--yes").refused("PT-3015", 12)
        (mend,) = re.findall(r"next:  (chmod .*?)   or name", words)
        subprocess.run(["sh", "-c", mend], check=True)
        cluster.up()
        # The same with a running cluster whose folder is closed: it is not taken for one that is not built.
        cluster.folder.chmod(0o700)
        assert cluster.run("status").exit_code == 2
        cluster.run("plan").refused("PT-3015", 12)
        cluster.folder.chmod(0o755)
        cluster.converged()


def test_a_version_that_is_not_there_is_refused_with_how_to_install_it() -> None:
    with Cluster() as cluster:
        cluster.topology["cluster"] |= {"postgresql": 17, "binaries": "auto"}
        cluster.write()
        words = cluster.run("plan").refused("PT-3005", 12)
        assert "postgresql-17" in words


def test_a_named_folder_without_programs_is_named_in_the_refusal() -> None:
    with Cluster(standbys=0) as cluster:
        cluster.topology["cluster"]["binaries"] = str(cluster.base / "nowhere")
        cluster.write()
        assert f"in {cluster.base / 'nowhere'}" in cluster.run("plan").refused("PT-3005", 12)


def test_a_value_that_only_the_server_can_refuse_is_told_with_its_line() -> None:
    with Cluster(archive=False) as cluster:
        cluster.up()
        cluster.stop_server("db2")
        cluster.topology["parameters"]["timezone"] = "Mars/Base"
        cluster.write()
        words = cluster.run("apply", "--yes").refused("PT-2005", 11)
        assert "pgtandem/settings.conf: timezone = 'Mars/Base': " in words
        cluster.stop_server("db1")
        words = cluster.run("apply", "--yes").refused("PT-4004", 13)
        assert 'invalid value for parameter "TimeZone": "Mars/Base"' in words
        del cluster.topology["parameters"]["timezone"]
        cluster.apply()


def test_data_of_another_major_version_is_refused() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.ok("down", "--yes")
        cluster.topology["cluster"] |= {"postgresql": 16}
        cluster.write()
        with cluster.unchanged():
            cluster.run("apply", "--yes").refused("PT-3006", 12)


def test_two_primaries_are_told_first_and_refused() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.pg_ctl("db2", "promote", "-w")
        cluster.write_row("on the new one", "db2")
        cluster.sql("db1", "SELECT pg_log_standby_snapshot()")
        status = cluster.run("status")
        assert status.exit_code == 2
        assert status.out.splitlines()[0].startswith("! TWO PRIMARIES: db1 on timeline 1")
        said = " ".join(status.out.split())
        point = re.search(
            r"db2 left timeline 1 at (\S+); written since then: (\S+ \S+) on db1, (\S+ \S+) on db2:", said
        )
        assert point is not None, said
        # Nothing was written there but what needs no commit: the background writer's snapshot for standbys, and a page
        # that a reader tidied up on its way (PRUNE_ON_ACCESS and its like).
        wal = cluster.sql("db1", f"SELECT pg_walfile_name('{point[1]}')")
        path = str(cluster.data("db1") / "pg_wal" / wal)
        command = [str(cluster.programs() / "pg_waldump"), "-s", point[1], path]
        records = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        assert point[2] == "0 B" or records
        of_others = ("rmgr: Standby", "rmgr: Heap2")
        assert all(record.startswith(of_others) for record in records), records
        assert point[3] != "0 B"
        with cluster.unchanged(servers_run=True):
            words = cluster.run("apply", "--yes").refused("PT-3001", 12)
        assert "timeline 1" in words
        assert "timeline 2" in words


def test_the_old_primary_after_a_failover_by_hand_is_not_started_as_one() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.kill_server("db1")
        cluster.pg_ctl("db2", "promote", "-w")
        cluster.write_row("after the failover", "db2")
        words = cluster.run("apply", "--yes").refused("PT-3013", 12)
        assert "db1 was a primary" in words
        assert cluster.pid("db1") is None
        # What the message says to do works: the old data is moved away, and db1 comes back as a standby.
        cluster.data("db1").rename(cluster.folder / "old-db1")
        cluster.apply()
        assert cluster.states() == {"db1": ("standby", "streaming"), "db2": ("primary", "running")}
        cluster.shows_row("db1", "after the failover")


def test_a_standby_of_another_system_is_refused() -> None:
    with Cluster() as cluster, Cluster() as twin:
        cluster.up()
        twin.up()
        cluster.ok("down", "--yes")
        twin.ok("down", "--yes")
        shutil.rmtree(cluster.data("db2"))
        twin.data("db2").rename(cluster.data("db2"))
        words = cluster.run("apply", "--yes").refused("PT-3004", 12)
        assert "system identifiers" in words
        assert cluster.pid("db2") is None


def test_no_primary_among_existing_data_is_refused() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.write_row("must not be lost")
        cluster.shows_row("db2", "must not be lost")
        cluster.ok("down", "--yes")
        shutil.rmtree(cluster.data("db1"))
        done = cluster.run("up", "--yes")
        words = done.refused("PT-6001", 15)
        assert "start db2" in done.out, "a failover can choose it then"
        assert "pgtandem failover" in words
        with cluster.unchanged(servers_run=True):
            cluster.run("up", "--yes").refused("PT-3002", 12)
        cluster.ok("failover", "--yes")
        cluster.shows_row("db1", "must not be lost")


def test_a_standby_whose_slot_was_lost_goes_on_from_the_archive_and_without_one_is_copied_anew() -> None:
    for archive in (False, True):
        parameters = {"max_slot_wal_keep_size": "64MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
        with Cluster(archive=archive, parameters=parameters) as cluster:
            cluster.up()
            cluster.stop_server("db2")
            cluster.sql("db1", "CREATE TABLE filler (text text)")
            query = "SELECT wal_status FROM pg_replication_slots"

            def lost(cluster: Cluster = cluster, query: str = query) -> bool:
                cluster.sql("db1", "INSERT INTO filler SELECT repeat('x', 900) FROM generate_series(1, 20000)")
                cluster.sql("db1", "SELECT pg_switch_wal()")
                cluster.sql("db1", "CHECKPOINT")
                return bool(cluster.sql("db1", query) == "lost")

            wait_until(lost, "the slot is lost", 120)
            done = cluster.apply()
            assert ("copy db1 anew" in done.out) is not archive, done.said
            cluster.write_row("from now on")
            cluster.shows_row("db2", "from now on")


def test_a_frozen_server_is_told_and_does_not_hang_the_command() -> None:
    with Cluster() as cluster:
        cluster.up()
        pid = cluster.pid("db2")
        assert pid is not None
        cluster.signal("db2", signal.SIGSTOP)
        try:
            status = cluster.run("status", seconds=90)
            assert status.exit_code == 2
            assert "db2" in status.out
        finally:
            cluster.signal("db2", signal.SIGCONT)


@pytest.mark.parametrize("standbys", [1])
def test_a_named_synchronous_standby_that_no_commit_waits_for_is_refused(standbys: int) -> None:
    with Cluster(standbys, replication={"durability": "local", "synchronous": "first 1"}) as cluster:
        words = cluster.run("plan").refused("PT-1004", 10)
        assert "never waits for a standby" in words
