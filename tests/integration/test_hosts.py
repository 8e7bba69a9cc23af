"""Clusters on several hosts, over SSH: built, broken, mended, and every way in which hosts go wrong."""

import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


@pytest.fixture
def pair(hosts: Hosts) -> Iterator[RemoteCluster]:
    """Two nodes that are not built yet."""
    with RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        yield cluster


@pytest.fixture(scope="module")
def trio(hosts: Hosts) -> Iterator[RemoteCluster]:
    """Three nodes, built: db3 follows db2."""
    with RemoteCluster(hosts, 3) as cluster:
        cluster.know_hosts()
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.apply()
        yield cluster


def nothing_was_built(cluster: RemoteCluster) -> None:
    for node in cluster.nodes:
        host = cluster.host_of(node)
        assert cluster.hosts.run(host, ["ls", "-A", cluster.base]).stdout in ("", "foreign\n")
        assert cluster.hosts.processes(host, cluster.base) == []


def test_a_port_that_somebody_has_on_the_loopback_address_alone_is_taken(pair: RemoteCluster) -> None:
    """A restored server listens there, and pgtandem asks the node's own server there: it would ask the wrong one."""
    listen = f"import socket; s = socket.create_server(('127.0.0.1', {pair.port})); print(1, flush=True); s.accept()"
    outside = pair.hosts.run("h2", ["sh", "-c", f'python3 -c "{listen}" >/srv/said 2>&1 & echo $!'])
    wait_until(lambda: (pair.hosts.srv("h2") / "said").read_text() == "1\n", "it listens", 30)
    try:
        words = pair.run("apply", "--yes").refused("PT-3007", 12)
        assert f"port {pair.port} of db2 is in use by" in words
        nothing_was_built(pair)
    finally:
        pair.hosts.run("h2", ["kill", outside.stdout.strip()])


# --- logins that stay for the next command


def test_next_command_uses_the_logins_of_the_one_before(trio: RemoteCluster) -> None:
    trio.keep_seconds = 60
    try:
        trio.status()
        before = trio.logins()
        for _ in range(2):
            assert [node["state"] for node in trio.status()["nodes"]] == ["running", "streaming", "streaming"]
        trio.converged()
        assert trio.logins() == before
    finally:
        trio.keep_seconds = 0


def test_down_leaves_no_login(pair: RemoteCluster) -> None:
    pair.keep_seconds = 60
    pair.run("status")
    kept = pair.folder / "pgtandem-ssh"
    assert len(list(kept.glob("*.json"))) == 2
    assert "does not run" in pair.ok("down", "--yes").out
    assert not list(kept.iterdir())


# --- building, breaking, rebuilding


def test_three_hosts_stream_and_say_so(trio: RemoteCluster) -> None:
    trio.converged()
    status = trio.status()
    assert [(node["name"], node["role"], node["state"]) for node in status["nodes"]] == [
        ("db1", "primary", "running"),
        ("db2", "standby", "streaming"),
        ("db3", "standby", "streaming"),
    ]
    doctor = json.loads(trio.ok("doctor", "--json").out)
    assert (doctor["findings"], doctor["unseen"]) == ([], [])
    assert {note["id"] for note in doctor["notes"]} == {"REP24"}, "nobody asked for TLS"
    trio.write_row("over the net")
    trio.shows_row("db3", "over the net")
    uri = trio.ok("uri").out
    assert ",".join(f"{trio.hosts.address(name)}:{trio.port}" for name in trio.hosts.names) in uri


def test_psql_needs_no_line_in_pg_hba_for_the_machine_that_it_runs_on(trio: RemoteCluster) -> None:
    asked = ("psql", "--", "-XAtc", "SELECT pg_is_in_recovery()")
    assert trio.ok(*asked).out == "f\n"
    assert trio.ok("psql", "--node", "db3", *asked[1:]).out == "t\n"
    assert trio.run("psql", "--", "-XAtc", "SELECT 1/0").exit_code == 1
    assert not list(Path(tempfile.gettempdir()).glob("pgtandem-client-*"))


def test_replication_comes_from_the_nodes_own_addresses(trio: RemoteCluster) -> None:
    shown = trio.psql("db1", "SELECT host(client_addr) FROM pg_stat_replication")
    assert shown == trio.hosts.address("h2")
    rules = trio.psql("db1", "SELECT address FROM pg_hba_file_rules WHERE 'pgtandem_replication' = ANY (user_name)")
    assert rules.split() == [trio.hosts.address(name) for name in trio.hosts.names]


def test_a_killed_host_comes_back_and_is_mended(trio: RemoteCluster) -> None:
    trio.write_row("before the power went")
    trio.hosts.power_off("h2")
    status = trio.run("status")
    assert status.exit_code == 2
    assert "db2 is unreachable" in status.out
    assert "could not look at db2" in trio.run("apply", "--yes").refused("PT-3008", 12)
    trio.write_row("while it was off")
    trio.hosts.boot("h2")
    trio.apply()
    trio.converged()
    trio.shows_row("db3", "while it was off")


def test_a_standby_is_rebuilt_on_its_host(trio: RemoteCluster) -> None:
    host, directory = trio.host_of("db3"), trio.nodes["db3"]["data_directory"]
    trio.hosts.run(host, ["pkill", "-9", "-f", directory])
    wait_until(lambda: not trio.hosts.processes(host, directory), "db3 is gone")
    trio.hosts.run(host, ["rm", "-rf", directory])
    trio.apply()
    trio.write_row("for the new copy")
    trio.shows_row("db3", "for the new copy")


def test_a_restart_that_a_setting_needs_goes_over_the_hosts(trio: RemoteCluster) -> None:
    trio.tables["parameters"] = {"max_connections": 150}
    trio.apply()
    assert {trio.psql(node, "SHOW max_connections") for node in trio.nodes} == {"150"}


def test_no_secret_is_seen_on_a_host(trio: RemoteCluster) -> None:
    """Not in a command line, while the cluster is looked at and changed."""
    seen = set()
    trio.tables["parameters"] = {"work_mem": "5MB"}
    trio.write()
    running = trio.start("apply", "--yes")
    while running.alive:
        for host in trio.hosts.names:
            seen |= set(trio.hosts.run(host, ["ps", "-eo", "args="]).stdout.splitlines())
    assert running.end().exit_code == 0
    texts = (trio.folder / ".pgtandem/secrets.json").read_text()
    secrets = re.findall(r'": "([^"]{12,})"', texts)
    assert len(secrets) == 2
    assert not [line for line in seen for secret in secrets if secret in line]
    assert any("sshd" in line for line in seen), "the list shows what ran"


def test_a_node_that_is_taken_out_is_stopped_on_its_host(hosts: Hosts) -> None:
    with RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        cluster.apply()
        gone = cluster.nodes.pop("db2")
        cluster.apply()
        assert cluster.hosts.processes("h2", gone["data_directory"]) == []
        assert cluster.psql("db1", "SELECT count(*) FROM pg_replication_slots") == "0"
        cluster.converged()


def test_login_with_sudo(hosts: Hosts) -> None:
    with RemoteCluster(hosts, login="alice") as cluster:
        cluster.know_hosts()
        cluster.apply()
        cluster.converged()
        owner = hosts.run("h1", ["stat", "-c", "%U", cluster.nodes["db1"]["data_directory"]]).stdout
        assert owner == "postgres\n"
        cluster.ok("down", "--destroy", "--yes")
        nothing_was_built(cluster)


def test_hosts_are_looked_at_side_by_side() -> None:
    """Ten logins that take three seconds each take little more than three seconds together, and not thirty."""
    with Hosts(10) as hosts, RemoteCluster(hosts, 10, login="alice") as cluster:
        cluster.know_hosts()
        for host in hosts.names:
            (hosts.srv(host) / "alice/.bashrc").write_text("sleep 3\n")
        began = time.monotonic()
        assert "not built" in cluster.run("status").out
        assert 3 <= time.monotonic() - began < 20
        # Each host tries the ports of the nine others: none is in the way of another.
        assert "cannot reach" not in cluster.run("plan").said


def test_two_nodes_on_one_host_and_one_on_another(hosts: Hosts) -> None:
    with RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        cluster.nodes["db3"] = {
            **cluster.nodes["db1"],
            "port": cluster.port + 1000,
            "data_directory": f"{cluster.base}/db3",
        }
        cluster.apply()
        cluster.converged()
        assert cluster.streams("db1") == ["db2", "db3"]


# --- what goes wrong, each told and harmless


def test_host_unreachable(pair: RemoteCluster) -> None:
    pair.hosts.cut("h2")
    try:
        words = pair.run("apply", "--yes").refused("PT-3008", 12)
    finally:
        pair.hosts.heal("h2")
    assert "could not look at db2" in words
    nothing_was_built(pair)


def test_key_refused(pair: RemoteCluster) -> None:
    pair.nodes["db2"]["host"] = f"ssh://nobody@{pair.hosts.address('h2')}"
    words = pair.run("apply", "--yes").refused("PT-3008", 12)
    assert "could not look at db2" in words
    assert "Permission denied" in words or "refused" in words
    nothing_was_built(pair)


def test_host_key_unknown_then_taken(pair: RemoteCluster) -> None:
    pair.known_hosts.write_text("")
    words = pair.run("apply", "--yes").refused("PT-3008", 12)
    assert pair.hosts.fingerprint("h1") in words
    assert "--accept-new-host-keys" in words
    assert pair.known_hosts.read_text() == ""
    pair.ok("apply", "--yes", "--accept-new-host-keys")
    assert pair.hosts.host_key("h1").split()[1] in pair.known_hosts.read_text()
    pair.converged()


def test_host_key_changed(pair: RemoteCluster) -> None:
    """Not even --accept-new-host-keys takes a key in place of another."""
    pair.know_hosts()
    other = pair.hosts.host_key("h1")
    pair.known_hosts.write_text(f"{pair.hosts.address('h1')} {pair.hosts.host_key('h1')}\n"
                                f"{pair.hosts.address('h2')} {other}\n")  # fmt: skip
    words = pair.run("apply", "--yes", "--accept-new-host-keys").refused("PT-3008", 12)
    assert "another" in words or "changed" in words
    assert pair.hosts.address("h2") in words
    nothing_was_built(pair)


def test_sudo_asks_for_a_password(pair: RemoteCluster) -> None:
    pair.nodes["db2"]["host"] = f"ssh://bob@{pair.hosts.address('h2')}"
    words = pair.run("apply", "--yes").refused("PT-3008", 12)
    assert "sudo" in words
    nothing_was_built(pair)


def test_postgresql_missing(pair: RemoteCluster) -> None:
    pair.tables["cluster"] = {"binaries": "/srv/postgres/nowhere"}
    words = pair.run("apply", "--yes").refused("PT-3005", 12)
    assert "is not installed" in words
    assert "install" in words
    nothing_was_built(pair)


def test_another_major_is_installed(pair: RemoteCluster) -> None:
    pair.tables["cluster"] = {"binaries": BIN, "postgresql": 14}
    words = pair.run("apply", "--yes").refused("PT-3005", 12)
    assert "14" in words
    nothing_was_built(pair)


def test_port_taken(pair: RemoteCluster) -> None:
    with RemoteCluster(pair.hosts) as other:
        other.know_hosts()
        del other.nodes["db2"]
        other.nodes["db1"]["port"] = pair.port
        other.apply()
        words = pair.run("apply", "--yes").refused("PT-3007", 12)
        assert f"port {pair.port} of db1 is in use" in words
        nothing_was_built(pair)
        assert other.psql("db1", "SELECT 1") == "1"


@pytest.mark.parametrize("how", ["drop", "reject with icmp type admin-prohibited"])
def test_firewall_between_nodes_is_found_before_anything_is_built(pair: RemoteCluster, how: str) -> None:
    pair.hosts.firewall("h1", f"ip saddr {pair.hosts.address('h2')} tcp dport {pair.port} {how}")
    try:
        words = pair.run("apply", "--yes").refused("PT-3021", 12)
    finally:
        pair.hosts.unblock("h1")
    assert f"db2 cannot reach db1 at {pair.hosts.address('h1')} port {pair.port}" in words
    nothing_was_built(pair)


def test_firewall_the_other_way_is_told_and_stops_nothing(pair: RemoteCluster) -> None:
    """Roles swap: what works today must not hide what will not then."""
    pair.hosts.firewall("h2", f"ip saddr {pair.hosts.address('h1')} tcp dport {pair.port} drop")
    try:
        done = pair.apply()
    finally:
        pair.hosts.unblock("h2")
    assert "db1 cannot reach db2 (no answer within 4 seconds)" in done.out
    assert pair.streams("db1") == ["db2"]


def test_a_data_directory_of_somebody_else(pair: RemoteCluster) -> None:
    directory = pair.nodes["db2"]["data_directory"]
    pair.nodes["db2"]["data_directory"] = directory.replace("db2", "foreign")
    pair.hosts.run("h2", ["mkdir", "-p", pair.nodes["db2"]["data_directory"] + "/precious"], user="postgres")
    words = pair.run("apply", "--yes").refused("PT-3003", 12)
    assert "precious" in words
    nothing_was_built(pair)


def test_a_data_directory_that_somebody_copied_half(pair: RemoteCluster) -> None:
    """By scp, say, broken off: it may be all that is left of something, so it is neither used nor removed."""
    second = pair.nodes.pop("db2")
    pair.apply()
    data = second["data_directory"]
    pair.nodes["db2"] = second
    pair.hosts.run("h2", ["mkdir", "-p", "-m", "700", f"{data}/base/1"], user="postgres")
    pair.hosts.run(
        "h2", ["sh", "-c", f"echo {pair.major} > {data}/PG_VERSION; echo 1 > {data}/base/1/112"], user="postgres"
    )
    before = pair.hosts.run("h2", ["find", data]).stdout
    words = " ".join(pair.run("apply", "--yes").refused("PT-3003", 12).split())
    assert data in words
    assert "PG_VERSION" in words
    assert pair.hosts.run("h2", ["find", data]).stdout == before


def test_another_clusters_system_identifier(hosts: Hosts) -> None:
    """A standby's directory of a cluster that was built anew since: refused, and left as it is."""
    with RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        cluster.apply()
        cluster.ok("down", "--yes")
        keep = f"{cluster.base}/kept"
        hosts.run("h2", ["mv", cluster.nodes["db2"]["data_directory"], keep])
        hosts.run("h1", ["rm", "-rf", cluster.nodes["db1"]["data_directory"]])
        cluster.apply()
        cluster.ok("down", "--yes")
        hosts.run("h2", ["rm", "-rf", cluster.nodes["db2"]["data_directory"]])
        hosts.run("h2", ["mv", keep, cluster.nodes["db2"]["data_directory"]])
        before = hosts.run("h2", ["md5sum", cluster.nodes["db2"]["data_directory"] + "/global/pg_control"]).stdout
        assert "system identifiers" in cluster.run("apply", "--yes").refused("PT-3004", 12)
        after = hosts.run("h2", ["md5sum", cluster.nodes["db2"]["data_directory"] + "/global/pg_control"]).stdout
        assert before == after


def test_disk_too_small_for_the_copy(hosts: Hosts) -> None:
    with RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        second = cluster.nodes.pop("db2")
        cluster.apply()
        cluster.nodes["db2"] = second
        small = f"{cluster.base}/small"
        second["data_directory"] = f"{small}/db2"
        hosts.run("h2", ["mkdir", "-p", small], user="postgres")
        hosts.run("h2", ["mount", "-t", "tmpfs", "-o", "size=40m,uid=64321,mode=700", "tmpfs", small])
        try:
            words = cluster.run("apply", "--yes").refused("PT-3009", 12)
            assert re.search(r"the disk of db2 has \d+\.\d MB free, and the copy needs \d+\.\d MB", words)
            assert hosts.run("h2", ["ls", "-A", small]).stdout == ""
        finally:
            hosts.run("h2", ["umount", small])


def test_clocks_apart_are_told_by_plan_and_by_status(pair: RemoteCluster) -> None:
    """No namespace has a clock of its own: the host's `date` is another program for a while."""
    pair.apply()
    with pair.hosts.another_program("h2", "date", "#!/bin/sh\necho $(($(stat -c %Y /proc/$$) - 300)).0\n"):
        status = pair.run("status")
        assert status.exit_code == 2
        assert re.search(r"the clock of db1 is (299|30[0-9]) s ahead of that of db2", status.out)
        pair.tables["parameters"] = {"work_mem": "6MB"}
        assert "The clock of db1 is" in pair.apply().out
    assert pair.run("status").exit_code == 0


def test_another_c_library_where_databases_depend_on_it(hosts: Hosts) -> None:
    with RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        second = cluster.nodes.pop("db2")
        cluster.apply()
        # As if it had been made with that locale, which this machine need not have.
        cluster.psql("db1", "UPDATE pg_database SET datcollate = 'en_US.utf8' WHERE datname = 'template0'")
        cluster.nodes["db2"] = second
        with hosts.another_program("h2", "getconf", "#!/bin/sh\necho glibc 2.17\n"):
            words = cluster.run("apply", "--yes").refused("PT-3022", 12)
            assert "en_US.utf8" in words
            assert "glibc 2.17" in words
        cluster.apply()
        cluster.converged()


def test_forwarding_that_sshd_denies(hosts: Hosts) -> None:
    with RemoteCluster(hosts) as cluster:
        cluster.know_hosts()
        cluster.apply()
        hosts.configure_sshd("h2", "AllowTcpForwarding no")
        try:
            words = cluster.run("plan").refused("PT-3008", 12)
        finally:
            hosts.configure_sshd("h2")
        assert "AllowTcpForwarding" in words
        cluster.converged()


# --- cut off half way


def test_connection_lost_in_a_base_backup(pair: RemoteCluster) -> None:
    pair.tables["parameters"] = {"wal_level": "replica"}
    second = pair.nodes.pop("db2")
    pair.apply()
    pair.psql("db1", "CREATE TABLE big AS SELECT i, repeat('x', 900) AS t FROM generate_series(1, 120000) AS i")
    pair.nodes["db2"] = second
    pair.write()
    running = pair.start("apply", "--yes")
    wait_until(lambda: pair.hosts.processes("h2", "pg_basebackup"), "the copy is under way", 30)
    pair.hosts.cut("h2")
    try:
        done = running.end(120)
    finally:
        pair.hosts.heal("h2")
    assert done.exit_code in (11, 13), done.said
    assert "Traceback" not in done.said
    pair.apply()
    pair.converged()
    assert pair.psql("db2", "SELECT count(*) FROM big") == "120000"
    left = pair.hosts.run("h2", ["ls", "-A", pair.base]).stdout.split()
    assert sorted(left) == ["db2", "db2.log"]


def test_host_rebooted_in_the_middle_of_apply(pair: RemoteCluster) -> None:
    pair.write()
    running = pair.start("apply", "--yes")
    wait_until(lambda: pair.hosts.processes("h1", pair.base) or not running.alive, "db1 is being built", 60)
    pair.hosts.power_off("h1")
    done = running.end(180)
    assert done.exit_code in (11, 12, 13), done.said
    pair.hosts.boot("h1")
    pair.apply()
    pair.converged()
    pair.write_row("after the reboot")
    pair.shows_row("db2", "after the reboot")


def test_pgtandem_killed_in_the_middle(pair: RemoteCluster) -> None:
    """Over SSH nothing of it may live on and go on changing things."""
    pair.write()
    running = pair.start("apply", "--yes")
    wait_until(lambda: pair.hosts.processes("h2", "pg_basebackup") or not running.alive, "the copy is under way", 60)
    running.kill()
    wait_until(lambda: not pair.hosts.processes("h2", "pg_basebackup"), "the copy is ended", 20)
    pair.apply()
    pair.converged()


def test_ipv6(hosts: Hosts) -> None:
    with RemoteCluster(hosts) as cluster:
        for number, node in enumerate(cluster.nodes.values(), 1):
            node["host"] = f"ssh://postgres@[{hosts.address6(f'h{number}')}]"
        cluster.ok("apply", "--yes", "--accept-new-host-keys")
        assert cluster.status()["nodes"][1]["state"] == "streaming"
