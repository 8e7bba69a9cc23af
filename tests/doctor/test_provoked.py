"""Every rule is provoked on real servers by some test of tests/integration, and seen silent there.

The tests say which rules by `@provokes`, and the fixture `looks` proves it (support/provoking.py). What runs in
`make test` and what in `make chaos` the tests themselves say. `make test` shows here that none is left out.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from pgtandem.doctor.diagnose import RULES

_INTEGRATION = Path(__file__).parents[1] / "integration"

#: Rules that cannot be provoked on real servers on one machine, each with the reason.
CANNOT_BE_PROVOKED: dict[str, str] = {}

#: What stands in for the real thing where a rule is provoked, and why.
STOOD_IN_FOR = {
    "HST01": "two releases of ICU: the recorded version is changed in pg_database (test_doctor_dsn.py)",
    "HST02": "a clock of its own: `date` of the host is another program (test_doctor_hosts.py)",
    "HST07": "a smaller machine: the host has another /proc/meminfo (test_doctor_hosts.py)",
    "STB14": "a hundred million transactions: pg_resetwal takes the counter forward (support/transactions.py)",
    "STB18": "hours: the time in the prepared transaction's file is taken back (support/transactions.py)",
    "REP24": "a year: the certificate is signed for five days (test_tls.py)",
}


def provoking() -> Iterator[tuple[str, str, bool]]:
    """Rule, the test that provokes it, and whether over SQL alone."""
    for path in sorted(_INTEGRATION.glob("test_*.py")):
        if "@provokes(" not in path.read_text():
            continue
        for name, value in vars(import_module(f"integration.{path.stem}")).items():
            for mark in getattr(value, "pytestmark", ()) if name.startswith("test_") else ():
                if mark.name == "provokes":
                    for rule in mark.args:
                        yield rule, f"{path.stem}.{name}", mark.kwargs["over_sql"]


@pytest.fixture(scope="module")
def table() -> list[tuple[str, str, bool]]:
    return list(provoking())


def test_every_rule_is_provoked_on_real_servers(table: list[tuple[str, str, bool]]) -> None:
    provoked = {rule for rule, _, _ in table}
    assert set(RULES) - provoked - set(CANNOT_BE_PROVOKED) == set()
    assert provoked - set(RULES) == set(), "there are no such rules"
    assert provoked & set(CANNOT_BE_PROVOKED) == set(), "they can"
    assert set(STOOD_IN_FOR) - set(RULES) == set()


def test_every_rule_that_needs_sql_alone_is_provoked_over_sql_alone(table: list[tuple[str, str, bool]]) -> None:
    over_sql = {rule for rule, _, only in table if only}
    assert {rule.id for rule in RULES.values() if rule.by_sql} - over_sql - set(CANNOT_BE_PROVOKED) == set()
    assert {rule for rule in over_sql if not RULES[rule].by_sql} == set(), "they do not need a host"
