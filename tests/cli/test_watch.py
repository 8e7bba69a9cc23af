"""The view that is shown again and again."""

import pytest

from cli.streams import Pipe, Terminal
from pgtandem.cli.arguments import parse_arguments
from pgtandem.cli.watch import Screen
from pgtandem.errors import PgtandemError

NOW = 1_800_000_000.0


def test_a_pipe_gets_one_block_after_the_other() -> None:
    out = Pipe()
    screen = Screen(out)
    screen.show(["one", "two"], NOW, 2)
    screen.show(["three"], NOW + 2, 2)
    screen.close()
    assert "\x1b" not in out.getvalue()
    first, second = out.getvalue().split("\n\n")
    assert first.splitlines()[1:] == ["one", "two"]
    assert second.splitlines()[1:] == ["three"]
    assert first.splitlines()[0][:8] == "2027-01-"


def test_a_terminal_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    screen = Screen(out)
    screen.show(["one", "two"], NOW, 2)
    assert out.getvalue().startswith("\x1b[2J\x1b[H")
    before = len(out.getvalue())
    screen.show(["three"], NOW + 2, 2)
    again = out.getvalue()[before:]
    assert again.startswith("\x1b[H2027-01-")
    assert again.endswith("three\x1b[K\n\x1b[J"), "what stood below is gone"


def test_a_dumb_terminal_gets_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    Screen(out).show(["one"], NOW, 2)
    assert "\x1b" not in out.getvalue()


def test_a_view_never_scrolls_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "10")
    out = Terminal()
    Screen(out).show([f"line {number}" for number in range(20)], NOW, 2)
    assert out.getvalue().count("\n") == 8
    assert "... 14 more lines" in out.getvalue()


def test_how_often_is_said_in_seconds() -> None:
    assert parse_arguments(["status"]).watch is None
    assert parse_arguments(["status", "--watch"]).watch == 2
    assert parse_arguments(["status", "--watch", "0.5"]).watch == 0.5
    for wrong in ("0", "-1", "soon", "nan", "inf"):
        with pytest.raises(PgtandemError) as refused:
            parse_arguments(["status", f"--watch={wrong}"])
        assert refused.value.code.text == "PT-1006"
