"""Clusters on hosts that the real systemd runs: units start and stop the servers, also when a host comes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import rhel
from support.remote import BIN, RemoteCluster
from support.rhel import RhelHosts
from support.servers import wait_until
from support.systemd_hosts import SystemdHosts, why_no_systemd

_reason = why_no_systemd() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

#: What docs/layouts.md names as the least rights.
MAY_SYSTEMCTL = "alice ALL=(root) NOPASSWD: /usr/bin/systemctl start *, /usr/bin/systemctl stop *\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[SystemdHosts]:
    with SystemdHosts(2) as made:
        for host in made.names:
            made.sudoers(host).write_text(made.sudoers(host).read_text() + MAY_SYSTEMCTL)
        yield made


@pytest.fixture
def cluster(hosts: SystemdHosts) -> Iterator[RemoteCluster]:
    """Two nodes where Debian's units look for them, not built yet."""
    with RemoteCluster(hosts, login="alice") as made:
        made.know_hosts()
        for node in made.nodes.values():
            del node["data_directory"]
        made.tables["archive"] = {"directory": "/var/lib/postgresql/archive"}
        yield made
        made.ok("down", "--destroy", "--yes")


UNIT, DATA = "postgresql@15-shop.service", "/var/lib/postgresql/15/shop"


def runs_by_unit(hosts: SystemdHosts, host: str, data: str, unit: str = UNIT) -> bool:
    """The unit is active, and the server in its control group and its main process. pg_ctlcluster looks at a server
    for some seconds before it says so."""
    wait_until(lambda: hosts.systemctl(host, "show", "-P", "ActiveState", unit) == "active", f"{unit} is active", 30)
    pid = hosts.run(host, ["cat", f"{data}/postmaster.pid"]).stdout.split("\n")[0]
    return hosts.systemctl(host, "show", "-P", "MainPID", unit) == pid and unit in hosts.control_group(host, pid)


def test_debians_units_run_the_servers_and_start_them_with_their_host(
    hosts: SystemdHosts, cluster: RemoteCluster
) -> None:
    def by_unit() -> bool:
        return all(runs_by_unit(hosts, host, DATA) for host in hosts.names)

    cluster.apply()
    assert cluster.status()["remarks"] == []
    cluster.tables["parameters"] = {"max_connections": 120}  # needs restarts, while pg_ctlcluster still looks
    cluster.apply()
    assert by_unit()

    cluster.write_row("before the power failure")
    for host in hosts.names:
        hosts.power_off(host)
    for host in hosts.names:
        hosts.boot(host)
    cluster.shows_row("db2", "before the power failure")
    cluster.wait_for("db1", "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
    cluster.converged()
    assert by_unit()


def test_where_systemd_does_not_answer_the_reader_is_told(hosts: SystemdHosts, cluster: RemoteCluster) -> None:
    """A small host may lack D-Bus, over which everybody but root asks systemd."""
    hosts.systemctl("h2", "stop", "dbus.socket", "dbus.service")
    try:
        said = " ".join(cluster.run("plan").out.split())
    finally:
        hosts.systemctl("h2", "start", "dbus.socket")
    assert "db2 is started by pg_ctl, since its systemd unit could not be looked for: systemctl on host" in said
    assert "db1 is started by pg_ctl" not in said


# --- RHEL's layout


@pytest.fixture(scope="module")
def rhel_hosts() -> Iterator[RhelHosts]:
    with RhelHosts(2) as made:
        for host in made.names:
            made.sudoers(host).write_text(made.sudoers(host).read_text() + MAY_SYSTEMCTL)
        yield made


def test_rhels_layout_is_built_restarted_and_switched_over_by_its_unit(rhel_hosts: RhelHosts) -> None:
    with RemoteCluster(rhel_hosts, login="alice") as cluster:
        cluster.clients = rhel.PROGRAMS
        cluster.know_hosts()
        for node in cluster.nodes.values():
            node["data_directory"] = rhel.DATA
        cluster.tables["archive"] = {"directory": "/var/lib/pgsql/archive"}

        def by_unit() -> bool:
            return all(runs_by_unit(rhel_hosts, host, rhel.DATA, rhel.UNIT) for host in rhel_hosts.names)

        cluster.apply()
        assert cluster.status()["remarks"] == [
            f"{node} does not start by itself when its host does: systemctl enable {rhel.UNIT}"
            for node in cluster.nodes
        ]
        for host in rhel_hosts.names:
            rhel_hosts.systemctl(host, "enable", rhel.UNIT)
        cluster.tables["parameters"] = {"max_connections": 120}  # needs restarts
        cluster.apply()
        cluster.write_row("before the switchover")
        cluster.ok("switchover", "--to", "db2", "--yes")
        assert by_unit()
        assert cluster.status()["remarks"] == []

        for host in rhel_hosts.names:
            rhel_hosts.power_button(host)
        for host in rhel_hosts.names:
            rhel_hosts.boot(host)
        cluster.shows_row("db1", "before the switchover")
        cluster.wait_for("db2", "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
        assert by_unit()
        cluster.converged()
        cluster.ok("down", "--destroy", "--yes")
        for host in rhel_hosts.names:
            assert rhel_hosts.systemctl(host, "is-active", rhel.UNIT) == "inactive"
            assert rhel_hosts.processes(host, rhel.DATA) == []
