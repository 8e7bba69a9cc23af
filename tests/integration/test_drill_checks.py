"""What a restore drill finds: an index whose order is wrong, a page that changed, a query that fails; and what it says
where nothing is wrong."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster, installation

#: An index over an order that becomes another one when the function is replaced.
_FICKLE = """
CREATE FUNCTION compare(int4, int4) RETURNS int LANGUAGE sql AS $$ SELECT btint4cmp($1, $2) $$;
CREATE OPERATOR CLASS fickle FOR TYPE int4 USING btree AS OPERATOR 1 < (int4, int4), OPERATOR 2 <= (int4, int4),
    OPERATOR 3 = (int4, int4), OPERATOR 4 >= (int4, int4), OPERATOR 5 > (int4, int4), FUNCTION 1 compare(int4, int4);
CREATE TABLE numbers AS SELECT generate_series(1, 5000)::int4 AS number;
CREATE INDEX wrong_order ON numbers (number fickle);
"""
_TURN = "CREATE OR REPLACE FUNCTION compare(int4, int4) RETURNS int LANGUAGE sql AS $$ SELECT btint4cmp($2, $1) $$"

pytestmark = pytest.mark.chaos


def ran(cluster: Cluster, script: str) -> None:
    with cluster.connect("db1") as connection:
        connection.execute(script.encode())


def last(cluster: Cluster) -> dict[str, str]:
    done = cluster.run("backup", "list", "--json")
    found: dict[str, str] = json.loads(done.out)["backups"][-1]
    return found


@pytest.fixture(scope="module")
def checked() -> Iterator[Cluster]:
    """A cluster whose programs have pg_amcheck, with a backup."""
    on = installation(15)
    if not (on.programs / "pg_amcheck").exists():
        pytest.skip("there is no pg_amcheck here")
    with Cluster(standbys=0, on=on) as cluster:
        cluster.up()
        ran(cluster, _FICKLE)
        cluster.ok("backup", "--yes")
        yield cluster


def test_an_index_whose_order_is_wrong_fails_the_drill_and_is_named(checked: Cluster) -> None:
    done = checked.ok("drill", "--query", "SELECT count(*) FROM numbers", "--yes")
    assert "pg_amcheck finds nothing wrong" in " ".join(done.out.split())
    assert "the query says 5000" in " ".join(done.out.split())
    assert last(checked)["drilled"]
    ran(checked, _TURN)
    checked.sql("db1", "SELECT pg_switch_wal()")
    checked.ok("backup", "--full", "--yes")
    refused = checked.run("drill", "--yes").refused("PT-4056", 13)
    assert "pg_amcheck" in refused
    assert "wrong_order" in refused
    assert last(checked)["drilled"] is None
    assert "wrong_order" in last(checked)["drill_trouble"]
    assert "The last restore drill" in checked.run("status").out
    assert "RST10" in checked.run("doctor").out
    assert not list((checked.folder / "data").glob("*-drill*"))


def test_a_query_that_fails_for_the_rows_fails_the_drill_with_the_servers_words(checked: Cluster) -> None:
    query = "SELECT 1 / (count(*) - 5000) FROM numbers"
    refused = checked.run("drill", "--query", query, "--yes").refused("PT-4056", 13)
    assert "division by zero" in refused
    assert "the query failed on what came back" in refused
    assert "division by zero" in last(checked)["drill_trouble"]


def test_without_a_server_to_ask_a_wrong_query_is_told_at_the_end_and_the_backup_is_as_good(checked: Cluster) -> None:
    ran(checked, _TURN.replace("$2, $1", "$1, $2"))
    checked.sql("db1", "SELECT pg_switch_wal()")
    checked.ok("backup", "--full", "--yes")
    checked.ok("down", "--yes")
    for words, wrong in (
        (("--query", "SELECT count(*) FROM nowhere"), 'relation "nowhere" does not exist'),
        (("--query", "SELECT 1", "--database", "nowhere"), 'no database "nowhere"'),
        (("--query", "SELEC 1"), "syntax error at or near"),
    ):
        done = checked.run("drill", *words, "--yes")
        assert "only what comes back tells (no server of the cluster runs)" in done.out
        assert wrong in done.refused("PT-4057", 13).lower().replace('"selec"', "")
        assert last(checked)["drilled"]
        assert not last(checked)["drill_trouble"]
    checked.up()


@pytest.mark.parametrize("major", [15, 16, 18])
def test_a_page_that_changed_in_the_backup_fails_the_drill(major: int) -> None:
    """Though the server starts with it: nothing that it needs to start is on that page."""
    try:
        on = installation(major)
    except LookupError as missing:
        pytest.skip(str(missing))
    with Cluster(standbys=0, on=on) as cluster:
        cluster.up()
        ran(cluster, "CREATE TABLE big AS SELECT repeat('x', 500) AS text FROM generate_series(1, 10000)")
        place = str(cluster.sql("db1", "SELECT pg_relation_filepath('big')"))
        cluster.ok("backup", "--yes")
        done = cluster.ok("drill", "--yes")
        assert "the checksum of every page is right" in " ".join(done.out.split())
        base = Path(last(cluster)["folder"]) / "base.tar"
        with tarfile.open(base) as tar:
            at = tar.getmember(place).offset_data + 100 * 8192 + 6000
        with base.open("r+b") as file:
            file.seek(at)
            file.write(b"y")
        # What is not as it was when it was verified is not even unpacked; a page that was wrong by then is.
        assert "when it was verified" in " ".join(cluster.run("drill", "--yes").refused("PT-4055", 13).split())
        sums = base.with_name("SHA256SUMS")
        lines = [line for line in sums.read_text().splitlines() if not line.endswith("  base.tar")]
        digest = hashlib.sha256(base.read_bytes()).hexdigest()
        sums.write_text("\n".join([*lines, f"{digest}  base.tar"]) + "\n")
        refused = cluster.run("drill", "--yes").refused("PT-4056", 13)
        # Where contrib is, pg_amcheck reads every page before.
        assert "pg_checksums" in refused or "page verification failed" in refused
        assert last(cluster)["drill_trouble"]
        assert not list((cluster.folder / "data").glob("*-drill*"))
