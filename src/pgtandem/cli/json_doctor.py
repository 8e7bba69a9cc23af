"""The JSON shapes of `pgtandem doctor` (docs/json.md)."""

from collections.abc import Sequence
from typing import Any

from pgtandem.cli.json_views import VERSION
from pgtandem.doctor.diagnose import RULES, unseen
from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Finding, Rule, Severity


def doctor_json(look: Look, findings: Sequence[Finding]) -> dict[str, Any]:
    notes = [finding for finding in findings if finding.severity is Severity.NOTE]
    return {
        "version": VERSION,
        "cluster": look.topology.cluster,
        "findings": [_finding(finding) for finding in findings if finding not in notes],
        "notes": [_finding(finding) for finding in notes],
        "unseen": [{"name": name, "why": why} for name, why in unseen(look)],
        "rules": len(RULES),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule.id,
        "severity": finding.severity.value,
        "title": finding.rule.title,
        "node": finding.seen.node,
        "seen": finding.seen.what,
        "where": finding.seen.where,
        "why": finding.rule.why,
        "fix": finding.fix,
    }


def rules_json(rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "rules": [
            {"id": rule.id, "severity": rule.severity.value, "title": rule.title, "why": rule.why, "fix": rule.fix}
            for rule in rules
        ],
    }
