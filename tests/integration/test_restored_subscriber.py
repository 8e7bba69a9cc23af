"""A cluster that subscribes to another one's tables: a copy of it that was restored takes nothing from the publisher.

Seen before: with the subscription enabled in the backup, the restored server streamed from the cluster's own slot as
soon as the cluster's worker was away for a moment. What it confirmed the cluster never got.
"""

import psycopg
import pytest

from integration.test_restore import ask
from support.clusters import Cluster
from support.servers import wait_until

pytestmark = pytest.mark.chaos


def test_a_restored_copy_leaves_a_subscription_to_the_cluster() -> None:
    with Cluster(standbys=0, parameters={"wal_level": "logical"}) as cluster:
        cluster.up()
        source = f"host=127.0.0.1 port={cluster.port('db1')} dbname=postgres user=postgres"
        source += f" password={cluster.password()}"
        cluster.sql("db1", "CREATE DATABASE subscriber")
        with (
            psycopg.connect(source, autocommit=True) as publisher,
            psycopg.connect(source.replace("dbname=postgres", "dbname=subscriber"), autocommit=True) as subscriber,
        ):

            def rows(connection: psycopg.Connection) -> list[int]:
                return [number for (number,) in connection.execute("SELECT a FROM t ORDER BY a").fetchall()]

            for each in (publisher, subscriber):
                each.execute("CREATE TABLE t (a int PRIMARY KEY)")
            publisher.execute("CREATE PUBLICATION p FOR TABLE t")
            publisher.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
            subscriber.execute(
                f"CREATE SUBSCRIPTION s CONNECTION '{source}' PUBLICATION p "
                "WITH (create_slot = false, copy_data = false)"
            )
            publisher.execute("INSERT INTO t VALUES (1)")
            wait_until(lambda: rows(subscriber) == [1], "the first row comes")
            cluster.ok("backup", "--yes")
            done = cluster.ok("restore", "--to", "latest", "--promote", "--yes")
            subscriber.execute("ALTER SUBSCRIPTION s DISABLE")
            active = "SELECT count(*) FROM pg_replication_slots WHERE active"
            wait_until(lambda: publisher.execute(active).fetchone() == (0,), "the cluster's worker is away")
            publisher.execute("INSERT INTO t VALUES (2)")
            # Not even the launcher, which would start one within five seconds (wal_retrieve_retry_interval).
            workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'"
            assert ask(cluster, done, workers) == [0]
            subscriber.execute("ALTER SUBSCRIPTION s ENABLE")
            wait_until(lambda: rows(subscriber) == [1, 2], "what was written meanwhile comes to the cluster")
