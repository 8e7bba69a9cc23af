"""Role changes over several hosts: planned, after a power failure, and back again; WAL on every node's own disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]


@pytest.fixture(scope="module")
def trio() -> Iterator[RemoteCluster]:
    with Hosts(3) as hosts, RemoteCluster(hosts, 3, replication={"synchronous": "any 1"}) as cluster:
        cluster.know_hosts()
        cluster.tables["archive"] = {"directory": f"{cluster.base}/archive"}
        cluster.apply()
        yield cluster


def primary(cluster: RemoteCluster) -> str:
    return next(node["name"] for node in cluster.status()["nodes"] if node["role"] == "primary")


def test_a_switchover_over_hosts(trio: RemoteCluster) -> None:
    trio.write_row("before")
    trio.ok("switchover", "--to", "db2", "--yes")
    trio.write_row("after", "db2")
    for node in trio.nodes:
        trio.shows_row(node, "before")
        trio.shows_row(node, "after")
    trio.converged()


def test_a_failover_when_the_primarys_host_is_gone_and_the_way_back(trio: RemoteCluster) -> None:
    old = primary(trio)
    trio.write_row("acknowledged", old)
    trio.hosts.power_off(trio.host_of(old))
    words = trio.run("failover", "--yes").refused("PT-3043", 12)
    assert "--the-primary-is-dead" in words
    done = trio.ok("failover", "--yes", "--the-primary-is-dead")
    assert "Lost: no commit that was acknowledged" in done.out
    new = primary(trio)
    assert new != old
    assert trio.psql(new, "SELECT count(*) FROM note WHERE text = 'acknowledged'") == "1"
    trio.write_row("on the new primary", new)
    trio.hosts.boot(trio.host_of(old))
    trio.ok("rejoin", old, "--yes")
    trio.apply()
    trio.converged()
    trio.shows_row(old, "on the new primary")
    trio.shows_row(old, "acknowledged")
