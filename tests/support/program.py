"""The installed program `pgtandem` at work, and what a run of it came to."""

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The installed program, beside the interpreter that runs the tests.
PROGRAM = Path(sys.executable).parent / "pgtandem"


@dataclass(frozen=True)
class Done:
    """What one run of the program came to."""

    command: str
    exit_code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"{self.command} -> {self.exit_code}\n{self.out}\n{self.err}"

    def refused(self, code: str, exit_code: int) -> str:
        """Checks that it ended with this error, told in words alone. The words."""
        assert self.exit_code == exit_code, self.said
        assert f"[{code}]" in self.err, self.said
        assert self.err.startswith("error: "), self.said
        assert "Traceback" not in self.said, self.said
        return self.err


class Running:
    """The program at work, its output collected as it comes."""

    def __init__(self, program: Sequence[str], arguments: Sequence[str], options: Mapping[str, Any]) -> None:
        self.command = "pgtandem " + " ".join(arguments)
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **options,
        )
        self._texts = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any) -> None:
        while chunk := stream.read1(65536):
            self._texts[name] += chunk

    @property
    def out(self) -> str:
        return self._texts["out"].decode()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9 of the program alone, not of what it started."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """What Ctrl-C sends to it."""
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 120) -> Done:
        """Waits for its end. Fails the test when that does not come."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command} did not end within {seconds:g} s\n{self.out}") from None
        for reader in self._readers:
            reader.join(2)
        return Done(self.command, self.process.returncode, self.out, self._texts["err"].decode())
