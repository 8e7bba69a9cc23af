"""What doctor found, for people: gravest first, each trap once with every place where it is."""

import textwrap
from collections.abc import Callable, Sequence

from pgtandem.cli.prose import wrapped
from pgtandem.cli.terminal import Paint
from pgtandem.doctor.diagnose import RULES, unseen
from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Finding, Rule, Severity

_LABEL = 8


def finding_lines(
    look: Look, findings: Sequence[Finding], paint: Paint, columns: int, spell: Callable[[str], str] = str
) -> list[str]:
    """The findings, what could not be looked at, and a line that counts. `spell` writes commands as they must be called
    here: before lines are made, since that may be longer."""
    lines: list[str] = []
    for group in _groups(findings):
        lines += _group(group, paint, columns, spell)
    for name, why in unseen(look):
        lines += _wrapped("unseen:", spell(f"{name}: {why}"), columns)
    # Over SQL alone the cluster has no name but those of its servers, which are above.
    whole = f"{len(look.topology.nodes)} servers" if look.sql_only else f"cluster {look.topology.cluster}"
    return [*lines, paint.bold(whole) + f": {_count(findings)} ({len(RULES)} rules)"]


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of one rule and severity together, in the order of the first of them."""
    groups: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.rule.id, finding.severity), []).append(finding)
    return list(groups.values())


def _group(findings: list[Finding], paint: Paint, columns: int, spell: Callable[[str], str]) -> list[str]:
    first = findings[0]
    rule, severity = first.rule, first.severity
    heading = f"{severity.value.upper():<9} {rule.id}  {rule.title}"
    lines = [_coloured(paint, severity, line) for line in _hanging(heading, 17, columns)]
    for finding in findings:
        seen = finding.seen
        lines += _wrapped(seen.node or "", spell(seen.what), columns)
        if seen.where:
            lines += _wrapped("", f"at {seen.where}", columns)
    lines += [paint.dim(line) for line in _wrapped("why:", spell(rule.why), columns)]
    for fix in dict.fromkeys(finding.fix for finding in findings):
        lines += _wrapped("fix:", spell(fix), columns)
    return [*lines, ""]


def _coloured(paint: Paint, severity: Severity, line: str) -> str:
    if severity in (Severity.CRITICAL, Severity.HIGH):
        return paint.red(line)
    return paint.yellow(line) if severity is Severity.MEDIUM else paint.bold(line)


def _count(findings: Sequence[Finding]) -> str:
    counted = {severity: sum(finding.severity is severity for finding in findings) for severity in Severity}
    notes = counted.pop(Severity.NOTE)
    total = sum(counted.values())
    text = "nothing is wrong"
    if total:
        each = ", ".join(f"{number} {severity.value}" for severity, number in counted.items() if number)
        text = f"{total} finding{'' if total == 1 else 's'}: {each}"
    return f"{text}, {notes} note{'' if notes == 1 else 's'}" if notes else text


def explained(rules: Sequence[Rule], paint: Paint, columns: int) -> list[str]:
    """One rule in full, or a line for each of several."""
    if len(rules) != 1:
        lines = []
        for rule in rules:
            lines += _hanging(f"{rule.id}  {rule.severity.value:<9} {rule.title}", 17, columns)
        return lines
    (rule,) = rules
    return [
        paint.bold(f"{rule.id} ({rule.severity.value})"),
        *_wrapped("trap:", rule.title, columns),
        *_wrapped("why:", rule.why, columns),
        *_wrapped("fix:", rule.fix, columns),
    ]


def _wrapped(label: str, text: str, columns: int) -> list[str]:
    """Indented by two, the label before the first line; a command is never broken within a word."""
    first = f"  {label:<{_LABEL}}" if len(label) < _LABEL else f"  {label} "
    lines = wrapped(text, max(columns - 2 - _LABEL, 20), " " * (len(first) - 2 - _LABEL))
    below = " " * (2 + _LABEL)
    return [first + line.lstrip() if number == 0 else below + line for number, line in enumerate(lines)]


def _hanging(text: str, indent: int, columns: int) -> list[str]:
    return textwrap.wrap(
        text, max(columns, 40), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
