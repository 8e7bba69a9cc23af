"""A real terminal for tests."""

import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from support.servers import wait_until


class Terminal:
    """A tmux server of its own with one window of 80 columns and 24 lines, in which a command runs. `options` are those
    of subprocess: where, in which environment."""

    def __init__(self, options: Mapping[str, Any], command: str) -> None:
        self._socket = tempfile.mktemp(prefix="pgtandem-tmux-")
        self._options = options
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
