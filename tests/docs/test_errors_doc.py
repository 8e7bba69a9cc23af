"""docs/errors.md against the table of codes, and the table against the program: neither says more or less."""

import re
from pathlib import Path

import pytest

from docs.pages import DOCS, page, rows, sections
from pgtandem.errors import CODES, Code, Family

SOURCE = DOCS.parent / "src" / "pgtandem"


def documented() -> dict[str, tuple[str, list[str]]]:
    """Each code with the section that it stands in and its cells."""
    found: dict[str, tuple[str, list[str]]] = {}
    for title, text in sections(page("errors.md")).items():
        for code, *cells in rows(text):
            if code.startswith("PT-"):
                assert code not in found, f"{code} is documented twice"
                found[code] = title, cells
    return found


def used() -> set[str]:
    """Every code that stands in the program as a text of its own, outside of the table."""
    texts = (path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if path.parent.name != "errors")
    return {code for text in texts for code in re.findall(r'"(PT-\d{4})"', text)}


def test_every_code_is_documented_and_no_other() -> None:
    assert list(documented()) == list(CODES)


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.text)
def test_the_meaning_is_that_of_the_table_and_something_is_said_about_what_to_do(code: Code) -> None:
    title, (meaning, advice) = documented()[code.text]
    assert title.casefold() == code.family.title.casefold()
    assert meaning == code.meaning
    assert len(advice) > 5


def test_every_code_of_the_table_is_used_and_no_other() -> None:
    assert used() == set(CODES)


def test_every_exit_code_is_documented_with_its_family() -> None:
    table = {row[0]: row[1] for row in rows(sections(page("errors.md"))["Exit codes"])}
    assert list(table) == ["0", "2", *(str(family.exit_code) for family in Family), "130", "141"]
    for family in Family:
        assert table[str(family.exit_code)] == f"{family.title} (PT-{family.digit}...)"


def test_the_example_is_an_error_that_exists() -> None:
    (code,) = re.findall(r"\[(PT-\d{4})\]", page("errors.md"))
    assert code in CODES


def test_no_other_page_names_a_code_that_does_not_exist() -> None:
    pages = [*Path(DOCS).rglob("*.md"), *DOCS.parent.glob("*.md")]
    for path in pages:
        for code in re.findall(r"\bPT-\d{4}\b", path.read_text(encoding="utf-8")):
            assert code in CODES, f"{path.name} names {code}"
