"""The port Host over a simulated machine."""

import errno
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from pgtandem.model.facts import ABSENT, Fact, Known
from pgtandem.model.observed import DiskSpace, Obstacle
from pgtandem.ports.host import CommandTimeout, Completed, HostFailure, HostUnreachable
from pgtandem.testing.files import SimFile, SimFolder
from pgtandem.testing.network import CONTROL, SimMachine, SimNetwork
from pgtandem.testing.probe import Probe, port_call
from pgtandem.testing.programs import PROGRAMS, Program, Running
from pgtandem.testing.wal_files import wal_files

_ANSWER_SECONDS = 10.0
_SYSTEMS_OWN = ("tail", "head", "rmdir", "du", "id", "echo", "sh", "cp", "ssh-keygen")


class SimHost:
    """One machine as pgtandem reaches it. `unreachable` is the reason why it cannot be reached, or ""."""

    def __init__(self, network: SimNetwork, machine: SimMachine, probe: Probe) -> None:
        self.network = network
        self.machine = machine
        self.probe = probe
        self.unreachable = ""
        self.connected = False
        self.account_name: str | None = "postgres"

    @property
    def name(self) -> str:
        return "this machine" if self.machine.url == "local" else f"host {self.machine.url}"

    @property
    def title(self) -> str:
        return f"host {self.machine.url}"

    @port_call(changes=False)
    async def account(self) -> Fact[str]:
        await self._reach()
        return ABSENT if self.account_name is None else Known(self.account_name)

    @port_call(changes=True)
    async def create_account(self) -> None:
        await self._reach()
        self.account_name = self.account_name or "pgtandem"

    @port_call(changes=True)
    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        await self._reach()
        program = posixpath.basename(argv[0])
        found = self._program(argv[0])
        if found is None or any("\0" in word for word in argv):
            raise HostFailure(self.name, f"could not run {_shown(program)}", "No such file or directory")
        running = Running(self.network, self.machine, self.probe, found, tuple(argv), on_output, stdin)
        handler = PROGRAMS[found.name]
        clock = self.network.clock
        begun = clock.monotonic()
        done = await handler(running)
        if clock.monotonic() - begun > deadline_seconds:
            raise CommandTimeout(self.name, program, deadline_seconds)
        return done

    @port_call(changes=True)
    async def run_as_login(self, argv: Sequence[str], *, deadline_seconds: float = 60) -> Completed:
        return await self.run(argv, deadline_seconds=deadline_seconds)

    async def look(self, argv: Sequence[str]) -> Completed:
        return await self.run(argv, deadline_seconds=20)

    @port_call(changes=False)
    async def can_execute(self, path: str) -> bool:
        await self._reach()
        found = self.machine.files.find(path)
        return isinstance(found, SimFile) and bool(found.mode & 0o100)

    @port_call(changes=False)
    async def stamp(self, path: str) -> str | None:
        await self._reach()
        found = self.machine.files.find(_checked(path))
        return f"{hash(found.content)} {found.payload!r}" if isinstance(found, SimFile) else None

    @port_call(changes=False)
    async def program_directories(self, major: int) -> Sequence[tuple[str, str]]:
        await self._reach()
        path = f"/usr/lib/postgresql/{major}/bin"
        return [] if self.machine.files.find(path) is None else [(path, "system")]

    @port_call(changes=True)
    async def copy_programs(self, source: str, name: str) -> str:
        await self._reach()
        with self._failing(f"could not copy the programs in {_shown(source)}"):
            if "/" in name:
                raise OSError(errno.EINVAL, "The name of a copy has no slash", name)
            target = self.shared_programs(name)
            files = self.machine.files
            if files.find(target) is None:
                copied = dict(files.folder(source).entries)
                files.make_directory(posixpath.dirname(target), 0o755).entries["bin"] = SimFolder(0o755, copied)
            return target

    @port_call(changes=False)
    async def version_out_of_reach(self, directory: str) -> str:
        await self._reach()
        found = self.machine.files.find(f"{directory}/postgres")
        if not isinstance(found, SimFile) or not isinstance(found.payload, Program):
            return ""
        running = Running(self.network, self.machine, self.probe, found.payload, ("postgres", "--version"), None)
        return (await PROGRAMS["postgres"](running)).text

    def shared_programs(self, name: str) -> str:
        return f"/var/lib/pgtandem/programs/{name}/bin"

    @port_call(changes=False)
    async def read_file(self, path: str) -> bytes | None:
        await self._reach()
        with self._failing(f"could not read {_shown(path)}"):
            return self.machine.files.read(_checked(path))

    @port_call(changes=True)
    async def write_file(self, path: str, content: bytes, mode: int = 0o600) -> None:
        await self._reach()
        with self._failing(f"could not write {_shown(path)}"):
            self.machine.files.write(_checked(path), content, mode)

    @port_call(changes=False)
    async def list_directory(self, path: str) -> tuple[str, ...] | None:
        await self._reach()
        with self._failing(f"could not list {_shown(path)}"):
            segments = wal_files(self.machine.files, _checked(path))
            if segments is not None:
                return tuple(sorted(segments))
            if self.machine.files.find(_checked(path)) is None:
                return None
            return tuple(sorted(self.machine.files.folder(path).entries))

    @port_call(changes=False)
    async def read_link(self, path: str) -> str | None:
        await self._reach()
        _checked(path)
        return None  # nothing here is a link

    @port_call(changes=True)
    async def make_directory(self, path: str, mode: int = 0o700) -> None:
        await self._reach()
        with self._failing(f"could not make folder {_shown(path)}"):
            self.machine.files.make_directory(_checked(path), mode)

    @port_call(changes=False)
    async def obstacle(self, path: str) -> Obstacle | None:
        await self._reach()
        at = "/"
        for part in filter(None, _checked(path).split("/")):
            at = posixpath.join(at, part)
            if isinstance(self.machine.files.find(at), SimFile):
                return Obstacle(at, f"{at} is not a folder.")
        return None

    @port_call(changes=True)
    async def rename(self, source: str, target: str) -> None:
        await self._reach()
        with self._failing(f"could not rename {_shown(source)} to {_shown(target)}"):
            self.machine.files.rename(_checked(source), _checked(target))

    @port_call(changes=True)
    async def remove_file(self, path: str) -> None:
        await self._reach()
        with self._failing(f"could not remove {_shown(path)}"):
            found = self.machine.files.find(_checked(path))
            if isinstance(found, SimFolder):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if found is not None:
                self.machine.files.remove(path)

    @port_call(changes=True)
    async def remove_tree(self, path: str) -> None:
        await self._reach()
        with self._failing(f"could not remove folder {_shown(path)}"):
            parts = _checked(path).split("/")
            if len(parts) < 3 or ".." in parts:
                raise OSError(errno.EPERM, "A folder so near to the root is never removed", path)
            if self.machine.files.find(path) is not None:
                self.machine.files.folder(path)
                self.machine.files.remove(_checked(path))

    @port_call(changes=True)
    async def sync_tree(self, path: str) -> None:
        await self._reach()
        with self._failing(f"could not sync {_shown(path)}"):
            self.machine.files.sync(_checked(path))

    @port_call(changes=False)
    async def disk_space(self, path: str) -> DiskSpace:
        await self._reach()
        files = self.machine.files
        return DiskSpace(files.total_bytes, files.free_bytes, files.device)

    @port_call(changes=False)
    async def port_holder(self, address: str, port: int) -> str | None:
        await self._reach()
        return self.network.port_holder(self.machine, port)

    @port_call(changes=False)
    async def forward(self, address: str, port: int) -> tuple[str, int]:
        await self._reach()
        return address, port

    @port_call(changes=False)
    async def socket(self, directory: str, port: int) -> str:
        await self._reach()
        return directory

    @port_call(changes=False)
    async def process_alive(self, pid: int) -> bool:
        await self._reach()
        return any(server.pid == pid and server.machine is self.machine for server in self.network.servers)

    @port_call(changes=True)
    async def end_process(self, pid: int) -> None:
        await self._reach()
        if pid <= 1:
            raise HostFailure(self.name, f"could not end process {pid}", "It is not the id of a server.")
        for server in list(self.network.servers):
            if server.pid == pid and server.machine is self.machine:
                server.quit()

    async def close(self) -> None:
        self.connected = False

    async def _reach(self) -> None:
        """Over a connection that is open already a request arrives even where no answer comes back."""
        back = self.network.carries(self.machine.url, CONTROL)
        arrives = self.network.carries(CONTROL, self.machine.url) and (back or self.connected)
        if self.unreachable or not arrives:
            await self._no_answer()
        self.connected = True

    async def answer(self) -> None:
        if not self.network.carries(self.machine.url, CONTROL):
            await self._no_answer()

    async def _no_answer(self) -> NoReturn:
        self.connected = False
        await self.network.clock.sleep(_ANSWER_SECONDS)
        raise HostUnreachable(self.name, self.unreachable or "It does not answer.")

    def _program(self, name: str) -> Program | None:
        if "/" not in name:
            return Program(name, 0) if name in _SYSTEMS_OWN else None
        found = self.machine.files.find(name)
        usable = isinstance(found, SimFile) and isinstance(found.payload, Program)
        return found.payload if usable and isinstance(found, SimFile) and isinstance(found.payload, Program) else None

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HostFailure(self.name, what, error.strerror or str(error)) from error


def _checked(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise OSError(errno.EINVAL, "It is not an absolute path", path)
    return path.rstrip("/")


def _shown(path: str) -> str:
    return path.replace("\n", "\\n").replace("\0", "\\0")
