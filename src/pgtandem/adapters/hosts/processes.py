"""Programs on this machine: run as an account in a process group of their own, ended with all they started.

Not asyncio's own pipes, for two reasons. A program that opens /dev/stdin or /dev/stderr (as initdb does with
--pwfile=/dev/stdin) needs pipes that belong to its account, and before 3.12 asyncio gave it a socket, which
cannot be opened. And up to 3.12.3 `Process.wait` waits for every descendant that holds a pipe, such as a
server that was just started.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pgtandem.adapters.hosts.account import STANDARD_PATH, Account, acting_as, current_account
from pgtandem.ports.host import Completed

#: How long a program may take to end by itself after SIGTERM.
GRACE_SECONDS = 2.0

#: How long descendants that still hold the pipes may go on writing after the program itself ended.
DRAIN_SECONDS = 0.25

_CHUNK = 65536
_ON_LINUX = sys.platform == "linux"


class DeadlinePassed(Exception):
    """The program did not end in time; it was ended."""


async def execute(
    argv: Sequence[str],
    *,
    account: Account,
    stdin: bytes = b"",
    deadline_seconds: float = 60,
    environment: Mapping[str, str] | None = None,
    on_output: Callable[[bytes], None] | None = None,
    umask: int = 0o077,
) -> Completed:
    """Runs a program and waits for its end; `on_output` gets its stderr as it comes.

    When it is cancelled, when the deadline passes or when `on_output` raises, the program's process group is
    ended (SIGTERM, then SIGKILL). A descendant that made a session of its own, as a server does, is not.
    Raises DeadlinePassed, and OSError or ValueError when the program cannot be executed.
    """
    execution = _Execution(account, stdin, on_output)
    try:
        await execution.start(argv, _process_options(account, environment, umask))
        return await execution.finish(deadline_seconds)
    finally:
        execution.close()


async def process_alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    if pid <= 0 or not _exists(pid):
        return False
    if _ON_LINUX:
        # /proc may hide others' processes (hidepid), and the process may have ended just now.
        return _linux_state(pid) not in ("Z", "X") and _exists(pid)
    completed = await execute(["ps", "-o", "stat=", "-p", str(pid)], account=current_account())
    return completed.exit_code == 0 and not completed.text.strip().startswith(("Z", "X"))


def _linux_state(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            # The name in parentheses may itself hold blanks and parentheses.
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another's
    return True


def _process_options(account: Account, environment: Mapping[str, str] | None, umask: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "cwd": "/",
        "env": {"PATH": STANDARD_PATH, "LC_ALL": "C", "HOME": account.home, **(environment or {})},
        "umask": umask,
        "start_new_session": True,
        "close_fds": True,
    }
    if account.uid != os.geteuid():
        options |= {"user": account.uid, "group": account.gid, "extra_groups": list(account.groups)}
    return options


class _Execution(asyncio.SubprocessProtocol):
    """One program: its three pipes, and the moment of its end."""

    def __init__(self, account: Account, stdin: bytes, on_output: Callable[[bytes], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._on_output = on_output
        self._transport: asyncio.SubprocessTransport | None = None
        self._input = memoryview(stdin)
        self._open: set[int] = set()
        self._child_ends: tuple[int, ...] = ()
        self._collected: dict[int, bytearray] = {}
        self._drained: dict[int, asyncio.Future[None]] = {}
        with acting_as(account):  # a pipe belongs to who makes it
            self._stdin = self._pipe() if stdin else None
            self._stdout = self._pipe()
            self._stderr = self._pipe()

    def process_exited(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    async def start(self, argv: Sequence[str], options: Mapping[str, Any]) -> None:
        child_ends = self._stdin[0] if self._stdin else subprocess.DEVNULL, self._stdout[1], self._stderr[1]
        transport, _ = await self._loop.subprocess_exec(
            lambda: self, *argv, stdin=child_ends[0], stdout=child_ends[1], stderr=child_ends[2], **options
        )
        self._transport = transport
        for descriptor in child_ends:
            self._close(descriptor)
        for descriptor in (self._stdout[0], self._stderr[0]):
            os.set_blocking(descriptor, False)
            self._collected[descriptor] = bytearray()
            self._drained[descriptor] = self._loop.create_future()
            self._loop.add_reader(descriptor, self._read, descriptor)
        if self._stdin:
            os.set_blocking(self._stdin[1], False)
            self._loop.add_writer(self._stdin[1], self._write, self._stdin[1])

    async def finish(self, deadline_seconds: float) -> Completed:
        assert self._transport is not None
        try:
            over = {self._gone, self._failed}
            done, _ = await asyncio.wait(over, timeout=deadline_seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise DeadlinePassed
            # What the program wrote is in the pipes by now; only its descendants may have more to say.
            if self._gone in done:
                await asyncio.wait(self._drained.values(), timeout=DRAIN_SECONDS)
            if self._failed.done():
                self._failed.result()
        except BaseException:
            await self._end()
            raise
        code = self._transport.get_returncode()
        assert code is not None
        stdout, stderr = self._collected.values()
        return Completed(code, bytes(stdout), bytes(stderr))

    def close(self) -> None:
        for descriptor in tuple(self._open):
            self._close(descriptor)
        if self._transport is not None:
            self._transport.close()
        if self._failed.done():
            self._failed.exception()  # it was raised by `finish`, or another exception was
        else:
            self._failed.cancel()

    async def _end(self) -> None:
        """Ends the process group; a second cancellation only shortens the grace."""
        if self._gone.done():
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait({self._gone}, timeout=GRACE_SECONDS)
        finally:
            self._signal(signal.SIGKILL)  # also what the program left behind
        await asyncio.wait({self._gone}, timeout=GRACE_SECONDS)

    def _signal(self, number: int) -> None:
        assert self._transport is not None
        # The program leads a group of its own, so the group's id is its process id.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), number)

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(descriptor)
            self._drained[descriptor].set_result(None)
            return
        self._collected[descriptor] += data
        if descriptor == self._stderr[0] and self._on_output is not None and not self._failed.done():
            try:
                self._on_output(data)
            except Exception as error:
                self._failed.set_exception(error)

    def _write(self, descriptor: int) -> None:
        try:
            self._input = self._input[os.write(descriptor, self._input[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:
            self._input = self._input[:0]  # it does not want to read; its exit code will tell
        if not self._input:
            self._close(descriptor)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            os.close(descriptor)
