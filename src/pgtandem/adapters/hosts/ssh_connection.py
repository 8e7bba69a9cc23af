"""One connection to a host: an ssh that stays, with the helper at its other end, and room for more sessions on it.

The ssh process that runs the helper is also the master that every further session shares (ControlMaster), so one login
serves for everything, and when this process ends in whatever way the helper reads the end of its input, ends the
programs that still run for us, and the connection closes by itself.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pgtandem.adapters.hosts import ssh_errors, ssh_keys, ssh_scripts
from pgtandem.adapters.hosts.ssh_address import SshCommand, ssh_environment
from pgtandem.adapters.hosts.ssh_process import Marks, SshProcess
from pgtandem.ports.host import Completed, HostUnreachable

#: sshd allows 10 sessions on a connection by default (MaxSessions); the helper has one. Beyond what the host allows ssh
#: makes a further connection by itself.
SESSIONS_AT_ONCE = 8

#: How long the login itself may take after the host answered: directory services and sudo can be slow.
_LOGIN_SECONDS = 30

#: What is kept of ssh's own words.
_SAID_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Login:
    """Who the helper runs as, the account's home there, and whether that is another user than who logged in."""

    user: str
    uid: int
    home: str
    other_user: bool


@dataclass(slots=True)
class _Request:
    operation: str
    answer: asyncio.Future[Completed]
    out: bytes = b""
    code: int | None = None


@dataclass(slots=True)
class _Serving:
    """What belongs to one event loop: asyncio's locks cannot be shared by several."""

    loop: asyncio.AbstractEventLoop
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    sessions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SESSIONS_AT_ONCE))


class SshConnection:
    """Connects when first asked, again after a loss, and stays until `close`.

    `account` is who everything is done as. Every method may raise HostUnreachable.
    """

    def __init__(
        self, command: SshCommand, account: str, *, accept_new_host_keys: bool, ask: ssh_keys.AskForKey | None
    ) -> None:
        self._command = command
        self.account = account
        self._checking = "accept-new" if accept_new_host_keys else "yes"
        self._ask = ask
        self._folder: str | None = None
        self._helper: Helper | None = None
        self._serving: _Serving | None = None

    @property
    def name(self) -> str:
        return self._command.address.name

    @property
    def sessions(self) -> asyncio.Semaphore:
        """Hold it for every further session."""
        return self._in_this_loop().sessions

    async def helper(self) -> Helper:
        """The helper, connected when it is not."""
        serving = self._in_this_loop()
        async with serving.connecting:
            if self._helper is not None and self._helper.lost is None:
                self._helper.attach(serving.loop)
                return self._helper
            self._end_helper()
            self._helper = await self._connect()
            return self._helper

    def session_argv(self) -> list[str]:
        """The command line of a further session."""
        return self._command.argv("-S", self._socket(), "-o", "ControlMaster=no", command=ssh_scripts.START)

    def failure(self, said: str) -> HostUnreachable:
        return ssh_errors.unreachable(self._command.address, said, self.account)

    def lost(self, said: str, during: str) -> HostUnreachable:
        if self._helper is not None:
            said = f"{said}\n{self._helper.said}"
        return ssh_errors.lost(self._command.address, said, during)

    def drop(self) -> None:
        """Ends a connection that no longer answers; the next request makes a new one."""
        self._end_helper()

    async def close(self) -> None:
        if self._helper is not None:
            helper, self._helper = self._helper, None
            await asyncio.shield(asyncio.to_thread(helper.close))
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _connect(self) -> Helper:
        for _ in range(2):
            options = ("-M", "-S", self._socket())
            argv = self._command.argv(*options, command=ssh_scripts.START, checking=self._checking)
            helper = self._start(argv)
            try:
                async with asyncio.timeout(self._command.connect_seconds + _LOGIN_SECONDS):
                    login = await helper.request("hello")
                helper.login = _parse_login(login.text)
                return helper
            except TimeoutError:
                helper.kill()
                raise self.failure(f"{helper.said}\nthe login did not end in time") from None
            except BaseException as error:
                helper.kill()
                if not isinstance(error, ConnectionError):
                    raise
            if ssh_errors.UNKNOWN_KEY.search(helper.said) is None:
                break
            self._checking = await ssh_keys.settle_unknown_key(self._command, helper.said, self._ask)
        raise self.failure(helper.said)

    def _start(self, argv: Sequence[str]) -> Helper:
        try:
            helper = Helper(argv, self.account)
        except OSError as error:
            why = f"ssh cannot be started here: {error.strerror}."
            raise HostUnreachable(self.name, why, "install the OpenSSH client") from error
        helper.attach(asyncio.get_running_loop())
        return helper

    def _socket(self) -> str:
        if self._folder is None:
            # A socket's path may have about 100 bytes, and ssh adds 17 of its own while it makes it.
            roomy = len(os.fsencode(tempfile.gettempdir())) < 60
            self._folder = tempfile.mkdtemp(prefix="pgtandem-", dir=None if roomy else "/tmp")
        return os.path.join(self._folder, "ssh").replace("%", "%%")

    def _in_this_loop(self) -> _Serving:
        loop = asyncio.get_running_loop()
        if self._serving is None or self._serving.loop is not loop:
            self._serving = _Serving(loop)
        return self._serving

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._helper.kill()
            self._helper = None


class Helper:
    """The helper's end here: requests go out in turn and are answered in turn."""

    def __init__(self, argv: Sequence[str], account: str) -> None:
        secret = secrets.token_hex(16).encode()
        self._out = Marks(secret, self._got_output, self._output_mark)
        self._err = Marks(secret, self._got_error, self._error_mark)
        self._begun = [False, False]
        self._waiting: deque[_Request] = deque()
        self._answered: deque[_Request] = deque()
        self._complaints: deque[bytes] = deque()
        self._collected = bytearray()
        self._complaint = bytearray()
        self._said = bytearray()
        #: Why it can no longer be asked, None while it can.
        self.lost: str | None = None
        self.login = Login("", -1, "/", False)
        self._process = SshProcess(argv, ssh_environment(), self._out.feed, self._err.feed, self._on_end)
        start = account.encode() + b"\n" + ssh_scripts.script_line(ssh_scripts.HELPER) + secret + b"\n"
        self._process.feed(start)

    @property
    def said(self) -> str:
        """ssh's own words, and those of the login before the helper began."""
        return self._said.decode(errors="replace")

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.attach(loop)

    async def request(self, operation: str, *arguments: str | bytes) -> Completed:
        """Asks and waits. Raises ConnectionError when the connection ends first, ValueError for impossible texts."""
        line = ssh_scripts.request(operation, arguments)
        if self.lost is not None:
            raise ConnectionError(self.lost)
        answer: asyncio.Future[Completed] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(operation, answer))
        self._process.feed(line)
        return await answer

    def post(self, word: str, group: int) -> None:
        """Says something about a process group that needs no answer: watch, forget, term, kill."""
        if self.lost is None:
            self._process.feed(b"%s %d\n" % (word.encode(), group))

    def kill(self) -> None:
        self.lost = self.lost or "it was ended"
        self._process.kill()
        self._fail_all()

    def close(self) -> None:
        """Lets the helper end by itself, so that everything that was posted is done."""
        self.lost = self.lost or "it was closed"
        self._process.feed(b"", ends=True)
        self._process.wait_briefly(5)
        self._process.kill()

    def _on_end(self) -> None:
        self.lost = self.lost or "ssh ended"
        self._fail_all()

    def _fail_all(self) -> None:
        for request in (*self._answered, *self._waiting):
            self._settle(request.answer, ConnectionError(self.lost))
        self._answered.clear()
        self._waiting.clear()

    def _got_output(self, data: bytes) -> None:
        if self._begun[0]:
            self._collected += data
        else:
            self._keep(data)  # a login that is refused by its shell says so here

    def _got_error(self, data: bytes) -> None:
        self._keep(data)
        if self._begun[1]:
            self._complaint += data

    def _keep(self, data: bytes) -> None:
        self._said += data
        del self._said[:-_SAID_BYTES]

    def _output_mark(self, words: str) -> None:
        if not self._begun[0]:
            self._begun[0] = True
            return
        request = self._waiting.popleft()
        request.out, request.code = bytes(self._collected), int(words)
        self._collected.clear()
        self._answered.append(request)
        self._answer()

    def _error_mark(self, words: str) -> None:
        if not self._begun[1]:
            self._begun[1] = True
            return
        self._complaints.append(bytes(self._complaint))
        self._complaint.clear()
        self._answer()

    def _answer(self) -> None:
        while self._answered and self._complaints:
            request = self._answered.popleft()
            assert request.code is not None
            self._settle(request.answer, Completed(request.code, request.out, self._complaints.popleft()))

    @staticmethod
    def _settle(answer: asyncio.Future[Completed], result: Completed | ConnectionError) -> None:
        if answer.done() or answer.get_loop().is_closed():
            return
        if isinstance(result, Completed):
            answer.set_result(result)
        else:
            answer.set_exception(result)


def _parse_login(said: str) -> Login:
    name, uid, user, home = said.split("/", 3)
    return Login(user, int(uid), home, name.endswith("-other"))
