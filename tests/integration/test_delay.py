"""A standby that is behind on purpose: it has every row at once, shows it later, and nobody waits for it."""

import pytest

from support.clusters import Cluster, newest
from support.installations import packaged


@pytest.mark.parametrize("major", [None, 11], ids=["newest", "with-recovery-conf"])
def test_a_delayed_standby_has_a_row_at_once_and_does_not_show_it(major: int | None) -> None:
    try:
        server = packaged(major) if major else newest()
    except LookupError as why:
        pytest.skip(str(why))
    with Cluster(standbys=2, on=server) as cluster:
        cluster.nodes["db3"]["apply_delay"] = "10min"
        cluster.topology["replication"] = {"durability": "remote_apply", "synchronous": "any 1"}
        cluster.write()
        assert "it is shown there 10min later" in cluster.up().out
        assert "streaming (delayed 10min)" in cluster.run("status").out
        assert cluster.setting("db1", "synchronous_standby_names") == 'ANY 1 ("db2")'
        cluster.sql("db1", "CREATE TABLE t (i int)", options="-c statement_timeout=10000")
        cluster.wait_for("db2", "SELECT to_regclass('t') IS NOT NULL")
        here = cluster.sql("db1", "SELECT pg_current_wal_lsn()")
        cluster.wait_for("db3", f"SELECT pg_last_wal_receive_lsn() >= '{here}'")
        assert cluster.sql("db3", "SELECT to_regclass('t')") is None
        assert cluster.sql("db3", f"SELECT pg_last_wal_replay_lsn() < '{here}'")
        # What holds it back is no reason to change or to complain about anything, also after a restart.
        cluster.converged()
        cluster.stop_server("db3")
        assert "it replays what it has, 10min late" in cluster.apply().out
        assert cluster.sql("db3", "SELECT to_regclass('t')") is None
        delays = {node["name"]: (node["state"], node["apply_delay"]) for node in cluster.status()["nodes"]}
        assert delays == {"db1": ("running", None), "db2": ("streaming", None), "db3": ("delayed", "10min")}
        assert "db3 replays what it has, 10min late" in cluster.run("status").out
        # Without its delay it catches up.
        del cluster.nodes["db3"]["apply_delay"]
        cluster.topology["replication"] = {}
        cluster.apply()
        cluster.wait_for("db3", "SELECT to_regclass('t') IS NOT NULL")
