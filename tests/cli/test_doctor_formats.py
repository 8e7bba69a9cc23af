"""doctor's findings in the formats of pipelines, held to what SARIF 2.1.0 and JUnit's XML ask for."""

import json
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from doctor.looks import changed, healthy_look
from pgtandem.cli.doctor_formats import junit, sarif
from pgtandem.doctor.diagnose import RULES, diagnose, unseen, wrong
from pgtandem.doctor.look import Look
from support.junit import check_junit
from support.sarif import check_sarif

SETTING = {"value": "off", "source": "configuration file"}


def broken() -> Look:
    """Two findings of one rule, one with a file and a line, and a server that could not be asked."""
    return changed(
        healthy_look("trio"),
        {
            "db1": {"server": {"settings": {"fsync": SETTING}}},
            "db1+": {"lines": {"fsync": ["/srv/shop data/postgresql.conf", 12]}},
            "db2": {"server": {"settings": {"fsync": SETTING}}},
            "db3": {"server": "unknown: it said \x07 <nothing> & more"},
        },
    )


def test_sarif_has_every_rule_and_a_result_per_finding_with_file_and_line() -> None:
    look = broken()
    findings = diagnose(look)
    log = json.loads(sarif(look, findings))
    check_sarif(log)
    (run,) = log["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    assert len(run["results"]) == len(findings)
    fsync = [result for result in run["results"] if result["ruleId"] == "STB20"]
    assert [result["level"] for result in fsync] == ["error", "error"]
    place = next(result for result in fsync if result["message"]["text"].startswith("db1"))["locations"][0]
    assert unquote(place["physicalLocation"]["artifactLocation"]["uri"]) == "/srv/shop data/postgresql.conf"
    assert place["physicalLocation"]["region"] == {"startLine": 12}
    assert place["logicalLocations"][0]["name"] == "db1"
    told = [each["message"]["text"] for each in run["invocations"][0]["toolExecutionNotifications"]]
    assert any("db3" in text for text in told)


def test_sarif_of_a_healthy_cluster_has_no_results_but_notes() -> None:
    look = healthy_look("pair")
    log = json.loads(sarif(look, diagnose(look)))
    check_sarif(log)
    assert all(result["level"] == "note" for result in log["runs"][0]["results"])


def test_junit_has_a_case_per_rule_and_counts_that_are_right() -> None:
    look = broken()
    findings = diagnose(look)
    top = ElementTree.fromstring(junit(look, findings).encode())
    check_junit(top)
    (suite,) = top
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.attrib["tests"]) == len(RULES) + len(unseen(look))
    failed = [case for case in cases if case.find("failure") is not None]
    assert len(failed) == int(suite.attrib["failures"]) == int(top.attrib["failures"])
    assert len(suite.findall("testcase/skipped")) == int(suite.attrib["skipped"]) == 1
    assert all(case.attrib["name"] and case.attrib["classname"] for case in cases)
    case = next(case for case in failed if case.attrib["name"].startswith("STB20 "))
    failure = case.find("failure")
    assert failure is not None
    assert failure.attrib["type"] == "critical"
    assert "db1: " in (failure.text or "")
    assert "db2: " in (failure.text or "")
    assert "\nwhy: " in (failure.text or "")
    (skipped,) = suite.findall("testcase/skipped")
    assert "<nothing> & more" in skipped.attrib["message"]


def test_junit_of_a_healthy_cluster_fails_nowhere() -> None:
    look = healthy_look("pair")
    findings = diagnose(look)
    assert not wrong(findings)
    top = ElementTree.fromstring(junit(look, findings).encode())
    check_junit(top)
    suite = top[0]
    assert suite.attrib["failures"] == "0"
    assert suite.findall("testcase/failure") == []


def test_what_the_standard_does_not_know_is_no_sarif() -> None:
    look = broken()
    for change, words in (
        (lambda log: log.pop("version"), "lacks"),
        (lambda log: log["runs"][0]["results"][0].update(severity="high"), "severity"),
        (lambda log: log["runs"][0]["results"][0].update(level="critical"), "critical"),
        (lambda log: log["runs"][0]["tool"]["driver"].update(informationUri="a b"), "no URI"),
    ):
        log = json.loads(sarif(look, diagnose(look)))
        change(log)
        with pytest.raises(AssertionError, match=words):
            check_sarif(log)
