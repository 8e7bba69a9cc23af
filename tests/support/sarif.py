"""What SARIF 2.1.0 (OASIS, sections 3.13 to 3.58) asks of the objects that pgtandem writes.

The schema that OASIS publishes is not part of this repository. What it says of these objects is in the table: which
properties must be there, which ones may, and what they hold. It allows no others. (By hand the program's output was
checked against that schema, and by the multitool that Microsoft publishes for SARIF: no errors.)
"""

import re
from typing import Any

_LEVELS = ("none", "note", "warning", "error")
#: A relative or absolute URI (RFC 3986).
_URI = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")

#: Kind of object: of each property what it holds: another kind, a list of one, or a check; "!" for those that must be.
_OBJECTS: dict[str, dict[str, object]] = {
    "log": {"$schema": str, "version!": ("2.1.0",), "runs!": ["run"], "properties": dict},
    "run": {"tool!": "tool", "invocations": ["invocation"], "results": ["result"], "properties": dict},
    "tool": {"driver!": "toolComponent", "extensions": ["toolComponent"], "properties": dict},
    "toolComponent": {
        "name!": str,
        "version": str,
        "semanticVersion": str,
        "informationUri": _URI,
        "rules": ["rule"],
        "fullName": str,
        "organization": str,
        "properties": dict,
    },
    "rule": {
        "id!": str,
        "name": str,
        "shortDescription": "text",
        "fullDescription": "text",
        "help": "text",
        "helpUri": _URI,
        "defaultConfiguration": "configuration",
        "properties": dict,
    },
    "text": {"text!": str, "markdown": str, "properties": dict},
    "configuration": {"enabled": bool, "level": _LEVELS, "rank": float, "properties": dict},
    "invocation": {
        "executionSuccessful!": bool,
        "commandLine": str,
        "exitCode": int,
        "startTimeUtc": str,
        "endTimeUtc": str,
        "toolExecutionNotifications": ["notification"],
        "properties": dict,
    },
    "notification": {"message!": "text", "level": _LEVELS, "locations": ["location"], "properties": dict},
    "result": {
        "ruleId": str,
        "ruleIndex": int,
        "level": _LEVELS,
        "message!": "text",
        "locations": ["location"],
        "kind": str,
        "guid": str,
        "properties": dict,
    },
    "location": {"physicalLocation": "place", "logicalLocations": ["logicalLocation"], "message": "text"},
    "logicalLocation": {"name": str, "fullyQualifiedName": str, "kind": str, "properties": dict},
    "place": {"artifactLocation!": "artifact", "region": "region", "properties": dict},
    "artifact": {"uri": _URI, "uriBaseId": str, "properties": dict},
    "region": {"startLine": int, "startColumn": int, "endLine": int, "properties": dict},
}


def check_sarif(log: object) -> None:
    """Fails with the path of what is not as the standard wants it."""
    _object("log", log, "log")
    assert isinstance(log, dict)
    for run in log["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert len(set(rules)) == len(rules), "ids of rules are unique (3.49.3)"
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"], "the index leads to the rule (3.27.6)"
        for result in run["results"]:
            for location in result.get("locations", ()):
                line = location.get("physicalLocation", {}).get("region", {}).get("startLine", 1)
                assert line >= 1, "lines are counted from 1 (3.30.5)"


def _object(kind: str, value: object, path: str) -> None:
    assert isinstance(value, dict), f"{path} is no object"
    known = {name.rstrip("!"): wish for name, wish in _OBJECTS[kind].items()}
    assert set(value) <= set(known), f"{path} has {set(value) - set(known)}"
    missing = {name[:-1] for name in _OBJECTS[kind] if name.endswith("!")} - set(value)
    assert not missing, f"{path} lacks {missing}"
    for name, each in value.items():
        _value(known[name], each, f"{path}.{name}")


def _value(wish: Any, value: object, path: str) -> None:
    if isinstance(wish, str):
        _object(wish, value, path)
    elif isinstance(wish, list):
        assert isinstance(value, list), f"{path} is no list"
        for number, each in enumerate(value):
            _object(wish[0], each, f"{path}[{number}]")
    elif isinstance(wish, tuple):
        assert value in wish, f"{path} is {value!r}"
    elif isinstance(wish, re.Pattern):
        assert isinstance(value, str), f"{path} is no text"
        assert wish.fullmatch(value), f"{path} is {value!r}, which is no URI"
    else:
        assert type(value) is wish, f"{path} is {value!r}"
