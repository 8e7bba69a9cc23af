"""A local ssh process with its three pipes, and the marks in what comes through them.

Not asyncio's own processes: this one outlives the event loop that it was started in (a connection serves several),
and up to Python 3.12.3 asyncio waits for every process that holds a pipe. Bytes go in and come out; nothing here knows
what they mean.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence

_CHUNK = 65536

#: How long ssh may take to end after it closed its output.
_END_SECONDS = 5.0


class SshProcess:
    """One ssh process. `on_output` and `on_error` get what comes; `on_end` is called when stdout is closed.

    Raises OSError where ssh cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        on_output: Callable[[bytes], None],
        on_error: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        # A session of its own: Ctrl-C on the terminal is for pgtandem, which still needs the connection to tidy up.
        self._popen = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        self._pipes = [pipe for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr) if pipe]
        self._stdin, self._stdout, self._stderr = (pipe.fileno() for pipe in self._pipes)
        self._on_output, self._on_error, self._on_end = on_output, on_error, on_end
        self._input = bytearray()
        self._input_ends = False
        self._open = {self._stdin, self._stdout, self._stderr}
        self._loop: asyncio.AbstractEventLoop | None = None
        for descriptor in self._open:
            os.set_blocking(descriptor, False)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serves the pipes in this loop from now on; the one before is closed."""
        if loop is self._loop:
            return
        self._loop = loop
        for descriptor in (self._stdout, self._stderr):
            if descriptor in self._open:
                loop.add_reader(descriptor, self._read, descriptor)
        self._watch_input()

    def feed(self, data: bytes, *, ends: bool = False) -> None:
        """Sends data; what fits into the pipe has left when this returns. `ends` closes the input after it."""
        self._input += data
        self._input_ends = self._input_ends or ends
        self._write()

    def kill(self) -> None:
        """Ends it now and closes the pipes; in that order, so that it cannot tell the other side of an end of input."""
        if self._popen.poll() is None:
            self._popen.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_END_SECONDS)
        for descriptor in tuple(self._open):
            self._close(descriptor)

    def wait_briefly(self, seconds: float) -> bool:
        """Whether it ended by itself, within that time."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            (self._on_output if descriptor == self._stdout else self._on_error)(data)
            return
        if descriptor == self._stdout:
            self._drain_errors()
        self._close(descriptor)
        if descriptor == self._stdout:
            self._on_end()

    def _drain_errors(self) -> None:
        """What ssh said last must be known when the end is reported."""
        with contextlib.suppress(OSError):
            while self._stderr in self._open and (data := os.read(self._stderr, _CHUNK)):
                self._on_error(data)

    def _write(self) -> None:
        try:
            while self._input and self._stdin in self._open:
                del self._input[: os.write(self._stdin, self._input[:_CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self._input.clear()  # it is gone, or the program does not want to read: the end will tell
            self._close(self._stdin)
        if not self._input and self._input_ends:
            self._close(self._stdin)
        self._watch_input()

    def _watch_input(self) -> None:
        if self._loop is None or self._loop.is_closed() or self._stdin not in self._open:
            return
        if self._input:
            self._loop.add_writer(self._stdin, self._write)
        else:
            self._loop.remove_writer(self._stdin)

    def _close(self, descriptor: int) -> None:
        if descriptor not in self._open:
            return
        self._open.remove(descriptor)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
        for pipe in self._pipes:
            if not pipe.closed and pipe.fileno() == descriptor:
                pipe.close()


class Marks:
    """Finds the marks of one secret in a stream: `on_data` gets what is between them, `on_mark` a mark's words.

    Nothing is held back but what may be the beginning of a mark, so progress is passed on as it comes.
    """

    def __init__(self, secret: bytes, on_data: Callable[[bytes], None], on_mark: Callable[[str], None]) -> None:
        self._mark = b"\036" + secret
        self._on_data, self._on_mark = on_data, on_mark
        self._pending = bytearray()

    def feed(self, data: bytes) -> None:
        self._pending += data
        while True:
            at = self._pending.find(self._mark)
            if at < 0:
                self._pass_on(len(self._pending) - self._held_back())
                return
            self._pass_on(at)
            end = self._pending.find(b"\n")
            if end < 0:
                return
            words = self._pending[len(self._mark) : end].decode(errors="replace").strip()
            del self._pending[: end + 1]
            self._on_mark(words)

    def _held_back(self) -> int:
        at = self._pending.rfind(b"\036", max(0, len(self._pending) - len(self._mark) + 1))
        return len(self._pending) - at if at >= 0 and self._mark.startswith(self._pending[at:]) else 0

    def _pass_on(self, count: int) -> None:
        if count:
            self._on_data(bytes(self._pending[:count]))
            del self._pending[:count]
