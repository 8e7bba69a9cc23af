"""The tables [nodes.NAME] and what holds between nodes: every refusal."""

import pytest

from pgtandem.model.names import NodeName

from .files import CLUSTER, PAIR, load, only_problem, places_of, problems_of


def second(lines: str) -> str:
    """A pair whose second node has these lines."""
    return f"{CLUSTER}[nodes.db1]\n[nodes.db2]\nport = 5433\n{lines}\n"


def test_cluster_without_nodes_is_refused() -> None:
    problem = only_problem(CLUSTER + "[nodes]\n")
    assert (problem.where, problem.what) == ("nodes", "there is no node")


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("DB1", "for example [nodes.db1]"),
        ("1", "for example [nodes.db1]"),
        ('"db 1"', "for example [nodes.db-1]"),
        ("a" * 51, f"for example [nodes.{'a' * 50}]"),
        ('""', "for example [nodes.db1]"),
    ],
)
def test_name_of_a_node_that_is_none_is_refused(name: str, next_step: str) -> None:
    problem = only_problem(f"{CLUSTER}[nodes.{name}]\n")
    assert problem.where == f"nodes.{name}"
    assert "is not a name of a node" in problem.what
    assert problem.next_step == next_step


def test_two_names_with_one_slot_are_refused() -> None:
    problem = only_problem(CLUSTER + "[nodes.db-1]\n[nodes.db_1]\nport = 5433\n")
    assert problem.where == "nodes.db_1"
    assert problem.what == '"db_1" and "db-1" would share the replication slot "pgtandem_db_1"'


def test_key_of_a_node_outside_of_any_node_is_refused() -> None:
    problem = only_problem(PAIR.replace("[nodes.db1]", "[nodes]\nport = 1\n[nodes.db1]"))
    assert (problem.where, problem.what) == ("nodes.port", "1 is not a table")
    assert problem.next_step == "write port under [nodes.db1]"


def test_unreadable_node_may_still_be_an_upstream() -> None:
    assert places_of(CLUSTER + '[nodes]\ndb1 = 3\ndb2 = { upstream = "db1" }\n') == ["nodes.db1"]


def test_nodes_as_an_array_of_tables_are_refused() -> None:
    problem = only_problem(CLUSTER + '[[nodes]]\nname = "db1"\n')
    assert (problem.where, problem.what) == ("nodes", "an array is not a table")


SSH_PAIR = CLUSTER + '[nodes.db1]\nhost = "ssh://postgres@10.0.0.1"\n[nodes.db2]\nhost = "{host}"\n'


@pytest.mark.parametrize(
    ("host", "address"),
    [("ssh://10.0.0.2", "10.0.0.2"), ("ssh://p@db.example:2222", "db.example"), ("ssh://p@[fe80::1]:22", "fe80::1")],
)
def test_node_over_ssh_has_the_hosts_address_and_a_directory_of_its_own(host: str, address: str) -> None:
    node = load(SSH_PAIR.replace("{host}", host)).nodes[1]
    assert (node.host.url, node.address) == (host, address)
    assert (node.port, node.data_directory) == (5432, "/var/lib/postgresql/18/shop")


def test_relative_directory_on_another_host_is_refused() -> None:
    text = SSH_PAIR.replace("{host}", "ssh://10.0.0.2") + 'data_directory = "data"\n'
    problem = only_problem(text)
    assert (problem.where, problem.what) == ("nodes.db2.data_directory", '"data" is not an absolute path')


def test_loopback_address_between_hosts_is_refused() -> None:
    """Nobody else could connect to a node on this machine at 127.0.0.1."""
    problem = only_problem(SSH_PAIR.replace("{host}", "local"))
    assert problem.where == "nodes.db2.address"
    assert 'cannot connect to "db2" at 127.0.0.1' in problem.what
    for address in ("localhost", "::1"):
        assert only_problem(SSH_PAIR.replace("{host}", "ssh://h") + f'address = "{address}"\n').where == problem.where


@pytest.mark.parametrize("host", ["10.0.0.1", "ssh://", "ssh://a b", "ssh://a:99999", "ssh://a/x", "ssh://-o@"])
def test_host_that_is_none_is_refused(host: str) -> None:
    problem = only_problem(second(f'host = "{host}"'))
    assert (problem.where, problem.what) == ("nodes.db2.host", f'"{host}" is not a host')


@pytest.mark.parametrize("address", ["127.0.0.2", "::1", "db2.example.org", "localhost", "db2.example."])
def test_addresses_and_host_names_are_taken(address: str) -> None:
    assert load(second(f'address = "{address}"')).nodes[1].address == address


@pytest.mark.parametrize("address", ["a b", "10.0.0.1,10.0.0.2", "256.1.1.1", "/tmp", "x'y", "a" * 64, "10.0.0.1/32"])
def test_address_that_is_none_is_refused(address: str) -> None:
    problem = only_problem(second(f'address = "{address}"'))
    assert problem.where == "nodes.db2.address"
    assert problem.what == f'"{address}" is not an IP address or a host name'


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_address_that_nobody_can_connect_to_is_refused(address: str) -> None:
    problem = only_problem(second(f'address = "{address}"'))
    assert "is not an address that another node could connect to" in problem.what
    assert "listen_addresses" in problem.next_step


@pytest.mark.parametrize("port", ["0", "80", "1023", "65536", "-5432"])
def test_port_out_of_range_is_refused(port: str) -> None:
    problem = only_problem(f"{CLUSTER}[nodes.db1]\nport = {port}\n")
    assert problem.where == "nodes.db1.port"
    assert problem.what == f"port {port} is not between 1024 and 65535"


def test_port_in_quotes_is_refused_with_the_line_that_was_meant() -> None:
    problem = only_problem(f'{CLUSTER}[nodes.db1]\nport = "5432"\n')
    assert (problem.what, problem.next_step) == ('"5432" is not a whole number', "port = 5432")


def test_number_where_a_text_is_expected_is_refused_with_the_line_that_was_meant() -> None:
    problem = only_problem(second("zone = 5"))
    assert (problem.where, problem.what) == ("nodes.db2.zone", "5 is not a text")
    assert problem.next_step == 'zone = "5"'


def test_every_later_node_with_a_taken_port_is_told_a_free_one() -> None:
    problems = problems_of(CLUSTER + "[nodes.db1]\n[nodes.db2]\n[nodes.db3]\nport = 5433\n[nodes.db4]\n")
    assert [(problem.where, problem.what, problem.next_step) for problem in problems] == [
        ("nodes.db2.port", 'port 5432 belongs to node "db1" on the same host', "port = 5434"),
        ("nodes.db4.port", 'port 5432 belongs to node "db1" on the same host', "port = 5435"),
    ]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "is the root directory"),
        ("/x/..", "is the root directory"),
        ("~/data", "begins with ~"),
        ("a\\nb", "has a control character"),
        ("a\\u0000b", "has a control character"),
        ("a\\u0085b", "has a control character"),
        ("", "the text is empty"),
    ],
)
def test_directory_that_is_none_is_refused(path: str, words: str) -> None:
    problem = only_problem(second(f'data_directory = "{path}"'))
    assert problem.where == "nodes.db2.data_directory"
    assert words in problem.what
    problem = only_problem(f'{PAIR}[archive]\ndirectory = "{path}"\n')
    assert problem.where == "archive.directory"
    assert words in problem.what


def test_directory_with_spaces_a_quote_and_letters_of_other_languages_is_taken() -> None:
    topology = load(second('data_directory = "a 東京\'s x"'))
    assert topology.nodes[1].data_directory == "/srv/shop/a 東京's x"


@pytest.mark.parametrize("character", list('"$`\\'))
def test_directory_that_the_shell_of_pg_ctl_would_misread_is_refused(character: str) -> None:
    problem = only_problem(second(f"data_directory = 'a{character}b'"))
    assert problem.where == "nodes.db2.data_directory"
    assert f"has a {character} in it" in problem.what


def test_same_data_directory_is_refused() -> None:
    problem = only_problem(second('data_directory = "data/../data/db1/"'))
    assert problem.where == "nodes.db2.data_directory"
    assert 'data directory "/srv/shop/data/db1" is the same as the one of node "db1"' in problem.what


def test_data_directory_inside_another_one_is_refused() -> None:
    assert 'is inside the one of node "db1"' in only_problem(second('data_directory = "data/db1/x"')).what
    inner_first = PAIR.replace("5432", '5432\ndata_directory = "/data/a"')
    text = inner_first.replace("5433", '5433\ndata_directory = "/data"')
    assert 'contains the one of node "db1"' in only_problem(text).what


def test_data_directory_beside_one_with_a_longer_name_is_taken() -> None:
    assert load(second('data_directory = "data/db1x"')).nodes[1].data_directory == "/srv/shop/data/db1x"


@pytest.mark.parametrize("path", [".", "..", "/srv/shop"])
def test_data_directory_around_the_topology_file_is_refused(path: str) -> None:
    problem = only_problem(second(f'data_directory = "{path}"'))
    assert problem.where == "nodes.db2.data_directory"
    assert "holds the topology file's own folder" in problem.what


@pytest.mark.parametrize(
    ("path", "words"),
    [("data/db2", "is the same as"), ("data/db2/archive", "is inside"), ("data", "contains")],
)
def test_archive_and_data_directory_in_each_other_are_refused(path: str, words: str) -> None:
    problem = only_problem(f'{PAIR}[archive]\ndirectory = "{path}"\n')
    assert problem.where == "archive.directory"
    assert words in problem.what


def test_first_node_with_an_upstream_is_refused() -> None:
    problem = only_problem(PAIR.replace("port = 5432", 'port = 5432\nupstream = "db2"'))
    assert problem.where == "nodes.db1.upstream"
    assert problem.what == 'the first node "db1" starts as the primary and follows nobody'


def test_unknown_upstream_is_refused_with_what_was_meant() -> None:
    problem = only_problem(second('upstream = "db11"'))
    assert (problem.where, problem.what) == ("nodes.db2.upstream", 'unknown node "db11"')
    assert problem.next_step == 'did you mean "db1"?'
    assert only_problem(second('upstream = "tokyo"')).next_step == "the nodes are db1 and db2"


def test_node_that_follows_itself_is_refused() -> None:
    assert only_problem(second('upstream = "db2"')).what == 'node "db2" is its own upstream'


def test_loop_of_upstreams_is_named_once_from_its_first_node() -> None:
    problem = only_problem("""
[cluster]
name = "shop"
postgresql = 18
[nodes]
db1 = { port = 5001 }
db0 = { port = 5000, upstream = "db3" }
db2 = { port = 5002, upstream = "db4" }
db3 = { port = 5003, upstream = "db2" }
db4 = { port = 5004, upstream = "db3" }
""")
    assert problem.where == "nodes.db2.upstream"
    assert problem.what == "a loop of upstreams: db2 -> db4 -> db3 -> db2"


def test_chain_of_upstreams_is_taken() -> None:
    topology = load(second('upstream = "db3"\n[nodes.db3]\nport = 5434\nupstream = "db1"'))
    assert [node.upstream for node in topology.nodes] == [None, "db3", "db1"]


@pytest.mark.parametrize(("text", "delay"), [("1h", "1h"), ("90 min", "90min"), ("0250ms", "250ms"), ("0s", None)])
def test_delay_is_a_whole_number_with_a_unit(text: str, delay: str | None) -> None:
    assert load(second(f'apply_delay = "{text}"')).nodes[1].apply_delay == delay


@pytest.mark.parametrize("text", ["3600", "1 hour", "1.5h", "-1h", "h"])
def test_delay_without_a_unit_is_refused(text: str) -> None:
    problem = only_problem(second(f'apply_delay = "{text}"'))
    assert problem.where == "nodes.db2.apply_delay"
    assert problem.what == f'"{text}" is not a whole number with a unit'
    assert problem.next_step == 'for example apply_delay = "1h"'


def test_delay_longer_than_postgresql_allows_is_refused() -> None:
    assert load(second('apply_delay = "24d"')).nodes[1].apply_delay == "24d"
    assert only_problem(second('apply_delay = "25d"')).what == '"25d" is more than 24 days'


def test_delay_of_the_first_node_is_refused() -> None:
    problem = only_problem(f'{CLUSTER}[nodes.db1]\napply_delay = "1h"\n[nodes.db2]\nport = 5433\n')
    assert problem.what == 'the first node "db1" starts as the primary and replays nothing'


@pytest.mark.parametrize(("durability", "why"), [("on", "never promoted"), ("remote_apply", "wait for the delay")])
def test_delayed_standby_does_not_count_among_those_that_confirm(durability: str, why: str) -> None:
    wish = f'[replication]\nsynchronous = "any 1"\ndurability = "{durability}"'
    problem = only_problem(second(f'apply_delay = "1h"\n{wish}'))
    assert problem.where == "replication.synchronous"
    assert problem.what == '"any 1" needs 1, and "db2" cannot confirm: delayed'
    assert why in problem.why
    trio = second(f'apply_delay = "1h"\n[nodes.db3]\nport = 5434\n{wish}')
    assert load(trio).confirming(NodeName("db1")) == ("db3",)


def test_delay_is_no_setting_of_the_parameters() -> None:
    problem = only_problem(second('parameters = { recovery_min_apply_delay = "1h" }'))
    assert problem.next_step == "say it as nodes.NAME.apply_delay"
