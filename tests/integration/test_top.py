"""top in a real terminal, of a real pair: a tmux of 80 columns and 24 lines."""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from support.clusters import Cluster
from support.servers import wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


class Terminal:
    """A tmux server of its own with one window in which a command runs."""

    def __init__(self, cluster: Cluster, command: str) -> None:
        self._socket = tempfile.mktemp(prefix="pgtandem-tmux-")
        self._options = cluster.options()
        self._tmux(
            "-u", "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", f"{command}; echo code $?; cat"
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", self._socket, *arguments], capture_output=True, text=True, timeout=30, **self._options
        ).stdout

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def shown(self, *, escapes: bool = False) -> str:
        return self._tmux("capture-pane", "-p", *(["-e"] if escapes else []))

    def shows(self, text: str, seconds: float = 60) -> None:
        try:
            wait_until(lambda: text in self.shown(), f'"{text}" is shown', seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.shown()}") from None


def test_the_live_view_in_a_terminal_without_colour(pair: Cluster) -> None:
    program = " ".join(map(shlex.quote, [*pair.argv, "-f", str(pair.file), "top", "--every", "0.3"]))
    with Terminal(pair, f"env NO_COLOR=1 {program}") as terminal:
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
