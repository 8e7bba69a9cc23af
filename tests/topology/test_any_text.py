"""Whatever stands in the file, reading it gives a topology or a PgtandemError with its problems in order."""

import math
from collections.abc import Mapping

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pgtandem.errors import PgtandemError
from pgtandem.topology.keys import KEYS
from pgtandem.topology.load import load_topology
from pgtandem.topology.toml import quote_key, quote_text

from .files import FOLDER, PAIR

_words = st.sampled_from(
    [
        *sorted({key.name for key in KEYS}),
        *(
            "db1",
            "db2",
            "db-1",
            "db_1",
            "work_mem",
            "wal_level",
            "max_wal_senders",
            "DateStyle",
            "port",
            "a.b",
        ),
        *("local", "ssh://x", "embedded", "minimal", "any 1", "first 2", "none", "degrade", "data/db1", "/"),
    ]
)
_texts = _words | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_plain = (
    _texts | st.integers() | st.sampled_from([0, 5, 10, 18, 5432, 2**63]) | st.floats() | st.booleans() | st.dates()
)
_values = st.recursive(
    _plain,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=12,
)
_setting = st.dictionaries(_texts, _values, max_size=4)
_documents = st.fixed_dictionaries(
    {},
    optional={
        "cluster": _values | _setting,
        "nodes": _values | st.dictionaries(_texts, _setting, max_size=4),
        "replication": _values | _setting,
        "archive": _values | _setting,
        "parameters": _values | _setting,
        "something": _values,
    },
)


def toml(value: object) -> str:
    """A value as TOML, tables inline."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quote_text(value)
        case float() if not math.isfinite(value):
            return str(value)
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{quote_key(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
        case _:
            return str(value)


def read(text: str) -> None:
    error = _error(text)
    if error is None:
        return
    assert error.code.text in ("PT-1003", "PT-1004"), error
    assert bool(error.problems) == (error.code.text == "PT-1004")
    assert error.what
    assert all(problem.what for problem in error.problems), "a problem has words"
    words = [error.what, error.why, error.next_step]
    for problem in error.problems:
        words += [problem.where, problem.what, problem.why, problem.next_step]
    assert all(len(text.splitlines()) <= 1 for text in words), "all words stand on one line"


def _error(text: str) -> PgtandemError | None:
    try:
        load_topology(text, folder=FOLDER)
    except PgtandemError as error:
        return error
    return None


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_documents)
@example({"cluster": {"name": "x", "postgresql": 18}, "nodes": {"": {"": {}}, "db1": {"upstream": "db1"}}})
def test_any_tables_give_a_topology_or_a_pgtandem_error(document: Mapping[str, object]) -> None:
    text = "\n".join(f"{quote_key(key)} = {toml(value)}" for key, value in document.items())
    read(text)


@given(_setting, st.integers(10, 18))
def test_any_parameters_give_a_topology_or_a_pgtandem_error(values: Mapping[str, object], major: int) -> None:
    read(PAIR.replace("= 18", f"= {major}") + f"\n[replication]\n[archive]\n[nodes.db3]\nparameters = {toml(values)}")


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('[]{}="#\n.')))
def test_any_text_gives_a_topology_or_a_pgtandem_error(text: str) -> None:
    read(text)
    read(PAIR + text)
