"""New passwords for a running cluster: no standby is locked out, whenever and wherever the change is cut off."""

from collections.abc import Iterator

import psycopg
import pytest

from support.clusters import Cluster
from support.servers import wait_until
from support.writer import Writer

from .conftest import TellLines


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with Cluster(standbys=2, replication={"synchronous": "any 1"}) as cluster:
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.topology["replication"]["synchronous"] = "any 1"
        cluster.write()
        cluster.up()
        yield cluster


def lets_in(cluster: Cluster, node: str, password: str) -> bool:
    try:
        cluster.connect(node, password=password).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True


def is_changed(cluster: Cluster, before: dict[str, str]) -> None:
    after = cluster.secrets()
    assert set(after) == {"superuser_password", "replication_password"}, sorted(after)
    for name, secret in after.items():
        assert secret != before[name]
    for node in cluster.nodes:
        wait_until(lambda node=node: lets_in(cluster, node, after["superuser_password"]), f"{node} knows it", 30)
        assert not lets_in(cluster, node, before["superuser_password"])
        passfile = (cluster.data(node) / "pgtandem/passfile").read_text()
        assert after["replication_password"] in passfile
        assert before["replication_password"] not in passfile
    cluster.converged()


def restart_standbys(cluster: Cluster) -> None:
    for node in ("db2", "db3"):
        cluster.pg_ctl(node, "restart", "-w", "-l", f"{cluster.data(node)}.log")


def streams(cluster: Cluster) -> None:
    cluster.wait_for("db1", "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
    cluster.wait_for("db2", "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")


def test_passwords_are_changed_under_a_writer(trio: Cluster) -> None:
    before = trio.secrets()
    with Writer(trio) as writer:
        done = trio.ok("apply", "--rotate-passwords", "--yes")
        writer.goes_on()
    assert "let db2 connect to db1 again" in done.out
    assert not [secret for secret in (*before.values(), *trio.secrets().values()) if secret in done.said]
    is_changed(trio, before)
    restart_standbys(trio)
    streams(trio)
    with Writer(trio) as writer:  # a client that connects anew, with the passfile that the URI names
        writer.goes_on()
    writer.everything_is_on(*trio.nodes)


@pytest.mark.chaos
def test_cut_off_between_the_roles_and_the_passfiles_standbys_wait_outside_until_apply_goes_on(trio: Cluster) -> None:
    """The tenth of a second of decision 0023, held open: the roles have the new passwords, and nobody's passfile."""
    before = trio.secrets()
    folders = [trio.data(node) / "pgtandem" for node in ("db2", "db3")]
    for folder in folders:
        folder.chmod(0o500)
    try:
        with Writer(trio) as writer:
            done = trio.run("apply", "--rotate-passwords", "--yes")
            assert done.exit_code == 11, done.said
            assert "FAILED db2  write the passfile of db2" in done.out, done.said
            assert len(trio.secrets()) == 4, "the former ones are kept"
            streams(trio)  # who is connected stays so
            writer.goes_on()
            trio.pg_ctl("db2", "restart", "-w", "-l", f"{trio.data('db2')}.log")
            wait_until(lambda: "password authentication failed" in log_of(trio, "db2"), "db2 is turned away", 30)
            assert trio.streams("db1") == []
            for folder in folders:
                folder.chmod(0o700)
            trio.ok("apply", "--yes")
            streams(trio)
            writer.goes_on()
    finally:
        for folder in folders:
            folder.chmod(0o700)
    is_changed(trio, before)
    writer.everything_is_on(*trio.nodes)


def log_of(cluster: Cluster, node: str) -> str:
    return cluster.data(node).with_name(f"{node}.log").read_text(errors="replace")


def holds(cluster: Cluster, first: int, every: int) -> int:
    """The number of kills."""
    lines, kills = first, 0
    while True:
        secrets, before = cluster.secrets(), cluster.journal_lines()
        running = cluster.start("apply", "--rotate-passwords", "--yes")
        wait_until(
            lambda before=before, lines=lines, running=running: (
                cluster.journal_lines() - before >= lines or not running.alive
            ),
            f"line {lines}",
            120,
        )
        cut_off = running.alive
        running.kill()
        begun = len(cluster.secrets()) > 2 or cluster.secrets() != secrets
        # Cut off right between the roles and the passfiles, one that connects anew waits for that.
        streams(cluster)
        restart_standbys(cluster)
        cluster.ok("apply", "--yes")
        streams(cluster)
        if begun:
            is_changed(cluster, secrets)
        else:
            assert cluster.secrets() == secrets
            cluster.converged()
        if not cut_off:
            return kills
        lines, kills = lines + every, kills + 1


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_killed_at_every_line_of_the_journal_apply_completes_it(trio: Cluster, tell_lines: TellLines) -> None:
    tell_lines(holds(trio, first=1, every=1))
