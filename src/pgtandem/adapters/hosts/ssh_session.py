"""One program on a host: a session on the shared connection, with its three streams as they are."""

import asyncio
import posixpath
import re
import secrets
from collections.abc import Callable, Mapping, Sequence

from pgtandem.adapters.hosts import ssh_scripts
from pgtandem.adapters.hosts.processes import GRACE_SECONDS, DeadlinePassed
from pgtandem.adapters.hosts.ssh_address import ssh_environment
from pgtandem.adapters.hosts.ssh_connection import SshConnection
from pgtandem.adapters.hosts.ssh_helper import Helper
from pgtandem.adapters.hosts.ssh_process import Marks, SshProcess
from pgtandem.ports.host import Completed

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: What a shell adds to the number of the signal that ended a program, and the highest such number.
_SIGNALED, _HIGHEST_SIGNAL = 128, 64

#: How long the end of the shared connection may take to be noticed after that of a session on it.
_NOTICE_SECONDS = 2.0


class CannotExecute(Exception):
    """The program cannot be executed there; its text is the reason."""


async def execute_remotely(
    connection: SshConnection,
    argv: Sequence[str],
    *,
    as_login: bool = False,
    stdin: bytes = b"",
    deadline_seconds: float = 60,
    environment: Mapping[str, str] | None = None,
    on_output: Callable[[bytes], None] | None = None,
) -> Completed:
    """Runs a program as the account, or as who logged in, and waits for its end; `on_output` gets its stderr as it
    comes.

    When it is cancelled, when the deadline passes or when `on_output` raises, the program's process group on the host
    is ended (SIGTERM, then SIGKILL). Raises DeadlinePassed, CannotExecute, ValueError and HostUnreachable.
    """
    secret = secrets.token_hex(16).encode()
    helper = await connection.helper()
    variables = {"HOME": helper.login.home, **(environment or {})}
    texts = b"".join(_counted([f"{_checked(name)}={value}" for name, value in variables.items()])) + b"".join(
        _counted(argv)
    )
    account = connection.account if helper.login.other_user and not as_login else ""
    start = account.encode() + b"\n" + ssh_scripts.script_line(ssh_scripts.RUNNER) + secret + b"\n" + texts
    async with connection.sessions:
        session = _Session(connection, helper, secret, on_output)
        try:
            session.start(start + stdin)
            return await session.finish(argv[0], deadline_seconds)
        finally:
            session.close()


def exit_code_of(code: int) -> int:
    """What a shell says of a program's end: negative for a signal."""
    signal = code % 256 - _SIGNALED
    return -signal if 0 < signal <= _HIGHEST_SIGNAL else code


def _counted(texts: Sequence[str]) -> list[bytes]:
    return [ssh_scripts.encoded(str(len(texts))), *map(ssh_scripts.encoded, texts)]


def _checked(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a variable")
    return name


class _Session:
    """The state of one run: what each stream has brought, and whether it is over."""

    def __init__(
        self, connection: SshConnection, helper: Helper, secret: bytes, on_output: Callable[[bytes], None] | None
    ) -> None:
        self._connection, self._helper, self._on_output = connection, helper, on_output
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = loop.create_future()
        self._begun: asyncio.Future[None] = loop.create_future()
        self._failed: asyncio.Future[None] = loop.create_future()
        self._out = Marks(secret, self._got_output, self._output_mark)
        self._err = Marks(secret, self._got_error, self._error_mark)
        self._stdout, self._stderr, self._said = bytearray(), bytearray(), bytearray()
        self._marks = [0, 0]
        self._group = 0
        self._code: int | None = None
        self._refused = ""
        self._process: SshProcess | None = None

    def start(self, data: bytes) -> None:
        """Raises HostUnreachable when ssh cannot be started."""
        argv = self._connection.session_argv(self._helper)
        try:
            self._process = SshProcess(argv, ssh_environment(), self._out.feed, self._err.feed, self._settle)
        except OSError as error:
            raise self._connection.failure(f"ssh cannot be started here: {error.strerror}") from error
        self._process.attach(asyncio.get_running_loop())
        self._process.feed(data, ends=True)

    async def finish(self, program: str, deadline_seconds: float) -> Completed:
        try:
            over = {self._over, self._failed}
            done, _ = await asyncio.wait(over, timeout=deadline_seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise DeadlinePassed
            if self._failed.done():
                self._failed.result()
        except BaseException:
            await self._end()
            raise
        if self._refused:
            raise CannotExecute(self._refused)
        if self._code is None:
            # The helper's ssh holds the connection, and knows best why it ended.
            answers = await self._helper.answers(_NOTICE_SECONDS)
            said = self._said.decode(errors="replace") + ("" if answers else f"\n{self._helper.said}")
            if self._group or not answers:
                raise self._connection.lost(said, f"{posixpath.basename(program)} ran")
            raise self._connection.failure(said)
        return Completed(self._code, bytes(self._stdout), bytes(self._stderr))

    def close(self) -> None:
        if self._group:
            self._helper.post("forget", self._group)
        if self._process is not None:
            self._process.kill()
        for future in (self._over, self._begun, self._failed):
            if future.done() and not future.cancelled():
                future.exception()  # it was raised by `finish`, or another exception was
            else:
                future.cancel()

    async def _end(self) -> None:
        """Ends the process group; a second cancellation only shortens the grace."""
        if self._over.done():
            return
        if not self._group:  # it is about to begin, and could not be named yet
            await asyncio.wait({self._begun, self._over}, timeout=GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not self._group:
            return
        self._helper.post("term", self._group)
        try:
            await asyncio.wait({self._over}, timeout=GRACE_SECONDS)
        finally:
            self._helper.post("kill", self._group)  # also what the program left behind

    def _settle(self) -> None:
        for future in (self._over, self._begun):
            if not future.done():
                future.set_result(None)

    def _got_output(self, data: bytes) -> None:
        if self._marks[0] == 1:
            self._stdout += data
        elif self._marks[0] == 0:
            self._said += data

    def _got_error(self, data: bytes) -> None:
        if self._marks[1] != 1:
            self._said += data
            return
        self._stderr += data
        if self._on_output is not None and not self._failed.done():
            try:
                self._on_output(data)
            except Exception as error:
                self._failed.set_exception(error)

    def _output_mark(self, words: str) -> None:
        self._marks[0] += 1
        self._settle_if_told()

    def _error_mark(self, words: str) -> None:
        self._marks[1] += 1
        if self._marks[1] == 1:
            self._group = int(words)
            if self._group:
                self._helper.post("watch", self._group)
            if not self._begun.done():
                self._begun.set_result(None)
        elif words.startswith("!"):
            self._refused = words[1:]
        else:
            self._code = exit_code_of(int(words))
        self._settle_if_told()

    def _settle_if_told(self) -> None:
        """Over when both streams have brought their last mark: what holds the pipes still is not waited for."""
        if min(self._marks) >= 2:
            self._settle()
