"""The tables [pgbouncers.NAME]: what is read, and what is refused with what to write instead."""

import pytest

from pgtandem.errors import PgtandemError
from pgtandem.model.topology import Pgbouncer
from pgtandem.plan.pgbouncers import desired_text
from pgtandem.topology.load import load_topology

BEFORE = """
[cluster]
name = "shop"
postgresql = 18
[nodes.db1]
port = 5001
[nodes.db2]
port = 5002
"""


def read(table: str, name: str = "pool1") -> Pgbouncer:
    (pgbouncer,) = load_topology(f"{BEFORE}[pgbouncers.{name}]\n{table}", folder="/srv/shop").pgbouncers
    return pgbouncer


def refusal(table: str, name: str = "pool1") -> str:
    with pytest.raises(PgtandemError) as refused:
        read(table, name)
    assert refused.value.code.text == "PT-1004"
    (problem,) = refused.value.problems
    return f"{problem.where}: {problem.what}. {problem.why} -> {problem.next_step}"


def test_what_is_not_written_has_a_default_and_paths_begin_at_the_files_folder() -> None:
    pgbouncer = read('file = "pool.ini"\ndatabases = { shop = "shop" }\nadmin_password_file = "secret"')
    assert (pgbouncer.host.is_local, pgbouncer.address, pgbouncer.port) == (True, "127.0.0.1", 6432)
    assert (pgbouncer.file, pgbouncer.admin_password_file) == ("/srv/shop/pool.ini", "/srv/shop/secret")
    assert pgbouncer.admin_user == "pgtandem"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('databases = { shop = "shop" }', 'the key "file" is missing'),
        ('file = "pool.ini"', "there is no database"),
        ('file = "pool.ini"\ndatabases = { shop = 3 }', "is not a text"),
        ('file = "pool.ini"\ndatabases = { "*" = "shop" }', "is not a name of a database"),
        ('file = "pool.ini"\ndatabases = { pgbouncer = "shop" }', "the name of the admin console"),
        ('file = "pool.ini"\ndatabases = { a = "shop" }\nread_only_databases = { a = "shop" }', "primary already"),
        ('file = "pool.ini"\ndatabases = { "a b" = "shop" }', "is not a name that PgBouncer would read"),
        ('file = "a b.ini"\ndatabases = { a = "shop" }', "has a blank in it"),
        ('file = "pool.ini"\nport = 0\ndatabases = { a = "shop" }', "is not between 1 and 65535"),
        ('host = "ssh://h"\nfile = "pool.ini"\ndatabases = { a = "shop" }', "is not an absolute path"),
        (
            'file = "pool.ini"\ndatabases = { a = "shop" }\noptions = "password=x"',
            "Every account of that host may read",
        ),
        ('file = "pool.ini"\ndatabases = { a = "shop" }\noptions = "host=h"', "pgtandem says that itself"),
        ('file = "pool.ini"\ndatabase = { a = "shop" }', 'did you mean "databases"?'),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(table: str, words: str) -> None:
    assert words in refusal(table)


def test_a_name_is_not_that_of_a_node() -> None:
    good = 'file = "pool.ini"\ndatabases = { a = "shop" }'
    assert '"db1" is the name of a node' in refusal(good, "db1")
    assert "is not a name of a PgBouncer" in refusal(good, "Pool")


def test_names_on_the_servers_are_quoted_where_they_must_be_and_options_follow() -> None:
    text = 'file = "pool.ini"\ndatabases = { my-shop = "it\'s" }\nread_only_databases = { ro = "shop" }\n'
    topology = load_topology(f'{BEFORE}[pgbouncers.p]\n{text}options = "pool_size=5"', folder="/srv/shop")
    lines = desired_text(topology, topology.pgbouncers[0], topology.names[0]).splitlines()
    assert lines[-2:] == [
        "my-shop = host=127.0.0.1 port=5001 dbname='it''s' pool_size=5",
        "ro = host=127.0.0.1 port=5002 dbname=shop pool_size=5",
    ]
