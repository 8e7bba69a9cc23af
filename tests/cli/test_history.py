"""The journal read back."""

from dataclasses import replace

from cli import values
from pgtandem.apply.history import Result, read_history, run_of
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.observe.promotions import Promotion


def test_a_run_whose_end_is_missing_is_unfinished() -> None:
    """kill -9 leaves a journal like that at any line."""
    for cut in range(3, 8):
        *_, last = read_history(values.JOURNAL[:cut])
        assert last.result is Result.UNFINISHED
        assert last.ended is None


def test_what_was_under_way_when_it_was_interrupted_is_interrupted() -> None:
    begun = values.JOURNAL[2:6]
    (run,) = read_history([*begun, {"at": 9.0, "event": "interrupted", "steps": ["db2.data"]}])
    assert run.result is Result.INTERRUPTED
    assert [step.result for step in run.steps] == [Result.DONE, Result.INTERRUPTED, Result.NOT_BEGUN]


def test_a_failure_is_told_with_its_step_and_what_came_after_was_not_begun() -> None:
    run = values.PAST[1]
    assert (run.result, run.code) == (Result.FAILED, "PT-4006")
    assert [step.result for step in run.steps] == [Result.DONE, Result.FAILED, Result.NOT_BEGUN]
    assert run.steps[1].why == "No space left on device."


def test_entries_of_other_versions_are_passed_over() -> None:
    strange = [{}, {"event": "step done", "step": "x"}, {"at": None, "event": "later"}, {"event": "step", "step": None}]
    assert read_history(strange) == []
    assert read_history([*values.JOURNAL, *strange])[-1].result is Result.DONE


def test_a_promotion_is_that_of_the_run_that_promoted_this_node_at_that_time() -> None:
    steps = ["db2.checkpoint: make a checkpoint", "db2.promote: promote db2"]
    journal = [
        {"at": 100.0, "event": "plan", "command": "switchover", "who": "alice", "steps": steps},
        {"at": 101.0, "event": "step", "step": "db2.promote", "kind": "promote", "node": "db2", "what": "promote db2"},
        {"at": 102.0, "event": "step done", "step": "db2.promote", "seconds": 0.1},
        {"at": 103.0, "event": "plan done"},
    ]
    runs = read_history(journal)
    own = Promotion(Timeline(2), Timeline(1), Lsn(96), "no recovery target specified", 101.0, NodeName("db2"))
    assert run_of(own, runs) is runs[0]
    assert run_of(replace(own, node=NodeName("db1")), runs) is None
    assert run_of(replace(own, at=1000.0), runs) is None
