"""A server that summarizes its WAL (17 and later) waits for that before its recovery ends; who summarizes sleeps."""

import time
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.servers import wait_until

pytestmark = pytest.mark.chaos

_ASLEEP_SECONDS = 5.0
_SUMMARIZER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsummarizer'"


def wakings(process: int) -> int:
    """How often it has gone to sleep of its own accord."""
    (line,) = [
        line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("voluntary_ctxt")
    ]
    return int(line.split()[1])


def test_promotion_does_not_wait_for_a_summarizer_that_sleeps() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.topology["backup"] = {"incremental": True}
        cluster.write()
        cluster.ok("apply", "--yes")
        process = int(cluster.sql("db2", _SUMMARIZER))
        seen, since, before = wakings(process), time.monotonic(), 0.0

        def sleeps_long() -> bool:
            # Where it finds nothing new each sleep is twice as long as the one before, up to half a minute; where it
            # does the next is of 0.2 seconds. So one that goes on after a long one is longer than that was.
            nonlocal seen, since, before
            if wakings(process) != seen:
                seen, since, before = wakings(process), time.monotonic(), time.monotonic() - since
            return before > _ASLEEP_SECONDS and time.monotonic() - since > 1

        wait_until(sleeps_long, "the summarizer sleeps for long", 240)
        cluster.ok("switchover", "--yes")
        # Where nobody woke it this was 9.6 s in three runs, and 3 s where the sleep was nearly over.
        (took,) = [
            entry["seconds"]
            for entry in cluster.journal()
            if entry["event"] == "step done" and entry["step"] == "db2.promote"
        ]
        assert "still waiting for WAL summarization" not in cluster.log("db2")
        assert took < _ASLEEP_SECONDS - 1
        cluster.ok("backup", "--full", "--yes")
        cluster.ok("backup", "--yes")
