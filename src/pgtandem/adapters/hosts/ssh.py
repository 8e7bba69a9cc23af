"""A machine over SSH as a Host: the system's own OpenSSH client, and on the host nothing but a shell.

Files are touched by the helper on the shared connection (a millisecond or two each), programs run in sessions of their
own on it (about ten). Everything is done as `account`: by logging in as it, or as another user with passwordless sudo
to it. What the host's programs say against it becomes a HostFailure that names the path and the reason.
"""

import posixpath
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pgtandem.adapters.hosts import programs, ssh_errors, ssh_ports, ssh_scripts
from pgtandem.adapters.hosts.paths import absolute, shown
from pgtandem.adapters.hosts.processes import DeadlinePassed
from pgtandem.adapters.hosts.reach import WALK, obstacle
from pgtandem.adapters.hosts.removing import removed_while_filled
from pgtandem.adapters.hosts.ssh_address import SshCommand, parse_ssh_url
from pgtandem.adapters.hosts.ssh_connection import SshConnection
from pgtandem.adapters.hosts.ssh_kept import KeptLogins
from pgtandem.adapters.hosts.ssh_keys import AskForKey
from pgtandem.adapters.hosts.ssh_session import CannotExecute, execute_remotely, exit_code_of
from pgtandem.model.facts import Fact, Known, Unknown
from pgtandem.model.observed import DiskSpace, Obstacle
from pgtandem.ports.host import CommandTimeout, Completed, HostFailure, HostUnreachable
from pgtandem.postgres.places import PROGRAM_FOLDERS

#: How long an operation on a file may take: a busy disk can hold a sync for long.
_OPERATION_SECONDS = 120

#: How long a program may take that only looks.
_LOOK_SECONDS = 20

#: For what takes as long as a disk needs: removing a data directory, writing out the page cache.
_DISK_SECONDS = 3600

#: A file up to this size travels through the helper, whose shell reads byte by byte; a bigger one has a session.
_SMALL_BYTES = 8192


class SshHost:
    """The host of `url` (ssh://[user@]host[:port]), where everything is done as `account`.

    An unknown host key is taken with `accept_new_host_keys`, or when `ask` says so; else it is a failure that shows the
    fingerprint. `config` is a file for `ssh -F` instead of the user's own (the variable PGTANDEM_SSH_CONFIG does the
    same). A host that is silent three times for `alive_seconds` is lost. `kept` is where its login may
    come from, and stay for the next command; a host that lets nobody in within `patience_seconds` is given up. Raises
    ValueError for an impossible URL.
    """

    def __init__(
        self,
        url: str,
        account: str = "postgres",
        *,
        accept_new_host_keys: bool = False,
        ask: AskForKey | None = None,
        config: str | None = None,
        connect_seconds: int = 10,
        alive_seconds: int = 5,
        kept: KeptLogins | None = None,
        patience_seconds: float | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", account):
            raise ValueError(f"{account!r} is not the name of an account")
        address = parse_ssh_url(url)
        command = SshCommand(address, config, connect_seconds, alive_seconds)
        self._name = address.name
        self._wanted = account
        self._connection = SshConnection(
            *(command, account),
            accept_new_host_keys=accept_new_host_keys,
            ask=ask,
            kept=kept,
            patience_seconds=patience_seconds,
        )

    @property
    def name(self) -> str:
        return self._name

    async def account(self) -> Fact[str]:
        try:
            login = (await self._connection.helper()).login
        except HostUnreachable as failure:
            if ssh_errors.misses_account(failure):
                return Unknown(f'{self._name} has no account "{self._wanted}"')
            raise
        if login.uid == 0:
            return Unknown(f'PostgreSQL refuses to run as account "{login.user}", which is root')
        return Known(login.user)

    async def create_account(self) -> None:
        what = f'could not create account "{self._wanted}"'
        why = "pgtandem makes no accounts over SSH."
        raise self._failure(what, why, "install PostgreSQL there: its packages make the account")

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        return await self._run(argv, False, stdin, deadline_seconds, environment, on_output)

    async def run_as_login(self, argv: Sequence[str], *, deadline_seconds: float = 60) -> Completed:
        return await self._run(argv, True, deadline_seconds=deadline_seconds)

    async def _run(
        self,
        argv: Sequence[str],
        as_login: bool,
        stdin: bytes = b"",
        deadline_seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        program = posixpath.basename(argv[0])
        try:
            return await execute_remotely(
                self._connection,
                argv,
                as_login=as_login,
                stdin=stdin,
                deadline_seconds=deadline_seconds,
                environment=environment,
                on_output=on_output,
            )
        except DeadlinePassed:
            raise CommandTimeout(self._name, program, deadline_seconds) from None
        except CannotExecute as error:
            raise self._failure(f"could not run {program}", f"{error}: {shown(argv[0])}") from error
        except ValueError as error:
            raise self._failure(f"could not run {program}", f"{error}.") from error

    async def look(self, argv: Sequence[str]) -> Completed:
        """By the helper, which spares a session of its own: a third of what a look at a host takes."""
        program = posixpath.basename(argv[0])
        with self._naming(f"could not run {program}"):
            try:
                answer = await self._connection.ask(f"{program} ran", "run", *argv, deadline_seconds=_LOOK_SECONDS)
            except TimeoutError:
                raise CommandTimeout(self._name, program, _LOOK_SECONDS) from None
        if answer.exit_code == ssh_scripts.NO_PROGRAM_CODE:
            raise self._failure(f"could not run {program}", f"{_said(answer)}: {shown(argv[0])}")
        return replace(answer, exit_code=exit_code_of(answer.exit_code))

    async def can_execute(self, path: str) -> bool:
        with self._naming(f"could not look at {shown(path)}"):
            return (await self._ask("looking at a file", "executable", absolute(path))).exit_code == 0

    async def stamp(self, path: str) -> str | None:
        absolute(path)
        return None  # the helper would have to run `stat`, and that has other options on every system

    async def program_directories(self, major: int) -> Sequence[tuple[str, str]]:
        folders = [folder.format(major=major) for folder in PROGRAM_FOLDERS]
        answer = await self._ask("looking for programs", "programs", *folders)
        return [(folder, "system") for folder in dict.fromkeys(answer.text.splitlines())]

    async def copy_programs(self, source: str, name: str) -> str:
        what = f"could not copy the programs in {shown(source)}"
        why = "Programs are not copied over SSH: a host uses the PostgreSQL that is installed there."
        raise self._failure(what, why, "install PostgreSQL there, by its packages")

    async def version_out_of_reach(self, directory: str) -> str:
        return ""

    def shared_programs(self, name: str) -> str:
        with self._naming("could not name a folder for programs"):
            programs.check_copy_name(name)
        return f"/var/lib/pgtandem/programs/{name}/bin"

    async def read_file(self, path: str) -> bytes | None:
        what = f"could not read {shown(path)}"
        with self._naming(what):
            answer = await self._ask("reading a file", "read", absolute(path))
        return answer.stdout if self._there(what, answer) else None

    async def write_file(self, path: str, content: bytes, mode: int = 0o600) -> None:
        what = f"could not write {shown(path)}"
        with self._naming(what):
            path = absolute(path)
            hidden = posixpath.join(posixpath.dirname(path), f".pgtandem-{secrets.token_hex(8)}.tmp")
            if len(content) <= _SMALL_BYTES:
                arguments = (path, hidden, f"{mode:o}", ssh_scripts.escaped(content))
                self._require(what, await self._ask("writing a file", "write", *arguments))
                return
            await self._write_big(what, path, hidden, content, mode)

    async def list_directory(self, path: str) -> tuple[str, ...] | None:
        what = f"could not list {shown(path)}"
        with self._naming(what):
            answer = await self._ask("listing a folder", "list", absolute(path))
        if not self._there(what, answer):
            return None
        return tuple(sorted(name.decode("utf-8", "surrogateescape") for name in answer.stdout.split(b"/")[:-1]))

    async def read_link(self, path: str) -> str | None:
        what = f"could not look at {shown(path)}"
        with self._naming(what):
            answer = await self._ask("looking at a link", "link", absolute(path))
        if not self._there(what, answer):
            return None
        return answer.stdout.removesuffix(b"\n").decode("utf-8", "surrogateescape")

    async def make_directory(self, path: str, mode: int = 0o700) -> None:
        what = f"could not make folder {shown(path)}"
        with self._naming(what):
            path = absolute(path)
            answer = await self._ask("making a folder", "mkdir", path, f"{mode:o}")
        remedy = ""
        if answer.exit_code == ssh_scripts.REMEDY_CODE and "'" not in path:
            remedy = f"on the host, as root:  install -d -o {self._wanted} -m {mode:o} '{path}'"
        self._require(what, answer, remedy)

    async def obstacle(self, path: str) -> Obstacle | None:
        what = f"could not look at {shown(path)}"
        with self._naming(what):
            looked = await self.look(["/bin/sh", "-c", WALK, "sh", absolute(path)])
        if looked.exit_code != 0:
            raise self._failure(what, _said(looked))
        if not looked.stdout:
            return None
        kind, owner, at = looked.stdout.decode("utf-8", "surrogateescape").split("/", 2)
        return obstacle(kind, at, owner, absolute(path), self._wanted, self._wanted, [], sudo=True)

    async def rename(self, source: str, target: str) -> None:
        what = f"could not rename {shown(source)} to {shown(target)}"
        with self._naming(what):
            answer = await self._ask("renaming", "rename", absolute(source), absolute(target))
        self._require(what, answer)

    async def remove_file(self, path: str) -> None:
        what = f"could not remove {shown(path)}"
        with self._naming(what):
            answer = await self._ask("removing a file", "rm", absolute(path))
        self._require(what, answer)

    async def remove_tree(self, path: str) -> None:
        what = f"could not remove folder {shown(path)}"
        with self._naming(what):
            path = absolute(path)
            if path.count("/") < 2 or ".." in path.split("/"):
                raise ValueError("A folder so near to the root is never removed")
            answer = await self._ask("removing a folder", "removable", path)
        if not self._there(what, answer):
            return
        removed = await removed_while_filled(
            lambda: self._run_either(["rm", "-rf", "--one-file-system", "--", path], ["rm", "-rf", "--", path])
        )
        if removed.exit_code != 0:
            raise self._failure(what, _said(removed))
        self._require(what, await self._ask("removing a folder", "removed", path))

    async def sync_tree(self, path: str) -> None:
        what = f"could not sync {shown(path)}"
        with self._naming(what):
            answer = await self._ask("looking at a folder", "there", absolute(path))
        if not self._there(what, answer):
            raise self._failure(what, "No such file or directory")
        synced = await self._run_either(["sync", "-f", path], ["sync"])
        if synced.exit_code != 0:
            raise self._failure(what, _said(synced))

    async def disk_space(self, path: str) -> DiskSpace:
        what = f"could not look at the file system of {shown(path)}"
        with self._naming(what):
            answer = await self._ask("looking at a file system", "space", absolute(path))
        self._require(what, answer)
        device, _, table = answer.text.partition("\n")
        # The names before and after the figures may hold anything.
        figures = re.search(r"\s(\d+)\s+\d+\s+(-?\d+)\s+(?:\d+%|-)\s+/", table)
        if figures is None:
            raise self._failure(what, f"df said: {table.strip()}")
        return DiskSpace(int(figures[1]) * 1024, max(0, int(figures[2])) * 1024, device)

    async def port_holder(self, address: str, port: int) -> str | None:
        what = f"could not look at port {port} of {shown(address)}"
        places = ssh_ports.literal_places(address)
        if places is None:
            with self._naming(what):
                resolved = await self._ask("resolving a name", "resolve", address)
            places = ssh_ports.resolved_places(resolved.text)
            if not places:
                raise self._failure(what, f"The host cannot resolve the name {shown(address)}.")
        answer = await self._ask("looking at ports", "sockets")
        self._require(what, answer)
        return ssh_ports.holder(answer.text, places, port)

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        """A socket in a folder of this user's alone, which ssh carries to the host's 127.0.0.1."""
        try:
            return await self._connection.forward(port), port
        except ConnectionRefusedError as error:
            next_step = "in the host's sshd_config:  AllowTcpForwarding local   (or remove what denies it)"
            raise self._failure(f"could not reach port {port} through ssh", f"{error}", next_step) from error

    async def socket(self, directory: str, port: int) -> str:
        what = f"could not reach the socket of port {port}"
        login = (await self.run_as_login(["id", "-un"], deadline_seconds=20)).text.strip()
        account = await self.account()
        if account != Known(login):
            why = f"sshd would connect to it as {login}, not as the account that the server runs as."
            raise self._failure(what, why, "log in as the account of the server, or give the password of its superuser")
        try:
            return await self._connection.socket(f"{directory}/.s.PGSQL.{port}", port)
        except ConnectionRefusedError as error:
            next_step = "in the host's sshd_config:  AllowStreamLocalForwarding local"
            raise self._failure(what, f"{error}", next_step) from error

    async def process_alive(self, pid: int) -> bool:
        return pid > 0 and (await self._ask("looking at a process", "alive", str(pid))).exit_code == 0

    async def end_process(self, pid: int) -> None:
        what = f"could not end process {pid}"
        if pid <= 1:
            raise self._failure(what, "It is not the id of a server.")
        self._require(what, await self._ask("ending a process", "quit", str(pid)))

    async def close(self) -> None:
        await self._connection.close()

    async def _write_big(self, what: str, path: str, hidden: str, content: bytes, mode: int) -> None:
        try:
            # The path stands in no script: it is an argument, as for every program.
            argv = ["sh", "-c", 'set -C; cat >"$1"', "sh", hidden]
            written = await self.run(argv, stdin=content, deadline_seconds=_OPERATION_SECONDS)
        except BaseException:
            self._connection.post("rm", hidden)
            raise
        if written.exit_code != 0:
            await self._ask("writing a file", "rm", hidden)
            raise self._failure(what, _said(written))
        size = str(len(content))
        self._require(what, await self._ask("writing a file", "publish", path, hidden, f"{mode:o}", size))

    async def _run_either(self, argv: Sequence[str], simpler: Sequence[str]) -> Completed:
        """Runs a program, and again without the option that it does not know (as busybox may)."""
        completed = await self.run(argv, deadline_seconds=_DISK_SECONDS)
        # Not its last lines alone: busybox goes on with all its options.
        said = completed.stderr.decode(errors="replace")
        if completed.exit_code != 0 and re.search(r"(?:unrecognized|invalid|illegal) option", said):
            return await self.run(simpler, deadline_seconds=_DISK_SECONDS)
        return completed

    async def _ask(self, doing: str, operation: str, *arguments: str | bytes) -> Completed:
        try:
            return await self._connection.ask(doing, operation, *arguments, deadline_seconds=_OPERATION_SECONDS)
        except TimeoutError:
            raise CommandTimeout(self._name, doing, _OPERATION_SECONDS) from None

    def _there(self, what: str, answer: Completed) -> bool:
        if answer.exit_code == ssh_scripts.ABSENT_CODE:
            return False
        self._require(what, answer)
        return True

    def _require(self, what: str, answer: Completed, next_step: str = "") -> None:
        if answer.exit_code != 0:
            raise self._failure(what, _said(answer), next_step)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """A text that cannot be a path becomes a HostFailure."""
        try:
            yield
        except ValueError as error:
            raise self._failure(what, f"{error}.") from error

    def _failure(self, what: str, why: str, next_step: str = "") -> HostFailure:
        return HostFailure(self._name, what, why, next_step)


def _said(completed: Completed) -> str:
    """What a program said against it, in one line and without the name of the shell that ran it."""
    said = " ".join(completed.complaint.split("\n"))
    return re.sub(r"^(?:\S*/)?(?:sh|pgtandem|pgtandem-other): (?:(?:line )?\d+: )?", "", said) or "It gave no reason."
