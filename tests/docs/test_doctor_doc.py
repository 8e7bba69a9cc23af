"""docs/doctor.md has every rule as the program tells it; PGTANDEM_REWRITE=1 writes the table anew."""

import os
import re

from docs.pages import DOCS, page, rows
from pgtandem.doctor.diagnose import RULES


def test_the_page_lists_every_rule_and_no_other() -> None:
    table = "".join(
        f"| {rule.id} | {rule.severity.value} | {rule.title} | {rule.why.replace('|', chr(92) + '|')} |\n"
        for rule in RULES.values()
    )
    if os.environ.get("PGTANDEM_REWRITE"):
        before = page("doctor.md")
        text = re.sub(r"(\|---\|---\|---\|---\|\n)(?:\|.*\n)*", lambda head: head[1] + table, before, count=1)
        (DOCS / "doctor.md").write_text(text, encoding="utf-8")
    listed = {row[0]: row[1:] for row in rows(page("doctor.md"))}
    assert listed == {row[0]: row[1:] for row in rows("| a |\n|---|\n" + table)}
    assert list(listed) == list(RULES), "in the order of their ids"


def test_the_readme_counts_them() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\| (\d+) traps of streaming replication", readme)[1] == str(len(RULES))  # type: ignore[index]
