"""One connection to a host: an ssh that stays, with the helper at its other end, and room for more sessions on it.

The ssh process that runs the helper also makes the master that every further session shares (ControlMaster), so one
login serves for everything, and when this process ends in whatever way the helper reads the end of its input and ends
the programs that still run for us. The connection then closes by itself: at once, or where logins are kept (`ssh_kept`)
when no other command used it for a while.
"""

import asyncio
import contextlib
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pgtandem.adapters.hosts import ssh_errors, ssh_keys, ssh_scripts
from pgtandem.adapters.hosts.account import current_account
from pgtandem.adapters.hosts.processes import DeadlinePassed, execute
from pgtandem.adapters.hosts.ssh_address import SshCommand, ssh_environment
from pgtandem.adapters.hosts.ssh_files import state_of_files
from pgtandem.adapters.hosts.ssh_helper import Helper
from pgtandem.adapters.hosts.ssh_kept import KeptLogins
from pgtandem.adapters.hosts.ssh_master import Master
from pgtandem.adapters.hosts.ssh_silence import KNOCKING_SECONDS, knocks_in_vain, repeats_in_vain
from pgtandem.ports.host import Completed, HostUnreachable

#: sshd allows 10 sessions on a connection by default (MaxSessions); the helper has one. Beyond what the host allows ssh
#: makes a further connection by itself.
SESSIONS_AT_ONCE = 8

#: How long the login itself may take after the host answered: directory services and sudo can be slow.
_LOGIN_SECONDS = 30

#: A host that let a connection wait for so long in vain is not tried again for a while: a failover must not wait for
#: a dead primary at every look.
_SLOW_SECONDS, _SILENT_SECONDS = 4.0, 20.0

#: After how long a kept login is looked at whose host does not answer over it: whether what was sent has to be sent
#: again; and after how long a new login is tried beside it although the host takes what is sent. A login that took
#: long (a directory service, sudo) gives reason for more patience.
_REPEATED_SECONDS, _PATIENCE_SECONDS, _LONGEST_PATIENCE_SECONDS = 0.5, 3.0, 8.0

#: The least that connecting is given where the host was silent before.
_SHORTEST_SECONDS = 2

#: A way through a jump host that failed sooner is tried once more, to hear what that host says.
_PROXY_SECONDS = 2.0

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

    `account` is who everything is done as; `kept` is where logins come from and stay. With `patience_seconds` a host
    that nobody could log in to by then is given up. Every method may raise HostUnreachable.
    """

    def __init__(
        self,
        command: SshCommand,
        account: str,
        *,
        accept_new_host_keys: bool,
        ask: ssh_keys.AskForKey | None,
        kept: KeptLogins | None = None,
        patience_seconds: float | None = None,
    ) -> None:
        self._command = command
        self.account = account
        self._checking = "accept-new" if accept_new_host_keys else "yes"
        self._ask = ask
        self._kept = kept
        self._patience = patience_seconds
        self._limit: asyncio.Timeout | None = None
        self._name = ""
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
        asked = serving.loop.time()
        async with serving.connecting:
            if self._helper is not None and self._helper.lost is None:
                self._helper.attach(serving.loop)
                return self._helper
            if serving.failure is not None and serving.fails_until > asked:
                raise serving.failure  # who waited for that attempt has its answer
            self._end_helper()
            try:
                self._helper = await self._connect_in_time()
            except HostUnreachable as failure:
                ended = serving.loop.time()
                silent = ended - asked >= min(_SLOW_SECONDS, self._patience or _SLOW_SECONDS)
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
            master = _forwarding(helper)
            if port not in master.ports:
                local = _free_socket(master.folder, port)
                await self._mux(self._command.forward_argv(master.socket, local, port))
                master.ports.add(port)
            return master.folder

    async def socket(self, remote: str, port: int) -> str:
        """The folder of a socket that leads to a Unix socket of the host. sshd connects to that as who logged in.

        Raises ConnectionRefusedError when the host's sshd does not allow that.
        """
        helper = await self.helper()
        async with self._in_this_loop().connecting:
            master = _forwarding(helper)
            if remote not in master.sockets:
                folder = os.path.join(master.folder, f"s{len(master.sockets)}")
                os.makedirs(folder, 0o700, exist_ok=True)
                local = _free_socket(folder, port)
                await self._mux(self._command.socket_argv(master.socket, local, remote))
                master.sockets[remote] = folder
            return master.sockets[remote]

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

    def session_argv(self, helper: Helper) -> list[str]:
        """The command line of a further session."""
        options = ("-S", helper.master.control_path, "-o", "ControlMaster=no")
        return self._command.argv(*options, command=ssh_scripts.START)

    def failure(self, said: str) -> HostUnreachable:
        return ssh_errors.unreachable(self._command.address, said, self.account)

    def lost(self, said: str, during: str) -> HostUnreachable:
        """The failure when the connection ended during something; `said` are ssh's words then."""
        return ssh_errors.lost(self._command.address, said, during)

    async def close(self) -> None:
        """Ends what still runs on the connection, and the login where it is not kept for another command; the next
        request would make a new one."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.attach(asyncio.get_running_loop())
            await helper.close(self._leave)

    def _leave(self, master: Master) -> bool:
        return self._kept is not None and self._kept.leave(self._name, master)

    async def _connect_in_time(self) -> Helper:
        if self._patience is None:
            return await self._connect()
        try:
            async with asyncio.timeout(self._patience) as self._limit:
                return await self._connect()
        except TimeoutError:
            raise ssh_errors.given_up(self._command.address, self._patience) from None

    async def _connect(self) -> Helper:
        if self._kept is None or not self._kept.possible:
            return await self._log_in(None)
        self._name = self._name_of_login()
        kept = self._kept.take(self._name)
        if kept is None:
            return await self._log_in(self._kept)
        return await self._go_on(kept)

    def _name_of_login(self) -> str:
        assert self._kept is not None
        argv = replace(self._command, connect_seconds=0).argv()  # how long connecting may take decides nothing
        return self._kept.name([self.account, *argv, *state_of_files(self._command.used_config)])

    async def _go_on(self, kept: Master) -> Helper:
        """With a login that was kept; where the host does not answer over it, by logging in anew at the same time. So
        a host that is gone is told no later than it would be without."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        joining = asyncio.create_task(self._join(kept))
        attempts = [joining]
        helper: Helper | None = None
        try:
            await self._listen(joining, kept)
            if not joining.done() or joining.exception() is not None:
                anew = asyncio.create_task(self._log_in(self._kept, late=loop.time() - began))
                attempts.append(anew)
                done, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
                if anew not in done and joining.exception() is not None:
                    await asyncio.wait({anew})
            helper = (joining if joining.done() and joining.exception() is None else attempts[-1]).result()
            return helper
        finally:
            for attempt in attempts:
                attempt.cancel()
            for ended in await asyncio.gather(*attempts, return_exceptions=True):
                if isinstance(ended, Helper) and ended is not helper:
                    ended.kill()

    async def _listen(self, joining: "asyncio.Task[Helper]", kept: Master) -> None:
        """Returns when it has come to its end, or is silent for suspiciously long."""
        await asyncio.wait({joining}, timeout=_REPEATED_SECONDS)
        process = None if joining.done() else kept.process()
        if process is not None and not repeats_in_vain(process):
            patience = min(max(_PATIENCE_SECONDS, kept.login_seconds + 1), _LONGEST_PATIENCE_SECONDS)
            await asyncio.wait({joining}, timeout=patience - _REPEATED_SECONDS)

    async def _join(self, kept: Master) -> Helper:
        """Raises ConnectionError where the login does not stand any more."""
        helper = self._start(self._command.joining_argv(kept.control_path, ssh_scripts.START), kept)
        return await self._begun(helper)

    async def _log_in(self, kept: KeptLogins | None, late: float = 0.0) -> Helper:
        """A new login, which is kept afterwards where there is a place for that. `late` is how long the host has been
        silent already."""
        loop = asyncio.get_running_loop()
        patience = max(_SHORTEST_SECONDS, math.ceil(self._command.connect_seconds - late))
        command = replace(self._command, connect_seconds=patience)
        asked = False
        while True:
            began = loop.time()
            master = self._new_master(kept)
            keep_seconds = kept.seconds if kept is not None and master.lasts else 0
            argv = command.argv(
                *master.options(), command=ssh_scripts.START, checking=self._checking, keep_seconds=keep_seconds
            )
            helper = self._start(argv, master)
            unheard = loop.call_later(max(1.0, KNOCKING_SECONDS - late), _end_if_unheard, helper)
            try:
                await self._begun(helper)
                master.since, master.login_seconds = time.time(), loop.time() - began
                return helper
            except ConnectionError as error:
                said = str(error)
            finally:
                unheard.cancel()
            if master.lasts and ssh_errors.THROUGH_A_PROXY.search(said) and loop.time() - began < _PROXY_SECONDS:
                kept = None  # an ssh that is to stay lets nobody see what a jump host says
            elif not asked and ssh_errors.UNKNOWN_KEY.search(said) is not None:
                asked = True
                if self._limit is not None:
                    self._limit.reschedule(None)  # a person takes time
                self._checking = await ssh_keys.settle_unknown_key(self._command, said, self._ask)
                if self._kept is not None and self._kept.possible:
                    self._name = self._name_of_login()  # known_hosts is another one now
            else:
                raise self.failure(said)

    async def _begun(self, helper: Helper) -> Helper:
        """The helper once it is there. Raises ConnectionError with what was said, and HostUnreachable when nothing was
        for too long."""
        try:
            async with asyncio.timeout(self._command.connect_seconds + _LOGIN_SECONDS):
                await helper.begin()
            return helper
        except TimeoutError:
            said = helper.said
            helper.kill()
            raise self.failure(f"{said}\nthe login did not end in time") from None
        except ConnectionError:
            said = helper.said
            helper.kill()
            raise ConnectionError(said) from None
        except BaseException:
            helper.kill()
            raise

    def _start(self, argv: Sequence[str], master: Master) -> Helper:
        try:
            helper = Helper(argv, self.account, master)
        except OSError as error:
            master.end()
            why = f"ssh cannot be started here: {error.strerror}."
            raise HostUnreachable(self.name, why, "install the OpenSSH client") from error
        helper.attach(asyncio.get_running_loop())
        return helper

    @staticmethod
    def _new_master(kept: KeptLogins | None) -> Master:
        if kept is not None:
            with contextlib.suppress(OSError):
                return kept.new()
        # A socket's path may have about 100 bytes, and ssh adds 17 of its own while it makes it.
        roomy = len(os.fsencode(tempfile.gettempdir())) < 60
        return Master(tempfile.mkdtemp(prefix="pgtandem-ssh-", dir=None if roomy else "/tmp"), lasts=False)

    def _in_this_loop(self) -> _Serving:
        loop = asyncio.get_running_loop()
        if self._serving is None or self._serving.loop is not loop:
            self._serving = _Serving(loop)
        return self._serving

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._helper.kill()
            self._helper = None


def _forwarding(helper: Helper) -> Master:
    if helper.forwarding_denied:
        raise ConnectionRefusedError("Its sshd does not allow that connections are forwarded.")
    return helper.master


def _free_socket(folder: str, port: int) -> str:
    local = os.path.join(folder, f".s.PGSQL.{port}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(local)
    return local


def _end_if_unheard(helper: Helper) -> None:
    if knocks_in_vain(helper.pid):
        helper.give_up(f"{ssh_errors.UNHEARD}\n")
