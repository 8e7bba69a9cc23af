"""Which rules of doctor a test provokes on real servers, and the proof that it did.

`@provokes("REP05", "REP07")` says it of a test, which takes the fixture `looks` (or `Looks` from there) and shows it
what doctor found. When the test has passed, each of these rules must have been found in one look and silent in another.
`over_sql=True`: by `doctor --dsn`, which sees no host.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pgtandem.cli.doctor_by_sql import look_at_dsns
from pgtandem.doctor.diagnose import diagnose


def provokes(*rules: str, over_sql: bool = False) -> pytest.MarkDecorator:
    return pytest.mark.provokes(*rules, over_sql=over_sql)


def ids(document: Mapping[str, Any]) -> set[str]:
    """What `doctor --json` found, notes too."""
    return {finding["id"] for finding in (*document["findings"], *document["notes"])}


class Looks:
    """The looks of one test, each as the ids of what was found, those over SQL apart."""

    def __init__(self) -> None:
        self._taken: dict[bool, list[set[str]]] = {False: [], True: []}

    def take(self, found: Iterable[str], *, over_sql: bool = False) -> set[str]:
        self._taken[over_sql].append(set(found))
        return self._taken[over_sql][-1]

    def over_sql(self, *dsns: str) -> set[str]:
        """What `doctor --dsn` finds, without starting the program."""
        return self.take((finding.rule.id for finding in diagnose(look_at_dsns(dsns))), over_sql=True)

    def prove(self, rules: Iterable[str], over_sql: bool) -> None:
        """Fails for rules that were never found, or found in every look."""
        rules, taken = set(rules), self._taken[over_sql]
        never = rules - set().union(*taken)
        always = rules.intersection(*taken)
        assert (sorted(never), sorted(always)) == ([], []), "rules that were never found, or never silent"
