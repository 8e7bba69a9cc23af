"""docs/topology.md against the table of keys: neither says more or less than the other."""

import re
from pathlib import Path

import pytest

from pgtandem.postgres.owned import OWNED
from pgtandem.topology.keys import KEYS, Key, Kind
from pgtandem.topology.load import load_topology

DOCUMENT = (Path(__file__).parents[2] / "docs" / "topology.md").read_text(encoding="utf-8")


def documented() -> dict[tuple[str, str], list[str]]:
    """The rows of all tables of keys: (table, key) to the cells type, default, meaning, example."""
    rows: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in DOCUMENT.splitlines():
        if heading := re.fullmatch(r"## `\[(.+)\]`", line):
            table = heading.group(1)
        elif line.startswith("## "):
            table = ""
        elif row := re.fullmatch(r"\| `(\w+)` \|(.*)\|", line):
            place = (table, row.group(1))
            assert place not in rows, f"{place} is documented twice"
            rows[place] = [cell.strip() for cell in row.group(2).split(" | ")]
    return rows


def test_every_key_is_documented_and_no_other() -> None:
    assert set(documented()) == {(key.table, key.name) for key in KEYS}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.table}.{key.name}")
def test_type_default_meaning_and_example_are_those_of_the_key(key: Key) -> None:
    kind, default, meaning, *example = documented()[key.table, key.name]
    assert kind == key.kind.value
    assert default == key.default_text
    assert meaning == (f"{key.meaning}: {key.values_text}" if key.values_text else key.meaning)
    assert example == ([f"`{key.example}`"] if key.table else [])


@pytest.mark.parametrize("key", [key for key in KEYS if key.kind is Kind.TABLE], ids=lambda key: key.name)
def test_every_table_has_a_section(key: Key) -> None:
    assert re.search(rf"^## `\[{key.name}[\].]", DOCUMENT, re.MULTILINE)


def test_examples_of_whole_files_are_sound() -> None:
    files = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert files
    for text in files:
        load_topology(text, folder="/srv/shop")


def test_every_setting_that_pgtandem_decides_is_documented_with_what_to_write_instead() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", DOCUMENT.split("## `[parameters]`")[1], re.MULTILINE))
    assert {name: words for name, words in rows.items() if name != "setting"} == dict(OWNED)
