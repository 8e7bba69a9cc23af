"""What plan and status look like, as snapshots; PGTANDEM_REWRITE=1 writes them anew."""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli import plans, values
from cli.streams import Pipe, Terminal
from pgtandem.cli.show_archive import archive_lines
from pgtandem.cli.show_backups import backup_lines
from pgtandem.cli.show_bench import bench_lines
from pgtandem.cli.show_error import error_lines
from pgtandem.cli.show_findings import explained, finding_lines
from pgtandem.cli.show_history import history_lines
from pgtandem.cli.show_intervals import interval_lines, point_lines
from pgtandem.cli.show_plan import plan_lines
from pgtandem.cli.show_status import status_lines
from pgtandem.cli.show_whatif import whatif_lines
from pgtandem.cli.terminal import Paint
from pgtandem.doctor.diagnose import RULES, diagnose
from pgtandem.model.backup import Backups
from pgtandem.model.facts import Unknown
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Durability, Topology
from pgtandem.plan.whatif import Outcome
from plan.case import Case

SNAPSHOTS = Path(__file__).parent / "snapshots"

View = Callable[[Paint, int], list[str]]


def plan(value: Plan, cluster: str = "shop", *, reasons: bool = True) -> View:
    return lambda paint, columns: plan_lines(value, cluster, paint, columns, reasons=reasons)


def whatif(value: Outcome) -> View:
    return lambda paint, columns: whatif_lines(value, "shop", paint, columns)


def status(topology: Topology, observed: Observed) -> View:
    return lambda paint, columns: status_lines(topology, observed, paint, columns)


def _folder(name: str) -> Case:
    """A case of tests/plan."""
    return Case.read(Path(__file__).parents[1] / "plan" / "cases" / name)


def _case(name: str) -> Plan:
    return _folder(name).plan()


_REFUSED = _folder("refused-disk-too-small").refusal()
assert _REFUSED is not None
_NOW = values.BACKUPS.found[-1].ended + 60
_SEEN = values.DIAGNOSED_LOOK.observed
_NO_FILES = Unknown("only SQL was asked: not its data directory", "pgtandem adopt   (with its host)")
_OVER_SQL = replace(
    values.DIAGNOSED_LOOK,
    observed=replace(_SEEN, nodes={name: replace(node, data=_NO_FILES) for name, node in _SEEN.nodes.items()}),
    sql_only=True,
)

VIEWS = {
    "plan-building": plan(plans.BUILDING),
    "plan-building-before-the-question": plan(plans.BUILDING, reasons=False),
    "plan-restarting": plan(plans.RESTARTING),
    "plan-restarting-before-the-question": plan(plans.RESTARTING, reasons=False),
    "plan-destroying": plan(plans.DESTROYING, reasons=False),
    "plan-long-names": plan(plans.LONG_PLAN, "orders-and-invoices"),
    "plan-empty": plan(plans.EMPTY),
    "whatif-primary": whatif(values.WHATIF_PRIMARY),
    "whatif-standbys": whatif(values.WHATIF_STANDBYS),
    "whatif-asynchronous": whatif(values.WHATIF_ASYNCHRONOUS),
    "whatif-cascade": whatif(values.WHATIF_CASCADE),
    "whatif-nobody": whatif(values.WHATIF_NOBODY),
    "status-pgbouncer-leads-astray-and-paused": status(values.POOLED, values.LED_ASTRAY),
    "status-pgbouncer-out-of-reach": status(values.POOLED_PAIR, values.OUT_OF_REACH),
    "status-healthy": status(values.PAIR, values.HEALTHY),
    "status-untested-version": status(replace(values.PAIR, postgresql=19), values.HEALTHY),
    "status-cascading": status(values.CASCADE, values.CASCADING),
    "status-delayed": status(values.DELAYED_PAIR, values.HEALTHY),
    "status-slow": status(values.TRIO, values.SLOW),
    "status-held": status(values.HELD_TRIO, values.HELD),
    "status-standby-stopped": status(values.PAIR, values.STANDBY_STOPPED),
    "status-nothing-built": status(values.PAIR, values.NOTHING_BUILT),
    "status-much-is-wrong": status(values.CASCADE, values.MUCH_IS_WRONG),
    "status-long-names": status(values.LONG_NAMES, values.LONG_LOOK),
    "plan-failover": plan(_case("failover")),
    "plan-switchover": plan(_case("switchover")),
    "plan-restore": plan(_case("restore")),
    "backups": lambda paint, columns: backup_lines(values.PAIR, values.BACKUPS, _NOW, paint, columns),
    "backups-none": lambda paint, columns: backup_lines(values.PAIR, Backups(), _NOW, paint, columns),
    "restorable-spoilt": lambda paint, columns: interval_lines("shop", values.INTERVALS_SPOILT, paint, columns),
    "restorable-nothing-sound": lambda paint, columns: interval_lines(
        "shop", values.INTERVALS_SPOILT[:2], paint, columns
    ),
    "restorable": lambda paint, columns: interval_lines("shop", values.INTERVALS, paint, columns),
    "restore-points": lambda paint, columns: point_lines(values.POINTS, paint),
    "error": lambda paint, columns: error_lines(_REFUSED, None, paint, columns),
    "doctor-over-sql": lambda paint, columns: finding_lines(_OVER_SQL, diagnose(_OVER_SQL), paint, columns),
    "doctor-explain-all": lambda paint, columns: explained(list(RULES.values()), paint, columns),
    "doctor-findings": lambda paint, columns: finding_lines(*values.DIAGNOSED, paint, columns),
    "bench": lambda paint, columns: bench_lines(values.BENCH, Durability.ON, paint, columns),
    "bench-asynchronous": lambda paint, columns: bench_lines(values.BENCH_ASYNCHRONOUS, Durability.ON, paint, columns),
    "bench-waiting": lambda paint, columns: bench_lines(values.BENCH_WAITING, Durability.LOCAL, paint, columns),
    "archive": lambda paint, columns: archive_lines(values.PAIR, values.ARCHIVE, paint, columns),
    "history": lambda paint, columns: history_lines(values.PAST, 3, paint, columns, values.PROMOTIONS),
    "doctor-explain": lambda paint, columns: explained([RULES["REP13"]], paint, columns),
}


@pytest.fixture(autouse=True)
def colours_and_times_as_usual(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def coloured(view: View, columns: int) -> str:
    """With the escape character as a visible sign, so that snapshots are plain text."""
    return "\n".join(view(Paint(Terminal()), columns)).replace("\x1b", "␛") + "\n"


def plain(view: View, columns: int) -> str:
    return "\n".join(view(Paint(Pipe()), columns)) + "\n"


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("render", [plain, coloured])
def test_the_view_is_as_in_its_snapshot(name: str, columns: int, render: Callable[[View, int], str]) -> None:
    path = SNAPSHOTS / f"{name}-{columns}{'-colour' if render is coloured else ''}.txt"
    text = render(VIEWS[name], columns)
    if os.environ.get("PGTANDEM_REWRITE"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: PGTANDEM_REWRITE=1 writes it"
    assert text == path.read_text(encoding="utf-8"), "if that is wanted: PGTANDEM_REWRITE=1"


def test_every_snapshot_belongs_to_a_view() -> None:
    names = {re.sub(r"-(80|120)(-colour)?\.txt$", "", path.name) for path in SNAPSHOTS.iterdir()}
    assert names == set(VIEWS)


@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.parametrize("name", VIEWS)
def test_no_line_is_wider_than_the_terminal_unless_a_single_word_is(name: str, columns: int) -> None:
    for line in plain(VIEWS[name], columns).splitlines():
        words = line.split()
        assert len(line) <= columns or max(map(len, words)) > columns - 30, line


@pytest.mark.parametrize("name", VIEWS)
def test_colours_change_nothing_but_colours(name: str) -> None:
    assert re.sub("␛\\[[0-9;]*m", "", coloured(VIEWS[name], 80)) == plain(VIEWS[name], 80)


def test_no_colour_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured(VIEWS["status-much-is-wrong"], 80) == plain(VIEWS["status-much-is-wrong"], 80)


def test_a_dumb_terminal_gets_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert coloured(VIEWS["plan-restarting"], 80) == plain(VIEWS["plan-restarting"], 80)


def test_what_is_wrong_comes_first() -> None:
    lines = plain(VIEWS["status-much-is-wrong"], 80).splitlines()
    heading = next(number for number, line in enumerate(lines) if line.startswith("cluster "))
    assert all(line.startswith(("! ", "  ")) for line in lines[:heading])
    assert lines[0].startswith("! ")


def test_a_long_name_is_never_cut() -> None:
    for columns in (80, 120):
        assert values.LONG_STANDBY in plain(VIEWS["status-long-names"], columns)
        assert values.LONG_STANDBY in plain(VIEWS["plan-long-names"], columns)


def test_before_the_question_steps_that_touch_a_server_in_use_tell_why_and_others_do_not() -> None:
    building = plain(VIEWS["plan-building-before-the-question"], 80)
    assert all(step.why.split(";")[0] not in building for step in plans.BUILDING.steps)
    restarting = plain(VIEWS["plan-restarting-before-the-question"], 80)
    assert "take effect at a start only" in restarting


def test_the_first_line_of_a_plan_says_whom_it_takes_away() -> None:
    assert plain(VIEWS["plan-restarting"], 80).splitlines()[0].endswith("3 steps; restarts db2, db1")
    assert plain(VIEWS["plan-destroying"], 80).splitlines()[0].endswith("2 steps; removes data of db1; stops db1")


def test_the_tree_has_signs_that_every_encoding_knows_where_lines_cannot_be_drawn() -> None:
    lines = status_lines(values.CASCADE, values.CASCADING, Paint(Pipe()), 80, drawn=False)
    assert "\n".join(lines).isascii()
