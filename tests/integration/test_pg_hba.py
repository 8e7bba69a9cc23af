"""Records of pg_hba.conf from the topology file: on every node, and never one that a server could not start with."""

from collections.abc import Iterator

import psycopg
import pytest

from support.clusters import Cluster


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.topology["pg_hba"] = {"lines": ["host closed all 127.0.0.1/32 reject"]}
        cluster.write()
        cluster.up()
        yield cluster


def refusal(cluster: Cluster, node: str, database: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(host="127.0.0.1", port=cluster.port(node), dbname=database, user="somebody", password="x")
    return str(caught.value)


def test_every_node_has_the_records_and_keeps_its_own(pair: Cluster) -> None:
    for node in pair.nodes:
        assert "pg_hba.conf rejects connection" in refusal(pair, node, "closed")
        assert "password authentication failed" in refusal(pair, node, "postgres")
    pair.converged()


def test_a_changed_record_is_reloaded(pair: Cluster) -> None:
    pair.topology["pg_hba"] = {"lines": ["host other all 127.0.0.1/32 reject"]}
    pair.apply()
    for node in pair.nodes:
        assert "pg_hba.conf rejects connection" in refusal(pair, node, "other")
        assert "password authentication failed" in refusal(pair, node, "closed")


def test_a_record_that_the_server_cannot_read_is_taken_out_again(pair: Cluster) -> None:
    before = (pair.data("db1") / "pg_hba.conf").read_bytes()
    pair.topology["pg_hba"] = {"lines": ["host app app 10.0.0.0/99 scram-sha-256"]}
    pair.write()
    words = pair.run("apply", "--yes").refused("PT-4010", 13)
    assert "10.0.0.0/99" in words
    assert (pair.data("db1") / "pg_hba.conf").read_bytes() == before
    pair.topology["pg_hba"] = {"lines": ["host other all 127.0.0.1/32 reject"]}
    pair.write()
    pair.ok("down", "--yes")
    pair.up()
    pair.converged()
