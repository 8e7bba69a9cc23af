"""What a running primary has written and the archive has not, where a restore asks for it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from doctor.looks import Look, changed, healthy_look
from pgtandem.model.facts import ABSENT
from pgtandem.model.lsn import Lsn, TimelineSwitch
from pgtandem.model.names import NodeName
from pgtandem.model.plan import StepKind
from pgtandem.model.restore import Target, TargetKind
from pgtandem.plan.finishing import not_archived, plan_finish_segment
from pgtandem.plan.intervals import intervals
from pgtandem.postgres.segments import segment_name

from .test_intervals import ONE, SIZE, TWO, TimelineContent, at, full, lsn, wal, when, written

HERE, OFFSET = 0x25, 0x60
LAST = segment_name(ONE, HERE - 1, SIZE)
FOUND = intervals(full(2), wal(TimelineContent(ONE, ((2, HERE - 1),))), written(LAST))
NAME = Target(TargetKind.NAME, "before")
LATEST = Target(TargetKind.LATEST, "latest")


def server(**facts: Any) -> Look:
    said = {"current_lsn": str(lsn(HERE, OFFSET)), "timeline": ONE, **facts}
    return changed(healthy_look("pair"), {"db1": {"server": said}})


def archiver(last: str | None) -> Mapping[str, Any]:
    return {"archiver": {"last_archived_wal": last, "last_failed_age_seconds": None}}


@pytest.mark.parametrize("target", [at(HERE), at(HERE, OFFSET), when(101), NAME, Target(TargetKind.XID, "900"), LATEST])
def test_what_the_primary_alone_has(target: Target) -> None:
    wal = not_archived(server().observed, FOUND, target, None)
    assert wal
    assert (wal.node, wal.timeline, wal.archived_to, wal.end) == ("db1", ONE, lsn(HERE), lsn(HERE, OFFSET))
    assert not_archived(server().observed, FOUND, target, TWO) is None


@pytest.mark.parametrize("target", [at(HERE, OFFSET), when(101), NAME, LATEST])
@pytest.mark.parametrize("left", [0, OFFSET - 1])
def test_what_a_promoted_primary_alone_has(target: Target, left: int) -> None:
    """Of its new timeline nothing is archived before its first segment is."""
    seen = server(timeline=TWO, history=(TimelineSwitch(ONE, lsn(HERE, left)),)).observed
    wal = not_archived(seen, FOUND, target, None)
    assert wal
    assert (wal.timeline, wal.archived_to, wal.end) == (TWO, lsn(HERE), lsn(HERE, OFFSET))
    assert wal == not_archived(seen, FOUND, target, TWO)
    assert not_archived(seen, FOUND, target, ONE) is None


@pytest.mark.parametrize("left", [lsn(HERE - 1, 5), lsn(HERE + 1)])
def test_archive_that_does_not_lead_to_the_promotion(left: Lsn) -> None:
    seen = server(timeline=TWO, current_lsn=str(lsn(HERE + 2)), history=(TimelineSwitch(ONE, left),)).observed
    assert not_archived(seen, FOUND, NAME, None) is None


@pytest.mark.parametrize(
    ("archived", "ready", "moment"), [(LAST, 80, 81), (LAST, 80, 99), (f"{LAST}.x.backup", 90, 91)]
)
def test_moment_after_what_was_archived_late_was_written(archived: str, ready: int, moment: int) -> None:
    seen = server(archiver={"last_archived_wal": archived, "last_archived_ready": when(ready).moment}).observed
    assert not_archived(seen, FOUND, when(moment), None)


@pytest.mark.parametrize(
    ("archived", "ready"),
    [(LAST, 99), (LAST, None), (segment_name(ONE, HERE - 2, SIZE), 80), ("00000002.history", 80)],
    ids=["later", "gone", "another one is the last", "a history file"],
)
def test_moment_that_what_is_archived_may_have(archived: str, ready: int | None) -> None:
    then = None if ready is None else when(ready).moment
    seen = server(archiver={"last_archived_wal": archived, "last_archived_ready": then}).observed
    assert not_archived(seen, FOUND, when(99), None) is None


@pytest.mark.parametrize("target", [at(HERE - 1), at(HERE, OFFSET + 1), when(99)])
def test_what_is_archived_or_not_written(target: Target) -> None:
    assert not_archived(server().observed, FOUND, target, None) is None


@pytest.mark.parametrize(
    "facts",
    [
        {"current_lsn": str(lsn(HERE))},
        {"timeline": TWO},
        {"archiver": None},
        {"archiver": {"last_failed_age_seconds": 1.0, "last_archived_age_seconds": 9.0}},
        {"in_recovery": True},
    ],
    ids=["all archived", "another timeline", "does not archive", "archiving fails", "a standby"],
)
def test_primary_that_cannot_help(facts: Mapping[str, Any]) -> None:
    assert not_archived(server(**facts).observed, FOUND, NAME, None) is None


def test_end_of_the_archive_is_not_taken_for_that_of_the_primary_because_archiving_fails() -> None:
    failing = server(archiver={"last_failed_age_seconds": 1.0, "last_archived_age_seconds": 9.0}).observed
    wal = not_archived(failing, FOUND, LATEST, None)
    assert wal
    assert wal.failing
    assert wal.end == lsn(HERE, OFFSET)


def test_no_primary_no_backup_or_a_hole() -> None:
    seen = server().observed
    stopped = replace(seen, nodes={**seen.nodes, NodeName("db1"): replace(seen.nodes[NodeName("db1")], server=ABSENT)})
    assert not_archived(stopped, FOUND, NAME, None) is None
    assert not_archived(server().observed, (), NAME, None) is None
    holes = intervals(full(2), wal(TimelineContent(ONE, ((2, 4), (6, HERE - 1)))), {})
    assert not_archived(server().observed, holes, NAME, None) is None


def test_plan_is_done_when_its_segment_is_archived() -> None:
    look = server()
    wanted = not_archived(look.observed, FOUND, NAME, None)
    assert wanted
    there = segment_name(ONE, HERE, SIZE)
    for last, done in (
        (LAST, False),
        (None, False),
        ("00000002.history", False),
        (f"00000002{there[8:]}", False),
        (there, True),
        (f"{there}.00000028.backup", True),
    ):
        plan = plan_finish_segment(look.topology, server(**archiver(last)).observed, wanted)
        assert [step.kind for step in plan.steps] == ([] if done else [StepKind.ARCHIVE_NEWER]), last
    # Whatever became of that server meanwhile: nothing is finished there.
    for facts in ({"in_recovery": True}, {"timeline": TWO}, {"archiver": None}):
        assert plan_finish_segment(look.topology, server(**facts).observed, wanted).empty
