"""Durability changes while a client writes: no commit is ever promised less than before or after the change."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgtandem.postgres.sync_names import confirmations
from support.clusters import Cluster
from support.servers import wait_until
from support.writer import Writer

_LEVELS = ("off", "local", "remote_write", "on", "remote_apply")
#: The level that a commit waits for, and how many standbys confirm it.
Promise = tuple[int, int]


def promise(level: str, names: str) -> Promise:
    """Where nobody has to confirm, a commit waits for the own disk alone, whatever the level."""
    count = confirmations(names)
    at = _LEVELS.index(level)
    return (at, count) if count and at > 1 else (min(at, 1), 0)


@contextmanager
def sampled(cluster: Cluster) -> Iterator[set[Promise]]:
    """What was promised at any moment of the block."""
    seen: set[Promise] = set()
    over = threading.Event()

    def watch() -> None:
        query = "SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names')"
        with cluster.connect("db1") as connection:
            last = False
            while not last:
                last = over.is_set()  # read first: what is promised in the end is seen in any case
                row = connection.execute(query).fetchone()
                assert row is not None
                seen.add(promise(*row))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        wait_until(lambda: seen, "it is seen what was promised before", 30)
        yield seen
    finally:
        over.set()
        thread.join(30)


CHANGES = [
    ("on", "any 2", 3), ("remote_apply", "any 1", 3), ("remote_apply", "first 1", 2), ("on", "any 1", 3),
    ("remote_write", "any 2", 3), ("on", "any 3", 4), ("on", "any 2", 3),
]  # fmt: skip


@pytest.mark.chaos
def test_a_change_never_promises_less_than_before_and_after() -> None:
    """Each change: durability, who must confirm, and how many nodes: standbys come and go with it."""
    with Cluster(standbys=3, replication={"durability": "on", "synchronous": "any 1"}) as cluster:
        all_nodes = dict(cluster.nodes)
        for spare in ("db3", "db4"):
            del cluster.nodes[spare]
        cluster.write()
        cluster.up()
        with Writer(cluster) as writer:
            for durability, synchronous, count in CHANGES:
                before = promise(
                    cluster.setting("db1", "synchronous_commit"), cluster.setting("db1", "synchronous_standby_names")
                )
                cluster.topology["replication"] = {"durability": durability, "synchronous": synchronous}
                cluster.topology["nodes"] = dict(list(all_nodes.items())[:count])
                with sampled(cluster) as seen:
                    cluster.apply()
                after = promise(
                    cluster.setting("db1", "synchronous_commit"), cluster.setting("db1", "synchronous_standby_names")
                )
                assert {before, after} <= seen
                for level, confirming in seen:
                    assert level >= min(before[0], after[0]), (before, seen, after)
                    assert confirming >= min(before[1], after[1]), (before, seen, after)
                writer.goes_on()
        assert writer.warnings == []
        writer.everything_is_on(*cluster.nodes)
