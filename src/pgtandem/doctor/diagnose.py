"""All rules, and what they find together."""

import re
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from pgtandem.doctor import (
    access,
    archive,
    backups,
    hosts,
    pools,
    replication,
    restore,
    settings,
    standbys,
    synchronous,
)
from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Finding, Rule, Seen, Severity
from pgtandem.model.facts import Absent, Unknown

_GROUPS: tuple[ModuleType, ...] = (
    archive,
    backups,
    restore,
    access,
    replication,
    settings,
    synchronous,
    standbys,
    hosts,
    pools,
)


def _rules() -> Iterator[Rule]:
    for group in _GROUPS:
        yield from (value for value in vars(group).values() if isinstance(value, Rule))


#: By their id, in the order of the catalogue.
RULES: dict[str, Rule] = {rule.id: rule for rule in sorted(_rules(), key=lambda rule: rule.id)}

_GRAVEST_FIRST = list(Severity)


def diagnose(look: Look) -> tuple[Finding, ...]:
    """Every finding, gravest first."""
    found = [Finding(rule, _masked(seen)) for rule in RULES.values() for seen in rule.look(look)]
    return tuple(sorted(found, key=lambda finding: _GRAVEST_FIRST.index(finding.severity)))


#: A password in connection parameters or in a URI, whichever setting shows it.
_PASSWORD = re.compile(r"((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.|'')*'|[^\s']+)|(://[^:/@\s]*:)[^@\s]+(?=@)")


def _masked(seen: Seen) -> Seen:
    return replace(seen, what=_PASSWORD.sub(lambda found: f"{found[1] or found[3]}****", seen.what))


def wrong(findings: tuple[Finding, ...]) -> bool:
    """Whether anything is wrong: notes do not count."""
    return any(finding.severity is not Severity.NOTE for finding in findings)


def unseen(look: Look) -> list[tuple[str, str]]:
    """What could not be looked at, each with the reason: a silent rule means nothing there."""
    missing = []
    for name, seen in look.observed.nodes.items():
        if isinstance(seen.server, Unknown):
            missing.append((str(name), seen.server.sentence))
        elif isinstance(seen.server, Absent):
            missing.append((str(name), "Its server does not run."))
        elif isinstance(fact := look.examined.nodes.get(name), Unknown):
            missing.append((str(name), fact.sentence))
        elif isinstance(seen.data, Unknown):
            missing.append((str(name), seen.data.sentence))
    if isinstance(look.examined.archive, Unknown):
        missing.append(("archive", look.examined.archive.sentence))
    if look.sql_only:
        silent = [rule.id for rule in RULES.values() if not rule.by_sql]
        why = f"{len(silent)} need a host or a topology file, and say nothing: {', '.join(silent)}."
        missing.append(("rules", why))
    return missing
