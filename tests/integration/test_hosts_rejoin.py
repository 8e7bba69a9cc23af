"""A former primary comes back by pg_rewind from another host: as a role that is there meanwhile, with or without TLS,
and with WAL from an archive that is somewhere else."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

from .conftest import TellLines

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


def primary(cluster: RemoteCluster) -> str:
    return next(node["name"] for node in cluster.status()["nodes"] if node["role"] == "primary")


def part(cluster: RemoteCluster) -> tuple[str, str]:
    """The primary's cable is out, it goes on alone, and another node is promoted: the old primary, and the new one."""
    old = primary(cluster)
    cluster.write_row("before", old)
    for node in cluster.nodes:
        cluster.shows_row(node, "before")
    common = finish_segment(cluster, old)
    cluster.hosts.cut(cluster.host_of(old))
    cluster.ok("failover", "--yes", "--the-primary-is-dead")
    for number in range(3):
        cluster.write_row(f"only on the old one {number}", old)
    # The segment with the last checkpoint that both have goes from its pg_wal: the rewind must fetch that.
    cluster.psql(old, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    cluster.wait_for(old, "SELECT count(*) = 0 FROM pg_replication_slots WHERE active")
    cluster.psql(old, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    cluster.psql(old, "CHECKPOINT")
    cluster.psql(old, "CHECKPOINT")
    names = cluster.psql(old, "SELECT name FROM pg_ls_waldir()").split()
    assert common not in names
    new = primary(cluster)
    assert new != old
    cluster.write_row("on the new one", new)
    return old, new


def finish_segment(cluster: RemoteCluster, node: str) -> str:
    """A checkpoint and the end of its segment, which is then in the archive: the segment's name."""
    cluster.psql(node, "CHECKPOINT")
    name = cluster.psql(node, "SELECT pg_walfile_name(pg_switch_wal())")
    cluster.wait_for(node, f"SELECT last_archived_wal >= '{name}' FROM pg_stat_archiver")
    return name


def is_back(cluster: RemoteCluster, old: str, new: str) -> None:
    cluster.converged()
    assert primary(cluster) == new
    for node in cluster.nodes:
        cluster.shows_row(node, "on the new one")
        assert cluster.psql(node, "SELECT count(*) FROM note WHERE text LIKE 'only on%'") == "0"
        assert cluster.psql(node, "SELECT count(*) FROM pg_roles WHERE rolname = 'pgtandem_rewind'") == "0"
    assert not cluster.hosts.run(cluster.host_of(old), ["sh", "-c", f"ls {cluster.base} | grep passfile"]).stdout


def rejoin(cluster: RemoteCluster, old: str) -> str:
    cluster.hosts.heal(cluster.host_of(old))
    done = cluster.ok("rejoin", old, "--yes")
    assert "3 transactions were committed" in done.out, done.said
    assert "rewinding from" in done.out, done.said
    return done.out


PLACES = {
    "every-node": lambda cluster: {"directory": f"{cluster.base}/archive"},
    "one-host": lambda cluster: {
        "directory": f"{cluster.base}/archive",
        "host": f"ssh://postgres@{cluster.hosts.address('h3')}",
    },
}


@pytest.mark.parametrize(
    ("place", "tables"),
    [
        pytest.param("every-node", {"tls": {"certificates": "managed"}}, id="own disks, TLS"),
        pytest.param("one-host", {}, id="archive host", marks=pytest.mark.chaos),
    ],
)
def test_a_primary_that_went_on_alone_is_rewound_from_another_host(
    hosts: Hosts, place: str, tables: Mapping[str, Any]
) -> None:
    with RemoteCluster(hosts, 2, cluster={"name": place}, **tables) as cluster:
        cluster.know_hosts()
        cluster.tables["archive"] = PLACES[place](cluster)
        cluster.apply()
        old, new = part(cluster)
        rejoin(cluster, old)
        is_back(cluster, old, new)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_killed_at_some_lines_of_the_journal_it_comes_back_over_hosts(hosts: Hosts, tell_lines: TellLines) -> None:
    with RemoteCluster(hosts, 2, cluster={"name": "killed"}) as cluster:
        cluster.know_hosts()
        cluster.tables["archive"] = PLACES["every-node"](cluster)
        cluster.apply()
        lines, turn, alive = 4, 0, True
        while alive:
            old, new = part(cluster)
            cluster.hosts.heal(cluster.host_of(old))
            alive = killed_at(cluster, old, lines)
            again = cluster.run("apply", "--yes") if turn % 2 else cluster.run("rejoin", old, "--yes")
            if again.exit_code:
                assert turn % 2, again.said
                cluster.ok("rejoin", old, "--yes")
            is_back(cluster, old, new)
            lines, turn = lines + 3, turn + 1
        tell_lines(turn - 1)


def killed_at(cluster: RemoteCluster, node: str, lines: int) -> bool:
    """A rejoin, killed (kill -9) once it has written so many lines. False when it was done before."""
    journal = cluster.folder / ".pgtandem/journal.jsonl"
    before = journal.read_bytes().count(b"\n")
    running = cluster.start("rejoin", node, "--yes")
    wait_until(lambda: journal.read_bytes().count(b"\n") - before >= lines or not running.alive, f"line {lines}", 120)
    was_alive = running.alive
    running.kill()
    return was_alive
