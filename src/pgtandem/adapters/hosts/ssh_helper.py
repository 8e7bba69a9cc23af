"""The helper on a host, as seen from here: requests go out in turn and are answered in turn, a millisecond each.

Beside the requests there are words about process groups that need no answer. They are written at once, so that they
are said even when this process is about to end.
"""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgtandem.adapters.hosts import ssh_scripts
from pgtandem.adapters.hosts.ssh_address import ssh_environment
from pgtandem.adapters.hosts.ssh_master import DENIED, Master
from pgtandem.adapters.hosts.ssh_process import Marks, SshProcess
from pgtandem.ports.host import Completed

#: What is kept of ssh's own words.
_SAID_BYTES = 16384

#: How long closing may take; a helper that has programs to end gives them two seconds.
_CLOSE_SECONDS = 5.0

#: All that ssh says of forwarded connections.
_OF_SSH = re.compile(rb"channel \d+: open failed: [^\n]*\n")


@dataclass(frozen=True, slots=True)
class Login:
    """Who the helper runs as, the account's home there, and whether that is another user than who logged in."""

    user: str
    uid: int
    home: str
    other_user: bool


@dataclass(slots=True)
class _Request:
    answer: asyncio.Future[Completed]
    out: bytes = b""
    code: int | None = None


class Helper:
    """An ssh process with the helper at its other end, as a session of `master` or that master itself.

    Raises OSError where ssh cannot be started.
    """

    def __init__(self, argv: Sequence[str], account: str, master: Master) -> None:
        self.master = master
        secret = secrets.token_hex(16).encode()
        self._out = Marks(secret, self._got_output, self._output_mark)
        self._err = Marks(secret, self._got_error, self._error_mark)
        self._begun = [False, False]
        self._waiting: deque[_Request] = deque()
        self._answered: deque[_Request] = deque()
        self._complaints: deque[bytes] = deque()
        self._collected = bytearray()
        self._complaint = bytearray()
        self._denied = False
        self._said = bytearray()
        #: Why it can no longer be asked, None while it can.
        self.lost: str | None = None
        self.login = Login("", -1, "/", False)
        self._process = SshProcess(argv, ssh_environment(), self._out.feed, self._err.feed, self._on_end)
        start = account.encode() + b"\n" + ssh_scripts.script_line(ssh_scripts.HELPER) + secret + b"\n"
        self._process.feed(start)

    @property
    def pid(self) -> int:
        """The ssh process."""
        return self._process.pid

    @property
    def said(self) -> str:
        """ssh's own words: those before the helper began, and those that follow its last answer."""
        return self.master.said() + (self._said + self._complaint).decode(errors="replace")

    @property
    def forwarding_denied(self) -> bool:
        return self._denied or self.master.denies_forwarding()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.attach(loop)

    async def begin(self) -> None:
        """Waits for the login. Raises ConnectionError when ssh ends before."""
        name, uid, user, home = (await self.request("hello")).text.split("/", 3)
        self.login = Login(user, int(uid), home, name.endswith("-other"))

    async def request(self, operation: str, *arguments: str | bytes) -> Completed:
        """Asks and waits. Raises ConnectionError when the connection ends first, ValueError for impossible texts."""
        return await self.send(operation, *arguments)

    def send(self, operation: str, *arguments: str | bytes) -> asyncio.Future[Completed]:
        """Asks at once; the future may be waited for, or left alone."""
        line = ssh_scripts.request(operation, arguments)
        answer: asyncio.Future[Completed] = asyncio.get_running_loop().create_future()
        if self.lost is not None:
            self._settle(answer, ConnectionError(self.lost))
            return answer
        self._waiting.append(_Request(answer))
        self._process.feed(line)
        return answer

    def post(self, word: str, group: int) -> None:
        """Says something about a process group that needs no answer: watch, forget, term, kill."""
        if self.lost is None:
            self._process.feed(b"%s %d\n" % (word.encode(), group))

    async def answers(self, seconds: float) -> bool:
        """Whether it can still be asked."""
        try:
            async with asyncio.timeout(seconds):
                await self.request("there", "/")
        except (ConnectionError, TimeoutError):
            return False
        return True

    def kill(self) -> None:
        """Ends the connection now, and whatever else goes over it."""
        self.lost = self.lost or "it was ended"
        self._process.kill()
        self.master.end()
        self._fail_all()

    def give_up(self, why: str) -> None:
        """Ends an ssh that said nothing yet; `why` counts as its words."""
        self._said += why.encode()
        self.kill()

    async def close(self, leave: Callable[[Master], bool]) -> None:
        """Lets the helper end by itself, so that everything that was posted is done. Then `leave` may say that the
        login stays for another command; it is not asked about one that was lost."""
        usable = self.lost is None and self.master.lasts
        self.lost = self.lost or "it was closed"
        self._process.feed(b"", ends=True)
        left = False
        try:
            ended = await asyncio.to_thread(self._process.wait_briefly, _CLOSE_SECONDS)
            left = usable and ended and leave(self.master)
        finally:
            if left:
                self._process.kill()
                self._fail_all()
            else:
                self.kill()

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
        if self._begun[1]:
            self._complaint += data
            # What is carried to ports of the host goes over the same ssh, which complains here of it.
            self._denied |= DENIED in self._complaint
        else:
            self._keep(data)

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
        self._complaints.append(_OF_SSH.sub(b"", self._complaint))
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
            answer.exception()  # nobody need have waited for it
