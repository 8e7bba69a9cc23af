"""What is told while apply works."""

import io
import re
from dataclasses import replace

import pytest

from cli import plans
from cli.streams import Pipe, Terminal
from pgtandem.cli.narrate import Narrator, progress_in_words
from pgtandem.errors import PgtandemError
from pgtandem.model.words import duration_in_words, size_in_words


def told(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    """A copy with progress beside another step, a proof with a remark, a failure."""
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr("sys.stdout", stream)
    copy, data, proof = plans.COPY_STEP, plans.DATA_STEP, plans.PROOF_STEP
    narrator = Narrator()
    narrator.round_started(plans.BUILDING, 1)
    narrator.step_started(copy)
    narrator.step_started(data)
    narrator.step_progress(copy, 1_500_000_000, 4_000_000_000)
    narrator.step_done(data, 0.8, "")
    narrator.step_done(copy, 61.25, "")
    narrator.round_started(replace(plans.BUILDING, steps=(proof,)), 2)
    narrator.step_started(proof)
    narrator.step_done(proof, 0.1, "a row written on db1 was read on db2 after 32 ms, which is well below a second")
    narrator.step_failed(data, PgtandemError("PT-4001", "initdb failed"))
    narrator.finish()
    return stream.getvalue()


def test_a_pipe_gets_one_plain_line_per_step_and_per_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, Pipe()).splitlines() == [
        "...    db2  copying: 1.5 GB of 4.0 GB, 37.5 MB/s, 67 s left",
        "done   db1  create the data directory /srv/shop/data/db1 (0.8 s)",
        "done   db2  copy db1 to /srv/shop/data/db2 (61.2 s)",
        "Looked again: 1 more step",
        "done   db2  prove that db2 streams from db1: a row written on db1 was read on db2 after 32 ms, "
        "which is well below a second (0.1 s)",
        "FAILED db1  create the data directory /srv/shop/data/db1",
    ]


def test_a_terminal_shows_what_is_under_way_in_one_line_that_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    text = told(monkeypatch, Terminal())
    assert "...    db1  create the data directory /srv/shop/data/db1  (and 1 more)" in text
    assert "...    db2  copying: 1.5 GB of 4.0 GB" in text
    kept = re.sub(r"[^\n]*\r\x1b\[K", "", text).splitlines()
    assert [line.split()[0] for line in kept] == ["done", "done", "Looked", "done", "a", "below", "FAILED"]
    assert all(len(line) <= 80 for line in kept)
    assert all(len(line) < 80 for line in re.split(r"\r\x1b\[K|\n", text))


def test_a_dumb_terminal_gets_no_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    text = told(monkeypatch, Terminal())
    assert "\r" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (16_000_000, "16.0 MB"), (5 * 10**12, "5.0 TB")]
)
def test_sizes_have_a_unit_that_fits(count: int, words: str) -> None:
    assert size_in_words(count) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_have_a_unit_that_fits(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


def test_progress_never_shows_more_than_all_of_it() -> None:
    assert progress_in_words(12, 10, 0) == "12 B of 12 B"
    assert progress_in_words(0, 10, 5) == "0 B of 10 B"


def test_wal_that_follows_the_data_of_a_backup_has_no_end_that_is_known() -> None:
    """pg_basebackup counts it as it comes: what is left was told as 0 s for as long as it took."""
    assert progress_in_words(30, 50, 1, 50) == "30 B of 50 B, 30 B/s, 1 s left"
    assert progress_in_words(200, 200, 100, 50) == "200 B (50 B of data, the rest is WAL), 2 B/s"
