"""Times on the command line, and waiting for one."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cli.streams import Pipe, Terminal
from pgtandem.cli.moments import read_moment, time_left_in_words
from pgtandem.cli.waiting import wait_until
from pgtandem.errors import PgtandemError

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin, where it is 13:00."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def refusal(text: str, now: float = NOON) -> PgtandemError:
    with pytest.raises(PgtandemError) as refused:
        read_moment(text, now)
    assert refused.value.code.text == "PT-1006"
    return refused.value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("14:30", 5400),
        ("13:00:05", 5),
        ("2026-11-25T14:00", 3600),
        ("2026-11-25 14:00", 3600),
        ("2026-11-25T14:00+00:00", 7200),
        ("2026-11-25T14:00Z", 7200),
        ("2026-11-25 14:00:00 +0000", 7200),
        ("2026-11-26T13:00:00", 86400),
    ],
)
def test_a_time_of_today_or_a_date_with_or_without_a_zone(text: str, seconds: int) -> None:
    assert read_moment(text, NOON) == NOON + seconds


@pytest.mark.parametrize(
    "text", ["", "noon", "25:00", "14:60", "14", "14.30", "2026-13-01T00:00", "2026-11-26", "-1:30"]
)
def test_what_is_no_time_is_refused_with_how_one_is_written(text: str) -> None:
    refused = refusal(text)
    assert f'"{text}" is not a time' in refused.what
    assert "14:30" in refused.why


def test_a_time_that_is_over_is_refused_and_tomorrows_is_offered() -> None:
    refused = refusal("12:59")
    assert '"12:59" is over' in refused.what
    assert refused.next_step == "for tomorrow: --at 2026-11-26T12:59:00"
    assert read_moment("2026-11-26T12:59:00", NOON) == NOON + 86400 - 60
    assert "is over" in refusal("13:00").what
    assert "is over" in refusal("2026-11-25T11:59Z").what


def test_times_that_a_clock_never_shows_or_shows_twice_are_refused() -> None:
    march = datetime(2026, 3, 28, 12, 0, tzinfo=UTC).timestamp()
    assert "never shows" in refusal("2026-03-29T02:30", march).what
    october = datetime(2026, 10, 24, 12, 0, tzinfo=UTC).timestamp()
    twice = refusal("2026-10-25T02:30", october)
    assert twice.next_step == "--at 2026-10-25T02:30:00+02:00   or   --at 2026-10-25T02:30:00+01:00"
    assert read_moment("2026-10-25T02:30:00+01:00", october) - read_moment("2026-10-25T02:30:00+02:00", october) == 3600


def test_what_is_left_is_told_in_the_units_that_count() -> None:
    assert [time_left_in_words(seconds) for seconds in (4.2, 65, 3600, 90061, -1)] == [
        *("00:04", "01:05", "01:00:00", "1 d 01:01:01", "00:00")
    ]


class Clock:
    """A clock that only goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.at = NOON
        self.jump = 0.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds + self.jump


def test_a_terminal_gets_a_countdown_and_a_pipe_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    clock, terminal, pipe = Clock(), Terminal(), Pipe()
    wait_until(NOON + 3, "switchover", terminal, now=clock.now, sleep=clock.sleep)
    assert clock.at == NOON + 3
    assert [f"00:0{left}" in terminal.getvalue() for left in (3, 2, 1)] == [True] * 3
    assert terminal.getvalue().endswith("\r\x1b[K"), "the line is taken back"
    wait_until(NOON + 9, "switchover", pipe, now=clock.now, sleep=clock.sleep)
    (line,) = pipe.getvalue().splitlines()
    assert line == "switchover at 2026-11-25 13:00:09 +0100, in 00:06; Ctrl-C ends this, and changes nothing"


def test_ctrl_c_ends_the_waiting_and_says_that_nothing_was_changed() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(PgtandemError) as ended:
        wait_until(NOON + 3, "switchover", Pipe(), now=Clock().now, sleep=interrupted)
    assert ended.value.code.text == "PT-4009"


def test_a_machine_that_slept_does_nothing_hours_late() -> None:
    clock = Clock()
    clock.jump = 7200
    with pytest.raises(PgtandemError) as late:
        wait_until(NOON + 3, "switchover", Pipe(), now=clock.now, sleep=clock.sleep)
    assert "over by 01:59:5" in late.value.what
