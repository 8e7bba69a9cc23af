"""The words of `pgtandem whatif`: which nodes they mean, and what is said of one that means none."""

import pytest

from pgtandem.cli.named import named_failures
from pgtandem.errors import PgtandemError
from pgtandem.topology.load import load_topology

FILE = """
[cluster]
name = "shop"
postgresql = 18
[nodes.db1]
host = "ssh://postgres@10.0.0.1"
zone = "tokyo"
data_directory = "/srv/db1"
[nodes.db2]
host = "ssh://postgres@10.0.0.1"
port = 5433
zone = "osaka"
data_directory = "/srv/db2"
[nodes.db3]
host = "ssh://postgres@db3.example"
address = "10.0.0.3"
zone = "osaka"
[nodes.tokyo]
port = 5435
address = "10.0.0.9"
"""
TOPOLOGY = load_topology(FILE, folder="/srv/shop")


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        (["db1-down"], ("db1",)),
        (["db3-down", "db1-down", "db3-down"], ("db1", "db3")),
        (["host:10.0.0.1-down"], ("db1", "db2")),
        (["host:10.0.0.3-down"], ("db3",)),
        (["host:db3.example-down"], ("db3",)),
        (["host:ssh://postgres@db3.example-down"], ("db3",)),
        (["host:this-machine-down"], ("tokyo",)),
        (["host:local-down"], ("tokyo",)),
        (["zone:tokyo-down"], ("db1",)),
        (["tokyo-down"], ("tokyo",)),
        (["zone:osaka-down", "db1-down"], ("db1", "db2", "db3")),
    ],
)
def test_words_mean_nodes(words: list[str], nodes: tuple[str, ...]) -> None:
    assert named_failures(TOPOLOGY, words) == nodes


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("db1", "db1-down"),
        ("db11-down", "db1-down"),
        ("osaka-down", "zone:osaka-down"),
        ("zone:osaca-down", "zone:osaka-down"),
        ("10.0.0.1-down", "host:10.0.0.1-down"),
        ("host:10.0.0.1", "host:10.0.0.1-down"),
    ],
)
def test_a_word_that_means_none_is_told_what_was_meant(word: str, meant: str) -> None:
    with pytest.raises(PgtandemError) as refused:
        named_failures(TOPOLOGY, ["db2-down", word])
    assert refused.value.code.text == "PT-1006"
    assert refused.value.next_step == f'did you mean "{meant}"?'


def test_a_word_like_nothing_is_told_what_there_is() -> None:
    with pytest.raises(PgtandemError) as refused:
        named_failures(TOPOLOGY, ["42"])
    assert "db1-down" in refused.value.next_step
    assert "zone:osaka-down" in refused.value.next_step
