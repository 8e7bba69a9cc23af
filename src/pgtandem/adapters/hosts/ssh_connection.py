"""One connection to a host: an ssh that stays, with the helper at its other end, and room for more sessions on it.

The ssh process that runs the helper is also the master that every further session shares (ControlMaster), so one login
serves for everything, and when this process ends in whatever way the helper reads the end of its input, ends the
programs that still run for us, and the connection closes by itself.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from pgtandem.adapters.hosts import ssh_errors, ssh_keys, ssh_scripts
from pgtandem.adapters.hosts.account import current_account
from pgtandem.adapters.hosts.processes import DeadlinePassed, execute
from pgtandem.adapters.hosts.ssh_address import SshCommand, ssh_environment
from pgtandem.adapters.hosts.ssh_helper import Helper
from pgtandem.adapters.hosts.ssh_silence import KNOCKING_SECONDS, knocks_in_vain
from pgtandem.ports.host import Completed, HostUnreachable

#: sshd allows 10 sessions on a connection by default (MaxSessions); the helper has one. Beyond what the host allows ssh
#: makes a further connection by itself.
SESSIONS_AT_ONCE = 8

#: How long the login itself may take after the host answered: directory services and sudo can be slow.
_LOGIN_SECONDS = 30

#: A host that let a connection wait for so long in vain is not tried again for a while: a failover must not wait for
#: a dead primary at every look.
_SLOW_SECONDS, _SILENT_SECONDS = 4.0, 20.0

#: How long the shared connection may take to answer a request of its own.
_MUX_SECONDS = 10


@dataclass(slots=True)
class _Serving:
    """What belongs to one event loop: asyncio's locks cannot be shared by several."""

    loop: asyncio.AbstractEventLoop
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    sessions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SESSIONS_AT_ONCE))
    failure: HostUnreachable | None = None
    fails_until: float = 0.0


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
        self._forwarded_by: Helper | None = None
        self._forwarded: set[int] = set()
        self._sockets_by: Helper | None = None
        self._sockets: dict[str, str] = {}
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
        asked = serving.loop.time()
        async with serving.connecting:
            if self._helper is not None and self._helper.lost is None:
                self._helper.attach(serving.loop)
                return self._helper
            if serving.failure is not None and serving.fails_until > asked:
                raise serving.failure  # who waited for that attempt has its answer
            self._end_helper()
            try:
                self._helper = await self._connect()
            except HostUnreachable as failure:
                ended = serving.loop.time()
                silent = ended - asked > _SLOW_SECONDS
                serving.failure, serving.fails_until = failure, ended + (_SILENT_SECONDS if silent else 0)
                raise
            return self._helper

    async def ask(self, doing: str, operation: str, *arguments: str | bytes, deadline_seconds: float) -> Completed:
        """One operation of the helper. Raises TimeoutError, and ValueError for texts that no host can be given."""
        helper = await self.helper()
        try:
            async with asyncio.timeout(deadline_seconds):
                return await helper.request(operation, *arguments)
        except TimeoutError:
            helper.kill()  # it answers in turn: nothing else would be answered either
            raise
        except ConnectionError:
            raise self.lost(helper.said, doing) from None

    async def forward(self, port: int) -> str:
        """The folder of a socket, named as libpq expects it, that leads to the host's 127.0.0.1 at this port.

        Raises ConnectionRefusedError when the host's sshd does not allow that.
        """
        helper = await self.helper()
        async with self._in_this_loop().connecting:
            if self._forwarded_by is not helper:
                self._forwarded_by, self._forwarded = helper, set()
            if helper.forwarding_denied:
                raise ConnectionRefusedError("Its sshd does not allow that connections are forwarded.")
            control = self._socket()
            assert self._folder is not None
            local = os.path.join(self._folder, f".s.PGSQL.{port}")
            if port not in self._forwarded:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(local)
                argv = self._command.forward_argv(control.replace("%%", "%"), local, port)
                await self._mux(argv)
                self._forwarded.add(port)
            return self._folder

    async def socket(self, remote: str, port: int) -> str:
        """The folder of a socket that leads to a Unix socket of the host. sshd connects to that as who logged in.

        Raises ConnectionRefusedError when the host's sshd does not allow that.
        """
        helper = await self.helper()
        async with self._in_this_loop().connecting:
            if self._sockets_by is not helper:
                self._sockets_by, self._sockets = helper, {}
            if helper.forwarding_denied:
                raise ConnectionRefusedError("Its sshd does not allow that connections are forwarded.")
            if remote not in self._sockets:
                control = self._socket()
                assert self._folder is not None
                folder = os.path.join(self._folder, f"s{len(self._sockets)}")
                os.makedirs(folder, 0o700, exist_ok=True)
                local = os.path.join(folder, f".s.PGSQL.{port}")
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(local)
                await self._mux(self._command.socket_argv(control.replace("%%", "%"), local, remote))
                self._sockets[remote] = folder
            return self._sockets[remote]

    async def _mux(self, argv: Sequence[str]) -> None:
        account = current_account()
        try:
            done = await execute(argv, account=account, environment=ssh_environment(), deadline_seconds=_MUX_SECONDS)
        except (OSError, DeadlinePassed) as error:
            raise self.failure(f"ssh could not forward a port: {error}") from error
        if done.exit_code:
            raise self.failure(f"ssh could not forward a port: {done.complaint}")

    def post(self, operation: str, *arguments: str | bytes) -> None:
        """Asks for an operation without waiting for it, where there is a connection."""
        if self._helper is not None:
            self._helper.send(operation, *arguments)

    def session_argv(self) -> list[str]:
        """The command line of a further session."""
        return self._command.argv("-S", self._socket(), "-o", "ControlMaster=no", command=ssh_scripts.START)

    def failure(self, said: str) -> HostUnreachable:
        return ssh_errors.unreachable(self._command.address, said, self.account)

    def lost(self, said: str, during: str) -> HostUnreachable:
        """The failure when the connection ended during something; `said` are ssh's words then."""
        return ssh_errors.lost(self._command.address, said, during)

    async def close(self) -> None:
        """Ends the connection and what still runs on it; the next request would make a new one."""
        helper, self._helper = self._helper, None
        try:
            if helper is not None:
                helper.attach(asyncio.get_running_loop())
                await helper.close()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    async def _connect(self) -> Helper:
        for _ in range(2):
            options = ("-M", "-S", self._socket())
            argv = self._command.argv(*options, command=ssh_scripts.START, checking=self._checking)
            helper = self._start(argv)
            unheard = asyncio.get_running_loop().call_later(KNOCKING_SECONDS, _end_if_unheard, helper)
            try:
                async with asyncio.timeout(self._command.connect_seconds + _LOGIN_SECONDS):
                    await helper.begin()
                return helper
            except TimeoutError:
                helper.kill()
                raise self.failure(f"{helper.said}\nthe login did not end in time") from None
            except BaseException as error:
                helper.kill()
                if not isinstance(error, ConnectionError):
                    raise
            finally:
                unheard.cancel()
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
            self._folder = tempfile.mkdtemp(prefix="pgtandem-ssh-", dir=None if roomy else "/tmp")
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


def _end_if_unheard(helper: Helper) -> None:
    if knocks_in_vain(helper.pid):
        helper.give_up(f"{ssh_errors.UNHEARD}\n")
