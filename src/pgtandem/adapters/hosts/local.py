"""This machine as a Host.

Files are touched in short sections with the account's own rights (`account.acting_as`), without an await
inside; programs run as the account from the start. Whatever the system refuses becomes a HostFailure that
names the path and the reason. An ordinary user is its own account.
"""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pgtandem.adapters.hosts import account as accounts
from pgtandem.adapters.hosts import files, folders, processes, programs, sockets
from pgtandem.adapters.hosts.account import Account, acting_as
from pgtandem.adapters.hosts.paths import absolute, shown
from pgtandem.adapters.hosts.reach import find_obstacle
from pgtandem.adapters.hosts.relay import Relays
from pgtandem.adapters.hosts.removing import removed_while_filled
from pgtandem.model.facts import ABSENT, Absent, Fact, Known, Unknown
from pgtandem.model.observed import DiskSpace, Obstacle
from pgtandem.ports.host import CommandTimeout, Completed, HostFailure

#: For what takes as long as a disk needs: removing a data directory, writing out the page cache.
_DISK_SECONDS = 3600


#: How long a program may take that only looks.
_LOOK_SECONDS = 20.0


class LocalHost:
    """This machine. As root `account_name` says what servers run as; without it "postgres", or else
    "pgtandem".

    `programs_folder` is where copies of programs go, /var/lib/pgtandem/programs for root by default.
    """

    def __init__(self, account_name: str | None = None, *, programs_folder: str | None = None) -> None:
        self._wanted = account_name
        self._programs_folder = programs_folder
        self._account: Account | None = None
        self._relays: Relays | None = None

    @property
    def name(self) -> str:
        return "this machine"

    async def account(self) -> Fact[str]:
        chosen = self._chosen()
        return Known(chosen.value.name) if isinstance(chosen, Known) else chosen

    async def create_account(self) -> None:
        what = f'could not create account "{accounts.CREATED_NAME}"'
        chosen = self._chosen()
        if isinstance(chosen, Unknown):
            raise self._failure(what, f"It would not help: {chosen.reason}.")
        if isinstance(chosen, Known):
            return
        commands = accounts.creation_commands()
        if not commands:
            why = "PostgreSQL refuses to run as root, and this machine has neither useradd nor adduser."
            next_step = f'make a system account named "{accounts.CREATED_NAME}" and run this again'
            raise self._failure(what, why, next_step)
        for argv in commands:
            completed = await self._execute(argv, accounts.current_account())
            # Another run may have made it just now.
            if completed.exit_code != 0 and self._chosen() is ABSENT:
                raise self._failure(what, f"{argv[0]} failed: {completed.complaint}")
        if self._chosen() is ABSENT:
            raise self._failure(what, f"{commands[-1][0]} succeeded, and the account is still not there.")

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        account = self._account_to_look()
        return await self._execute(argv, account, stdin, deadline_seconds, environment, on_output)

    async def run_as_login(self, argv: Sequence[str], *, deadline_seconds: float = 60) -> Completed:
        return await self._execute(argv, accounts.current_account(), deadline_seconds=deadline_seconds)

    async def look(self, argv: Sequence[str]) -> Completed:
        return await self.run(argv, deadline_seconds=_LOOK_SECONDS)

    async def can_execute(self, path: str) -> bool:
        with self._looking(f"could not look at {shown(path)}"):
            return files.is_executable(absolute(path))

    async def stamp(self, path: str) -> str | None:
        # With all rights, as programs are looked for: it tells nothing of what is in the file.
        with self._failing(f"could not look at {shown(path)}"):
            return files.stamp(absolute(path))

    async def program_directories(self, major: int) -> Sequence[tuple[str, str]]:
        # Looked for with all rights: the caller asks `can_execute`, and copies what only root can reach.
        return programs.find_program_directories(major, _search_path())

    async def copy_programs(self, source: str, name: str) -> str:
        target = self.shared_programs(name)
        if programs.holds_postgres(target):
            return target
        what = f"could not copy the programs in {shown(source)} to {shown(target)}"
        own = accounts.current_account()
        with self._failing(what):
            try:
                await programs.copy_installation(source, os.path.dirname(target), own)
            except programs.CopyFailed as error:
                raise self._failure(what, f"{error}.") from error
            except processes.DeadlinePassed as error:
                raise self._failure(what, "It took too long.") from error
        return target

    async def version_out_of_reach(self, directory: str) -> str:
        argv = [os.path.join(directory, "postgres"), "--version"]
        try:
            return (await self._execute(argv, accounts.current_account(), deadline_seconds=20)).text
        except HostFailure:
            return ""

    def shared_programs(self, name: str) -> str:
        with self._failing("could not name a folder for programs"):
            programs.check_copy_name(name)
        return os.path.join(self._programs_folder or _default_programs_folder(), name, "bin")

    async def read_file(self, path: str) -> bytes | None:
        with self._looking(f"could not read {shown(path)}"):
            return files.read_file(absolute(path))

    async def write_file(self, path: str, content: bytes, mode: int = 0o600) -> None:
        with self._changing(f"could not write {shown(path)}"):
            files.replace_file(absolute(path), content, mode)

    async def list_directory(self, path: str) -> tuple[str, ...] | None:
        with self._looking(f"could not list {shown(path)}"):
            try:
                return tuple(sorted(os.listdir(absolute(path))))
            except FileNotFoundError:
                return None

    async def read_link(self, path: str) -> str | None:
        with self._looking(f"could not look at {shown(path)}"):
            return files.read_link(absolute(path))

    async def make_directory(self, path: str, mode: int = 0o700) -> None:
        what = f"could not make folder {shown(path)}"
        account = self._account_to_change(what)
        with self._failing(what, account):
            folders.make_directory(absolute(path), mode, account)

    async def obstacle(self, path: str) -> Obstacle | None:
        account = self._account_to_look()
        with self._failing(f"could not look at {shown(path)}", account):
            return find_obstacle(absolute(path), account, to_be_made=self._chosen() is ABSENT)

    async def rename(self, source: str, target: str) -> None:
        what = f"could not rename {shown(source)} to {shown(target)}"
        account = self._account_to_change(what)
        with self._failing(what, account):
            folders.rename(absolute(source), absolute(target), account)

    async def remove_file(self, path: str) -> None:
        with self._changing(f"could not remove {shown(path)}"):
            files.remove_file(absolute(path))

    async def remove_tree(self, path: str) -> None:
        what = f"could not remove folder {shown(path)}"
        with self._changing(what):
            path = absolute(path)
            if not files.require_removable(path):
                return
        await self._remove_folder(what, path)

    async def sync_tree(self, path: str) -> None:
        what = f"could not sync {shown(path)}"
        with self._looking(what):
            os.lstat(absolute(path))
        if sys.platform == "linux":
            completed = await self.run(["sync", "-f", path], deadline_seconds=_DISK_SECONDS)
            if completed.exit_code == 0:
                return
            if not _not_understood(completed):
                raise self._failure(what, completed.complaint)
        await asyncio.to_thread(os.sync)  # it needs no rights, so it may run beside an `acting_as`

    async def disk_space(self, path: str) -> DiskSpace:
        with self._looking(f"could not look at the file system of {shown(path)}"):
            return files.disk_space(absolute(path))

    async def port_holder(self, address: str, port: int) -> str | None:
        with self._failing(f"could not look at port {port} of {address}"):
            return await sockets.find_port_holder(address, port)

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return address, port

    async def socket(self, directory: str, port: int) -> str:
        chosen = self._chosen()
        if not isinstance(chosen, Known) or chosen.value.uid == os.geteuid():
            return directory
        if self._relays is None:
            self._relays = Relays()
        return await self._relays.folder(chosen.value, directory, port)

    async def process_alive(self, pid: int) -> bool:
        return await processes.process_alive(pid)

    async def end_process(self, pid: int) -> None:
        what = f"could not end process {pid}"
        if pid <= 1:
            raise self._failure(what, "It is not the id of a server.")
        account = self._account_to_change(what)
        if account.uid == os.geteuid():
            with self._failing(what, account):
                try:
                    os.kill(pid, signal.SIGQUIT)
                except ProcessLookupError:
                    return
            return
        # The id comes from a file of the account, so it must not be sent with root's rights; effective ids
        # alone would not do, since the kernel looks at the real one too. And `kill` as a program is not
        # everywhere.
        completed = await self.run(["/bin/sh", "-c", 'kill -QUIT "$1"', "sh", str(pid)])
        if completed.exit_code != 0 and await self.process_alive(pid):
            raise self._failure(what, f'{completed.complaint} (as account "{account.name}")')

    async def close(self) -> None:
        if self._relays is not None:
            await self._relays.close()

    async def _remove_folder(self, what: str, path: str) -> None:
        account = self._account_to_change(what)
        options = ["--one-file-system"] if sys.platform == "linux" else []

        async def remove() -> Completed:
            completed = await self.run(["rm", "-rf", *options, "--", path], deadline_seconds=_DISK_SECONDS)
            if completed.exit_code != 0 and options and _not_understood(completed):
                completed = await self.run(["rm", "-rf", "--", path], deadline_seconds=_DISK_SECONDS)
            return completed

        completed = await removed_while_filled(remove)
        with self._failing(what, account):
            if completed.exit_code != 0:
                with acting_as(account):
                    emptied = files.is_empty_folder(path)
                if not emptied or account.uid == os.geteuid():
                    raise self._failure(what, completed.complaint)
                # The account could empty it, and not take its name out of a folder that is root's.
                folders.remove_empty(path, account)
            with acting_as(account):
                files.sync_folder(os.path.dirname(path))

    async def _execute(
        self,
        argv: Sequence[str],
        account: Account,
        stdin: bytes = b"",
        deadline_seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        program = os.path.basename(argv[0])
        try:
            return await processes.execute(
                argv,
                account=account,
                stdin=stdin,
                deadline_seconds=deadline_seconds,
                environment=environment,
                on_output=on_output,
            )
        except processes.DeadlinePassed:
            raise CommandTimeout(self.name, program, deadline_seconds) from None
        except (OSError, ValueError) as error:
            raise self._translated(f"could not run {program}", error, account) from error

    def _chosen(self) -> Fact[Account]:
        if self._account is not None:
            return Known(self._account)
        chosen = accounts.choose_account(self._wanted)
        if isinstance(chosen, Known):
            self._account = chosen.value
        return chosen

    def _account_to_look(self) -> Account:
        """Who looks: the account, or while it is still to be made one that may do what everybody may."""
        chosen = self._chosen()
        if isinstance(chosen, Known):
            return chosen.value
        return accounts.current_account() if os.geteuid() != 0 else accounts.unprivileged_account()

    def _account_to_change(self, what: str) -> Account:
        chosen = self._chosen()
        if isinstance(chosen, Absent):
            raise self._failure(what, "There is no account yet that PostgreSQL could run as.")
        if isinstance(chosen, Unknown) and os.geteuid() == 0:
            raise self._failure(what, f"There is no account that PostgreSQL could run as: {chosen.reason}.")
        return self._account_to_look()

    @contextmanager
    def _looking(self, what: str) -> Iterator[None]:
        account = self._account_to_look()
        with self._failing(what, account), acting_as(account):
            yield

    @contextmanager
    def _changing(self, what: str) -> Iterator[None]:
        account = self._account_to_change(what)
        with self._failing(what, account), acting_as(account):
            yield

    @contextmanager
    def _failing(self, what: str, account: Account | None = None) -> Iterator[None]:
        """What the system refuses becomes a HostFailure."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise self._translated(what, error, account) from error

    def _translated(self, what: str, error: OSError | ValueError, account: Account | None) -> HostFailure:
        if not isinstance(error, OSError):
            return self._failure(what, f"{error}.")
        why = error.strerror or str(error)
        if error.filename:
            why += f": {shown(os.fsdecode(error.filename))}"
        refused = error.errno in (errno.EACCES, errno.EPERM) and why.startswith(os.strerror(error.errno))
        if refused and account is not None and account.uid != os.geteuid():
            why += f' (as account "{account.name}")'
        return self._failure(what, why, error.remedy if isinstance(error, folders.NeedsOwner) else "")

    def _failure(self, what: str, why: str, next_step: str = "") -> HostFailure:
        failure = HostFailure(self.name, what, why)
        failure.next_step = next_step
        return failure


def _search_path() -> list[str]:
    return [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(folder)]


def _default_programs_folder() -> str:
    if os.geteuid() == 0:
        return os.path.join(accounts.CREATED_HOME, "programs")
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.join(accounts.current_account().home, ".local", "share")
    return os.path.join(data, "pgtandem", "programs")


def _not_understood(completed: Completed) -> bool:
    """Whether a program (of busybox, for instance) does not know an option."""
    return any(words in completed.complaint for words in ("unrecognized option", "invalid option", "illegal option"))
