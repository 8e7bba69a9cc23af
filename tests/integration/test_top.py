"""top in a real terminal, of a real pair: a tmux of 80 columns and 24 lines."""

import shlex
import shutil
from collections.abc import Iterator

import pytest

from support.clusters import Cluster
from support.terminals import Terminal

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


def test_the_live_view_in_a_terminal_without_colour(pair: Cluster) -> None:
    program = " ".join(map(shlex.quote, [*pair.argv, "-f", str(pair.file), "top", "--every", "0.3"]))
    with Terminal(pair.options(), f"env NO_COLOR=1 {program}") as terminal:
        terminal.shows("└ db2  standby  streaming")
        assert "cluster shop  PostgreSQL" in terminal.shown().splitlines()[0]
        coloured = [f"\x1b[{code}" for code in ("31", "32", "33", "34", "35", "36", "38", "1;31")]
        assert not [code for code in coloured if code in terminal.shown(escapes=True)]
        pair.sql("db1", "CREATE TABLE much AS SELECT repeat('x', 500) FROM generate_series(1, 20000)")
        terminal.shows("█")
        pair.stop_server("db2")
        terminal.shows("! db2 is stopped")
        terminal.shows("db2 is stopped, it was streaming")
        terminal.press("Enter")
        terminal.shows("[settings]")
        terminal.press("l")
        terminal.shows("database system is shut down")
        terminal.press("Escape")
        pair.up()
        terminal.shows("db2 is back: streaming")
        terminal.press("C-c")
        terminal.shows("code 0")


def test_without_a_terminal_it_says_what_to_use(pair: Cluster) -> None:
    said = pair.run("top").refused("PT-1006", 10)
    assert "status --watch" in said
    assert '"0" is not a number of seconds' in pair.run("top", "--every", "0").refused("PT-1006", 10)
