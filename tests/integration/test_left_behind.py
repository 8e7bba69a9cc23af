"""A postmaster that is killed does not take every session with it: one that works goes on until it asks its client, the
checkpointer of 10 to 13 until its checkpoint is done. No server starts on the data meanwhile, and what they write there
nobody expects."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest

from support.clusters import Cluster, installation
from support.installations import PACKAGED_MAJORS, Installation, packaged
from support.processes import alive
from support.servers import wait_until

_WRITES = """
CREATE TABLE late (id bigint GENERATED ALWAYS AS IDENTITY);
CREATE PROCEDURE go_on() LANGUAGE plpgsql AS $$ BEGIN
    LOOP
        INSERT INTO late DEFAULT VALUES;
        COMMIT;
    END LOOP;
END $$
"""
_READS = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"


@contextmanager
def killed_under_a_session(cluster: Cluster, node: str, statement: str) -> Iterator[int]:
    """kill -9 of the postmaster alone, while a session works that never ends by itself. Gives the session's process."""

    def work(connection: psycopg.Connection) -> None:
        with suppress(psycopg.Error):
            connection.execute(statement)

    with cluster.connect(node) as connection:
        session = connection.info.backend_pid
        worker = threading.Thread(target=work, args=(connection,), daemon=True)
        worker.start()
        query = f"SELECT state = 'active' FROM pg_stat_activity WHERE pid = {session}"
        cluster.wait_for(node, query)
        postmaster = cluster.pid(node)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        wait_until(lambda: not alive(postmaster), "the postmaster has ended")
        try:
            assert alive(session), "it works on"
            yield session
        finally:
            with suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)
            worker.join(10)


def on(major: int) -> Installation:
    try:
        return packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))


_ENDED = "1 process that its killed server had left behind was ended"


def test_a_session_that_outlives_its_postmaster_is_ended_before_the_server_is_started() -> None:
    with Cluster() as cluster:
        cluster.up()
        with killed_under_a_session(cluster, "db2", _READS) as session:
            done = cluster.ok("apply", "--yes")
            assert not alive(session)
            assert _ENDED in done.out
        cluster.write_row("after the start")
        cluster.shows_row("db2", "after the start")


@pytest.mark.chaos
@pytest.mark.parametrize("major", [11, 18])
def test_nobody_commits_on_the_old_primary_any_more_when_its_successor_is_promoted(major: int) -> None:
    with Cluster(on=on(major)) as cluster:
        cluster.up()
        with cluster.connect("db1") as connection:
            for statement in _WRITES.split(";\n", 1):
                connection.execute(statement)
        with killed_under_a_session(cluster, "db1", "CALL go_on()") as session:
            done = cluster.ok("failover", "--yes")
            assert not alive(session)
            assert _ENDED in done.out
        cluster.ok("rejoin", "db1", "--yes")
        cluster.converged()
