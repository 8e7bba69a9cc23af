"""docs/json.md against what is printed: every key is documented, and every documented key exists."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from cli import plans, values
from docs.pages import page, rows, sections
from pgtandem.cli.json_archive import archive_json
from pgtandem.cli.json_backups import backups_json, restorable_json
from pgtandem.cli.json_doctor import doctor_json, rules_json
from pgtandem.cli.json_views import (
    VERSION,
    error_json,
    history_json,
    plan_json,
    status_json,
    uri_json,
    whatif_json,
)
from pgtandem.cli.show_bench import bench_json
from pgtandem.doctor.diagnose import RULES
from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.facts import Known
from pgtandem.model.stream import ObservedStream
from pgtandem.model.topology import Durability

assert values.HELD_TRIO.archive is not None
POOLED = replace(
    values.HELD_TRIO,
    pgbouncers=values.POOLED.pgbouncers,
    archive=replace(values.HELD_TRIO.archive, stream=True),
)
STREAMED = Known(ObservedStream(there=True, running=True, received_seconds=3.0))
SHAPES = {
    "status --json": status_json(POOLED, replace(values.pooled(values.HELD), stream=STREAMED)),
    "plan --json": plan_json(plans.BUILDING, "shop"),
    "doctor --json": doctor_json(*values.DIAGNOSED),
    "doctor explain --json": rules_json(list(RULES.values())),
    "whatif --json": whatif_json(values.WHATIF_PRIMARY, "shop"),
    "history --json": history_json("shop", values.PAST, values.PROMOTIONS, values.PAST),
    "archive --json": archive_json(values.PAIR, values.ARCHIVE),
    "backup list --json": backups_json(values.PAIR, values.BACKUPS, values.BACKUPS.found[-1].ended + 60),
    "restore --json": restorable_json(values.PAIR, values.INTERVALS, values.POINTS),
    "bench --json": bench_json("shop", "db1", values.BENCH_WISHES, values.BENCH_ASYNCHRONOUS, Durability.ON),
    "uri --json": uri_json(values.PAIR, "postgresql://postgres@127.0.0.1:5432/postgres"),
    "Errors": error_json(
        PgtandemError("PT-1004", "shop.toml has a problem", why="x", next_step="y", problems=(Problem("a", "b"),))
    ),
}

_TYPES = {
    "number": int | float,
    "text": str,
    "text or null": str | None,
    "number or null": int | float | None,
    "true or false": bool,
    "object": dict,
    "object or null": dict | None,
    "list": list,
    "list or null": list | None,
    "list of texts": list,
}


def keys(value: Any, at: str = "") -> dict[str, list[Any]]:
    """Every key of a document as its path ("nodes[].name"), with the values that were seen there."""
    found: dict[str, list[Any]] = {}
    if isinstance(value, dict):
        for key, below in value.items():
            path = f"{at}.{key}" if at else key
            found.setdefault(path, []).append(below)
            for name, seen in keys(below, path).items():
                found.setdefault(name, []).extend(seen)
    elif isinstance(value, list):
        for entry in value:
            for name, seen in keys(entry, f"{at}[]").items():
                found.setdefault(name, []).extend(seen)
    return found


def documented(title: str) -> dict[str, str]:
    """Key to type."""
    return {row[0].strip("`"): row[1] for row in rows(sections(page("json.md"))[title])}


def test_every_shape_is_documented_and_no_other() -> None:
    assert set(sections(page("json.md"))) - {""} == set(SHAPES)


@pytest.mark.parametrize("title", SHAPES)
def test_every_key_is_documented_in_its_order_and_no_other(title: str) -> None:
    assert list(documented(title)) == list(keys(SHAPES[title]))


@pytest.mark.parametrize("title", SHAPES)
def test_every_value_is_of_the_documented_type(title: str) -> None:
    for key, seen in keys(json.loads(json.dumps(SHAPES[title]))).items():
        kind = documented(title)[key]
        for value in seen:
            assert isinstance(value, _TYPES[kind]), f"{key} is {value!r}, not {kind}"
            assert not (kind.startswith("number") and isinstance(value, bool))
            assert kind != "list of texts" or all(isinstance(entry, str) for entry in value)


@pytest.mark.parametrize("title", SHAPES)
def test_the_version_is_the_documented_one(title: str) -> None:
    assert SHAPES[title]["version"] == VERSION
    assert f"| `version` | number | {VERSION} |" in sections(page("json.md"))[title]


def test_the_example_of_status_has_the_shape_of_the_program() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", page("json.md"), re.DOTALL)
    shown = keys(json.loads(example))
    left_out = set(documented("status --json")) - set(shown)
    nothing = {key for key, seen in shown.items() if seen == [None] * len(seen)}
    assert {key.rpartition(".")[0] for key in left_out} <= nothing
    assert set(shown) <= set(documented("status --json"))
    value = status_json(values.POOLED_PAIR, values.pooled(values.CAUGHT_UP))
    assert json.loads(example) | {"archive": ""} == json.loads(json.dumps(value)) | {"archive": ""}


def test_every_state_that_status_shows_is_documented() -> None:
    (line,) = [line for line in page("json.md").splitlines() if line.startswith("| `nodes[].state`")]
    known = set(re.findall(r"`([a-z ]+)`", line))
    looks = [values.HEALTHY, values.STANDBY_STOPPED, values.NOTHING_BUILT]
    seen = {node["state"] for look in looks for node in status_json(values.PAIR, look)["nodes"]}
    seen |= {node["state"] for node in status_json(values.CASCADE, values.MUCH_IS_WRONG)["nodes"]}
    assert seen
    assert seen <= known
