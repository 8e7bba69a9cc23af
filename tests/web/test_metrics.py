"""The metrics of a look: their names, their values, and what is made of them elsewhere."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cli import values
from docs.pages import page, rows, sections
from pgtandem.model.facts import Known
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.health import cluster_health
from pgtandem.web.metrics import ROLES, STATES, SYNC_STATES, LookStatistics, metrics

DASHBOARD = Path(__file__).parents[2] / "contrib" / "grafana" / "pgtandem.json"

LOOKS = {
    "healthy": (values.PAIR, values.HEALTHY),
    "cascading": (values.CASCADE, values.CASCADING),
    "slow": (values.TRIO, values.SLOW),
    "a standby is stopped": (values.PAIR, values.STANDBY_STOPPED),
    "nothing is built": (values.PAIR, values.NOTHING_BUILT),
    "much is wrong": (values.CASCADE, values.MUCH_IS_WRONG),
}


def families(topology: Topology, observed: Observed) -> dict[str, Metric]:
    """As a scrape reads them, by name."""

    class Once:
        def collect(self) -> list[Metric]:
            return list(metrics(topology, observed, LookStatistics(3, 0.25)))

    registry = CollectorRegistry()
    registry.register(Once())  # type: ignore[arg-type]
    return {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}


def value(found: Mapping[str, Metric], name: str, **labels: str) -> float | None:
    """The one sample with these labels; None where there is none."""
    samples = [
        sample.value
        for family in found.values()
        for sample in family.samples
        if sample.name == f"pgtandem_{name}" and labels.items() <= sample.labels.items()
    ]
    assert len(samples) < 2, samples
    return samples[0] if samples else None


ALL = families(values.CASCADE, values.CASCADING)


@pytest.mark.parametrize("name", LOOKS)
def test_role_and_state_of_every_look_are_among_those_that_have_a_sample(name: str) -> None:
    topology, observed = LOOKS[name]
    found = families(topology, observed)
    for node in cluster_health(topology, observed).nodes:
        assert value(found, "node_role", node=node.name, role=node.role) == 1
        assert value(found, "node_state", node=node.name, state=node.state) == 1
        if node.sync_state:
            assert value(found, "node_sync_state", node=node.name, sync_state=node.sync_state) == 1
    for name, label, known in (("node_role", "role", ROLES), ("node_state", "state", STATES)):
        samples = found[f"pgtandem_{name}"].samples
        assert {sample.labels[label] for sample in samples} == set(known)
        assert sum(sample.value for sample in samples) == len(topology.nodes), "one for each node"
    assert set(SYNC_STATES) >= {sample.labels["sync_state"] for sample in found["pgtandem_node_sync_state"].samples}


def test_every_state_that_health_can_tell_is_known() -> None:
    source = (Path(__file__).parents[2] / "src" / "pgtandem" / "observe" / "health.py").read_text(encoding="utf-8")
    told = source[source.index("def _state(") : source.index("def _lag_bytes(")]
    words = set(re.findall(r'"([a-z ]+)"', told)) - {"catchup"}
    assert words <= set(STATES)
    assert set(STATES) - words == {"streaming", "startup", "backup", "stopping"}, "those of pg_stat_replication"


@pytest.mark.parametrize("name", ALL)
def test_names_follow_the_conventions(name: str) -> None:
    family = ALL[name]
    assert re.fullmatch(r"pgtandem_[a-z]+(_[a-z]+)*", name)
    assert family.documentation.endswith(".")
    assert family.type in ("gauge", "counter")
    for unit in ("milliseconds", "minutes", "kilobytes", "megabytes", "percent"):
        assert unit not in name
    if "timestamp" in name:
        assert name.endswith("_timestamp_seconds")
    if family.type == "counter":
        assert all(sample.name.endswith("_total") for sample in family.samples)
    else:
        assert not name.endswith("_total")


def test_every_sample_but_that_of_the_version_names_the_cluster() -> None:
    for name, family in ALL.items():
        if name != "pgtandem_build_info":
            assert all(sample.labels["cluster"] == "shop" for sample in family.samples)


def test_a_slow_standby_is_behind_at_the_stage_that_is_slow() -> None:
    found = families(values.TRIO, values.SLOW)
    lag = {
        stage: value(found, "stage_lag_bytes", node="db2", stage=stage)
        for stage in ("sent", "write", "flush", "replay")
    }
    assert lag == {"sent": 0, "write": 0, "flush": 0, "replay": 118_000_000}
    assert value(found, "slot_active", slot="forgotten") == 0
    assert value(found, "slot_held_bytes", slot="forgotten") == 300_000_000
    assert value(found, "archive_waiting_segments") == 6


def test_an_idle_standby_is_not_behind() -> None:
    found = families(values.PAIR, values.CAUGHT_UP)
    assert value(found, "node_lag_bytes", node="db2") == 0
    assert value(found, "node_replay_lag_seconds", node="db2") == 0
    assert value(found, "stage_lag_seconds", node="db2", stage="replay") == 0


def test_what_is_not_known_has_no_sample() -> None:
    found = families(values.PAIR, values.STANDBY_STOPPED)
    assert value(found, "node_up", node="db2") == 0
    assert value(found, "node_lag_bytes", node="db2") is None
    assert value(found, "node_replay_lag_seconds", node="db2") is None
    found = families(values.PAIR, values.NOTHING_BUILT)
    assert value(found, "primaries") == 0
    assert value(found, "writes_waiting") is None


def test_the_last_base_backup_is_told_with_its_moment() -> None:
    found = families(values.PAIR, replace(values.CAUGHT_UP, backups=Known(values.BACKUPS)))
    assert value(found, "backups") == len(values.BACKUPS.kept)
    assert value(found, "backup_last_timestamp_seconds") == values.BACKUPS.kept[-1].ended
    assert value(ALL, "backups") is None, "nobody looked"


def test_writes_that_wait_are_told() -> None:
    assert value(families(values.CASCADE, values.MUCH_IS_WRONG), "writes_waiting") == 1
    assert value(ALL, "writes_waiting") == 0
    assert value(ALL, "synchronous_required_standbys") == 1
    assert value(ALL, "synchronous_able_standbys") == 1


def served() -> set[str]:
    return {sample.name for family in ALL.values() for sample in family.samples} | set(ALL)


def test_the_dashboard_names_only_metrics_that_are_served() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    variables = [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    named = {name for text in [*expressions, *variables] for name in re.findall(r"pgtandem_\w+", text)}
    assert len(named) > 20
    counters = {name + "_total" for name, family in ALL.items() if family.type == "counter"}
    gauges = {name for name, family in ALL.items() if family.type == "gauge"}
    assert named <= counters | gauges
    for name in named & counters:
        assert all(re.search(rf"rate\({name}", text) for text in expressions if name in text), "a counter is a rate"
    left = (counters | gauges) - named - {"pgtandem_build_info"}
    assert {name for name in left if not name.startswith("pgtandem_look")} <= {"pgtandem_node_sync_state"}


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_metric_is_documented_and_no_other() -> None:
    table = {row[0].strip("`"): row[1:] for row in rows(sections(page("monitoring.md"))["Metrics"])}
    expected = {
        name + ("_total" if family.type == "counter" else ""): family.documentation.replace("|", "\\|")
        for name, family in ALL.items()
    }
    assert {name: words[-1] for name, words in table.items()} == expected
