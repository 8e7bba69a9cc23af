"""Clients before 14 do not know target_session_attrs=prefer-standby."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from support.clusters import Cluster, newest
from support.installations import packaged

#: Calls itself an older psql, and refuses what that would refuse; what it runs is the real one.
_OLD_PSQL = """#!/bin/sh
if [ "$1" = --version ]; then echo "psql (PostgreSQL) 13.23"; exit; fi
case $PGTARGETSESSIONATTRS in any | read-write) exec '{psql}' "$@" ;; esac
echo "invalid target_session_attrs value: $PGTARGETSESSIONATTRS" >&2
exit 2
"""


@pytest.fixture
def with_old_psql(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(archive=False) as cluster:
        programs, real = cluster.base / "programs", newest().programs
        programs.mkdir()
        for path in real.iterdir():
            if path.name != "psql":
                (programs / path.name).symlink_to(path)
        (programs / "psql").write_text(_OLD_PSQL.format(psql=real / "psql"))
        (programs / "psql").chmod(0o755)
        cluster.installation = replace(newest(), programs=programs, name="named")
        cluster.topology["cluster"]["binaries"] = str(programs)
        cluster.write()
        yield cluster


def test_an_older_psql_reads_from_a_standby(with_old_psql: Cluster) -> None:
    cluster = with_old_psql
    cluster.up()
    ask = ("--", "-XAtc", "SELECT split_part(current_setting('cluster_name'), '/', 2)")
    assert cluster.ok("psql", "--read-only", *ask).out == "db2\n"
    assert cluster.ok("psql", *ask).out == "db1\n"
    assert cluster.ok("psql", "--node", "db1", *ask).out == "db1\n"
    cluster.stop_server("db2")
    assert cluster.ok("psql", "--read-only", *ask).out == "db1\n"


def test_the_uri_for_servers_before_14_is_understood_by_their_clients() -> None:
    try:
        older = packaged(13)
    except LookupError as missing:
        pytest.skip(str(missing))
    with Cluster(on=older, archive=False) as cluster:
        cluster.up()
        uri = cluster.ok("uri", "--read-only").out.strip()
        assert "target_session_attrs=any" in uri
        with psycopg.connect(uri) as connection:
            assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        assert "target_session_attrs=read-write" in cluster.ok("uri").out
