"""The archive's receiver comes back with its host, and when it was killed: by its systemd unit, by cron, or woken."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.provoking import Looks, ids, provokes
from support.remote import BIN, RemoteCluster
from support.servers import wait_until
from support.systemd_hosts import SystemdHosts, why_no_systemd

_reason = why_no_hosts() or why_no_systemd() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

UNIT = "pgtandem-archive-shop.service"
STREAMS = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'pgtandem_archive')"


SUDO = "bob ALL=(ALL) NOPASSWD: ALL\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[SystemdHosts]:
    with SystemdHosts(3) as made:
        yield made


def confirming(hosts: Hosts, archive: str, nodes: int = 1) -> RemoteCluster:
    """The archive on a host of its own, where bob has no sudo as yet; commits may wait for it."""
    made = RemoteCluster(hosts, nodes, replication={"synchronous": "any 1"})
    made.know_hosts()
    url = f"ssh://bob@{hosts.address(archive)}"
    place = {"directory": f"/srv/bob/{made.folder.name}", "host": url, "stream": True, "synchronous": True}
    made.tables["archive"] = place
    (hosts.srv(archive) / "bob").chmod(0o755)
    return made


def receivers(hosts: Hosts, host: str) -> list[int]:
    return hosts.processes(host, "receiver/run") + hosts.processes(host, "pg_receivewal")


def kill_receiver(hosts: Hosts, host: str) -> None:
    """kill -9 of pg_receivewal, and of what starts it again."""
    for pid in receivers(hosts, host):
        hosts.run(host, ["kill", "-9", str(pid)])


def unit_file(hosts: Hosts, host: str) -> bool:
    return hosts.run(host, ["test", "-e", f"/etc/systemd/system/{UNIT}"]).returncode == 0


def remarks(cluster: RemoteCluster) -> list[str]:
    return [each for each in cluster.status()["remarks"] if "the receiver of the archive's stream" in each]


@provokes("ARC22")
def test_a_receiver_with_a_unit_comes_back_when_killed_and_with_its_host(hosts: SystemdHosts, looks: Looks) -> None:
    with confirming(hosts, "h2") as cluster:
        cluster.apply()
        (remark,) = remarks(cluster)
        assert "does not start by itself when its host does: a systemd unit takes a login as root, or sudo" in remark
        looks.take(ids(json.loads(cluster.run("doctor", "--json").out)))
        hosts.sudoers("h2").write_text(hosts.sudoers("h2").read_text() + SUDO)

        # It watches over the receiver that runs, and takes over where that is killed.
        before = hosts.processes("h2", "pg_receivewal")
        cluster.apply()
        assert hosts.processes("h2", "pg_receivewal") == before
        looks.take(ids(json.loads(cluster.run("doctor", "--json").out)))
        kill_receiver(hosts, "h2")
        cluster.write_row("after the kill")
        kill_receiver(hosts, "h2")
        cluster.write_row("after the other kill")
        (receiver,) = hosts.processes("h2", "pg_receivewal")
        assert UNIT in hosts.control_group("h2", str(receiver))
        hosts.power_off("h2")
        hosts.boot("h2")
        cluster.write_row("after the power failure")
        hosts.power_button("h2")
        hosts.boot("h2")
        cluster.write_row("after the reboot")
        assert remarks(cluster) == []
        cluster.converged()
        cluster.ok("down", "--destroy", "--yes")
        assert not unit_file(hosts, "h2")
        assert receivers(hosts, "h2") == []


@pytest.mark.chaos
def test_who_ends_the_receiver_has_it_ended_whatever_starts_with_the_host(hosts: SystemdHosts) -> None:
    hosts.sudoers("h2").write_text(hosts.sudoers("h2").read_text() + SUDO)
    with confirming(hosts, "h2") as cluster:
        cluster.apply()
        cluster.converged()
        assert hosts.systemctl("h2", "is-active", UNIT) == "active"
        cluster.ok("down", "--yes")
        hosts.power_off("h2")
        hosts.boot("h2")
        assert receivers(hosts, "h2") == []
        cluster.ok("up", "--yes")
        cluster.write_row("after up")
        assert hosts.systemctl("h2", "is-active", UNIT) == "active"
        cluster.tables["archive"] |= {"stream": False, "synchronous": False}
        cluster.tables["replication"]["synchronous"] = "none"
        cluster.apply()
        cluster.converged()
        assert not unit_file(hosts, "h2")
        assert receivers(hosts, "h2") == []
        cluster.tables["archive"]["stream"] = True
        cluster.apply()
        cluster.converged()
        assert hosts.systemctl("h2", "is-active", UNIT) == "active"
        cluster.ok("down", "--destroy", "--yes")
        assert not unit_file(hosts, "h2")


@pytest.mark.chaos
def test_after_role_changes_the_unit_follows_the_new_primary_alone(hosts: SystemdHosts) -> None:
    """Also where the archive's host and the old primary's come back together, and the old one accepts writes again."""
    hosts.sudoers("h3").write_text(hosts.sudoers("h3").read_text() + SUDO)
    with confirming(hosts, "h3", 2) as cluster:
        cluster.apply()
        cluster.write_row("everybody has it")
        cluster.shows_row("db2", "everybody has it")
        cluster.ok("switchover", "--to", "db2", "--yes")
        cluster.wait_for("db2", STREAMS, 60)
        hosts.power_off("h3")
        hosts.boot("h3")
        cluster.wait_for("db2", STREAMS, 60)
        hosts.power_off("h2")
        cluster.ok("failover", "--to", "db1", "--the-primary-is-dead", "--yes", seconds=200)
        cluster.write_row("the archive alone confirms it", "db1")
        hosts.power_off("h3")
        hosts.boot("h2")
        data = cluster.nodes["db2"]["data_directory"]
        hosts.run("h2", [f"{BIN}/pg_ctl", "-D", data, "-w", "-l", f"{data}.log", "start"], user="postgres")
        hosts.boot("h3")
        cluster.wait_for("db1", STREAMS, 60)
        assert cluster.psql("db2", "SELECT pg_is_in_recovery()") == "f", "the old primary is back"
        assert cluster.psql("db2", STREAMS) == "f"
        wait_until(lambda: hosts.processes("h3", "pg_receivewal"), "it runs", 30)
        (receiver,) = hosts.processes("h3", "pg_receivewal")
        assert UNIT in hosts.control_group("h3", str(receiver))
        cluster.write_row("confirmed by the archive alone again", "db1")
        assert cluster.psql("db2", STREAMS) == "f"
        cluster.ok("rejoin", "db2", "--yes", seconds=200)
        cluster.converged()
        cluster.ok("down", "--destroy", "--yes")


@pytest.mark.chaos
def test_without_a_unit_the_next_archived_segment_wakes_the_receiver_and_cron_does() -> None:
    with Hosts(2) as hosts, confirming(hosts, "h2") as cluster:
        cluster.apply()
        (remark,) = remarks(cluster)
        assert "systemd does not run that host. Cron can do it" in remark
        line = remark.partition("echo '")[2].partition("')")[0].replace("'\"'\"'", "'")
        crontab = hosts.programs("h2") / "crontab"
        crontab.write_text(f"#!/bin/sh\necho {shlex.quote(line)}\n")
        crontab.chmod(0o755)
        assert remarks(cluster) == []
        kill_receiver(hosts, "h2")
        cluster.psql("db1", "SET synchronous_commit = local; CREATE TABLE waits ()")
        cluster.psql("db1", "SELECT pg_switch_wal()")
        cluster.wait_for("db1", STREAMS, 60)
        cluster.write_row("after the kill")

        # As cron does it, many at once, and one that was killed left its pg_receivewal.
        words = line.removeprefix("* * * * * ")
        hosts.run("h2", ["sh", "-c", "kill -9 $(cat /srv/bob/*/*/receiver/pid)"])
        hosts.run("h2", ["sh", "-c", f"for n in 1 2 3 4 5 6 7 8; do {words} >/dev/null 2>&1 & done"], user="bob")
        wait_until(lambda: len(hosts.processes("h2", "receiver/run")) == 1, "the others have given up", 60)
        cluster.write_row("after all of them")
        # What confirmed may be the one that was left, and be ended a moment later.
        wait_until(lambda: len(hosts.processes("h2", "pg_receivewal")) == 1, "one receives", 60)
        cluster.ok("down", "--destroy", "--yes")
        assert receivers(hosts, "h2") == []
