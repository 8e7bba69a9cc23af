"""Whole files: nothing wrong, everything wrong, and TOML that is none."""

import pytest

from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.topology import (
    Archive,
    Binaries,
    Durability,
    Method,
    Node,
    Replication,
    Synchronous,
    Tls,
    Topology,
)
from pgtandem.topology.load import load_topology

from .files import CLUSTER, FOLDER, PAIR, error_of, load, places_of, problems_of

EVERYTHING = """
[cluster]
name = "shop"
postgresql = 18
binaries = "/opt/postgresql/18/bin/"

[nodes.db1]
host = "local"
address = "127.0.0.2"
port = 6001
data_directory = "one"
zone = "tokyo-a"

[nodes.db2]
port = 6002
data_directory = "/var/lib/../lib/two/"
upstream = "db1"
parameters = { work_mem = "64MB", "pg_stat_statements.max" = 5000 }

[nodes.db3]
port = 6003
upstream = "db2"
apply_delay = "1 h"

[replication]
durability = "remote_apply"
synchronous = "any 1"
when_standbys_are_lost = "stop"
max_copy_rate = "50MB"

[archive]
directory = "archive"
host = "local"

[tls]
certificates = "managed"
required = false

[parameters]
Shared_Buffers = "1GB"
max_connections = 200
checkpoint_completion_target = 0.9
jit = false
"""

FULL = Topology(
    cluster="shop",
    postgresql=18,
    nodes=(
        Node(NodeName("db1"), 6001, "/srv/shop/one", address="127.0.0.2", zone="tokyo-a"),
        Node(
            NodeName("db2"),
            6002,
            "/var/lib/two",
            upstream=NodeName("db1"),
            parameters={"work_mem": "64MB", "pg_stat_statements.max": "5000"},
        ),
        Node(NodeName("db3"), 6003, "/srv/shop/data/db3", upstream=NodeName("db2"), apply_delay="1h"),
    ),
    replication=Replication(Durability.REMOTE_APPLY, Synchronous(Method.ANY, 1), 50 * 1024**2),
    archive=Archive("/srv/shop/archive"),
    tls=Tls(required=False),
    parameters={
        "shared_buffers": "1GB",
        "max_connections": "200",
        "checkpoint_completion_target": "0.9",
        "jit": "off",
    },
    bin_directory="/opt/postgresql/18/bin",
)


def test_file_with_every_key_becomes_the_topology_that_it_says() -> None:
    assert load(EVERYTHING) == FULL


def test_smallest_file_gets_the_defaults() -> None:
    assert load(CLUSTER + "[nodes.db1]") == Topology(
        "shop", 18, (Node(NodeName("db1"), 5432, "/srv/shop/data/db1"),), binaries=Binaries.AUTO
    )


def test_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    assert load("\ufeff" + PAIR.replace("\n", "\r\n")) == load(PAIR)


def test_folder_of_the_file_is_where_relative_paths_begin() -> None:
    assert load_topology(PAIR, folder="//srv/x/../y/").nodes[0].data_directory == "/srv/y/data/db1"


def test_many_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    error = error_of("""
[cluster]
name = "1shop"
postgresql = 18

[nodes.db1]
upstream = "db2"

[nodes.db2]
port = "5433"
upstream = "db11"
prot = 5433

[nodes.db2.parameters]
shared_bufers = "1GB"
port = 5433

[replication]
durability = "local"
synchronous = "any 1"

[parameters]
work_mem = "lots"
""")
    assert error.what == "pgtandem.toml has 9 problems"
    assert [problem.where for problem in error.problems] == [
        "cluster.name",
        "nodes.db1.upstream",
        "nodes.db2.port",
        "nodes.db2.upstream",
        "nodes.db2.prot",
        "nodes.db2.parameters.shared_bufers",
        "nodes.db2.parameters.port",
        "replication.durability",
        "parameters.work_mem",
    ]


def test_one_problem_is_not_called_problems_and_the_file_has_its_name() -> None:
    with pytest.raises(PgtandemError) as caught:
        load_topology(CLUSTER, folder=FOLDER, source="/etc/shop.toml")
    assert str(caught.value) == "/etc/shop.toml has 1 problem [PT-1004]"


def test_empty_file_lacks_both_required_tables() -> None:
    cluster, nodes = problems_of("")
    assert (cluster.where, cluster.what) == ("cluster", "the table [cluster] is missing")
    assert cluster.next_step == 'write a table [cluster] with name = "shop" and postgresql = 18'
    assert (nodes.where, nodes.next_step) == ("nodes", "write a table [nodes.db1]")


def test_wrong_version_does_not_hide_problems_elsewhere_nor_cause_more() -> None:
    text = PAIR.replace("18", '"9.6"') + '[parameters]\nwal_keep_segments = 3\nwork_mem = "x"\nport = 1\n'
    assert places_of(text) == ["cluster.postgresql", "parameters.port"]


def test_misspelt_key_causes_no_second_problem() -> None:
    # Without the port db2 would have the same as db1; without the name the cluster would lack one.
    text = PAIR.replace("name", "nam").replace("port = 5433", "prot = 5433") + '[archive]\ndirectry = "x"\n'
    assert places_of(text) == ["cluster.nam", "nodes.db2.prot", "archive.directry"]


def test_value_of_a_wrong_type_causes_no_second_problem() -> None:
    text = CLUSTER + '[nodes.db1]\n[nodes.db2]\nport = "x"\nupstream = 5\n[replication]\nsynchronous = "any 1"\n'
    assert places_of(text) == ["nodes.db2.port", "nodes.db2.upstream"]


def test_text_that_is_not_toml_is_shown_with_its_line_and_column() -> None:
    error = error_of('[cluster]\nname = "shop\npostgresql = 18\n')
    assert error.code.text == "PT-1003"
    assert error.what == "pgtandem.toml is not valid TOML: line 2, column 13: illegal character '\\n'"
    assert error.why == 'Line 2 reads: name = "shop'


def test_toml_that_ends_too_early_shows_its_last_line() -> None:
    error = error_of("[cluster]\nname = [\n\n")
    assert "line 2, column 9" in error.what
    assert error.why == "Line 2 reads: name = ["


def test_table_that_stands_twice_is_named_and_explained() -> None:
    error = error_of("[nodes.db1]\n[nodes.db1]\n")
    assert "line 2" in error.what
    assert error.what.endswith("cannot declare nodes.db1 twice")
    assert error.next_step == "every key and every table stands only once in the file"


def test_toml_that_python_cannot_hold_is_refused_in_words() -> None:
    assert error_of("a = " + "9" * 5000).what.endswith("a number of too many digits")
    assert error_of("a = " + "[" * 5000).what.endswith("nested too deeply")
    assert problems_of(PAIR + f"[parameters]\nwork_mem = 0x{'f' * 5000}\n")[0].what == "the number is too large"
