"""What doctor found, in the two formats that pipelines read: SARIF 2.1.0 (OASIS) and JUnit's XML."""

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from pgtandem import __version__
from pgtandem.doctor.diagnose import RULES, unseen
from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Finding, Severity

#: What the levels of SARIF are for (3.27.10): error, warning, note.
_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "warning",
    Severity.NOTE: "note",
}

#: Characters that no XML 1.0 document may hold.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def sarif(look: Look, findings: Sequence[Finding]) -> str:
    """A log with one run: every rule, a result per finding, and a notification for what could not be looked at."""
    ids = list(RULES)
    rules = [
        {
            "id": rule.id,
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.why},
            "help": {"text": rule.fix},
            "defaultConfiguration": {"level": _LEVELS[rule.severity]},
            "properties": {"severity": rule.severity.value},
        }
        for rule in RULES.values()
    ]
    notifications = [{"level": "warning", "message": {"text": f"{name}: {why}"}} for name, why in unseen(look)]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "pgtandem doctor", "version": __version__, "rules": rules}},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notifications}],
        "results": [_result(finding, ids.index(finding.rule.id)) for finding in findings],
        "properties": {"cluster": look.topology.cluster},
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2)


def _result(finding: Finding, index: int) -> dict[str, Any]:
    seen = finding.seen
    where = f"{seen.node}: " if seen.node else ""
    location: dict[str, Any] = {}
    if seen.node:
        location["logicalLocations"] = [{"name": str(seen.node), "kind": "resource"}]
    file, _, line = seen.where.rpartition(":")
    if seen.where.startswith("/"):
        path, number = (file, int(line)) if line.isdigit() and file else (seen.where, 0)
        location["physicalLocation"] = {"artifactLocation": {"uri": quote(path)}}
        if number > 0:
            location["physicalLocation"]["region"] = {"startLine": number}
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{where}{seen.what}\nWhy: {finding.rule.why}\nFix: {finding.fix}"},
        "properties": {"severity": finding.severity.value},
        **({"locations": [location]} if location else {}),
    }


def junit(look: Look, findings: Sequence[Finding]) -> str:
    """A test case per rule, which fails with everything that it found; notes do not fail. What could not be looked at
    is skipped: a rule that passes says nothing about it."""
    hidden = unseen(look)
    failed = {finding.rule.id for finding in findings if finding.severity is not Severity.NOTE}
    counts = {"tests": str(len(RULES) + len(hidden)), "failures": str(len(failed)), "errors": "0"}
    top = ElementTree.Element("testsuites", {"name": "pgtandem doctor", **counts, "time": "0"})
    name = _text(look.topology.cluster)
    suite = ElementTree.SubElement(top, "testsuite", {"name": name, **counts, "skipped": str(len(hidden)), "time": "0"})
    for rule in RULES.values():
        case = _case(suite, rule.id[:3], f"{rule.id} {rule.title}")
        own = [finding for finding in findings if finding.rule is rule]
        if rule.id in failed:
            gravest = min(own, key=lambda finding: list(Severity).index(finding.severity))
            attributes = {"message": _text(_line(gravest)), "type": gravest.severity.value}
            ElementTree.SubElement(case, "failure", attributes).text = _text(_words(own))
        elif own:
            ElementTree.SubElement(case, "system-out").text = _text(_words(own))
    for place, why in hidden:
        case = _case(suite, "unseen", place)
        ElementTree.SubElement(case, "skipped", {"message": _text(why)})
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, encoding="unicode")


def _case(suite: ElementTree.Element, group: str, name: str) -> ElementTree.Element:
    attributes = {"classname": f"pgtandem.doctor.{group}", "name": _text(name), "time": "0"}
    return ElementTree.SubElement(suite, "testcase", attributes)


def _words(findings: Sequence[Finding]) -> str:
    lines = [_line(finding) + (f" (at {finding.seen.where})" if finding.seen.where else "") for finding in findings]
    fixes = dict.fromkeys(finding.fix for finding in findings)
    return "\n".join([*lines, f"why: {findings[0].rule.why}", *(f"fix: {fix}" for fix in fixes)])


def _line(finding: Finding) -> str:
    return f"{finding.seen.node}: {finding.seen.what}" if finding.seen.node else finding.seen.what


def _text(words: str) -> str:
    return _NOT_XML.sub("?", words)
