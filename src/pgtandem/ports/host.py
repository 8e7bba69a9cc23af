"""A machine: files and programs, all touched as the account that PostgreSQL runs as.

No shell anywhere: programs are argument vectors, paths are plain texts, so nothing needs quoting.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Fact
from pgtandem.model.observed import DiskSpace, Obstacle
from pgtandem.model.value import dataclass

#: PostgreSQL's programs go on after an error, with what they tidied up.
_ERROR = re.compile(r"\b(FATAL|PANIC|ERROR|error): ")


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended: its exit code (negative for a signal) and what it wrote."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The lines of stderr (of stdout where that is empty) that say why: from the first error on, else the last."""
        lines = (self.stderr or self.stdout).decode(errors="replace").strip().splitlines()
        first = next((at for at, line in enumerate(lines) if _ERROR.search(line)), len(lines) - 4)
        return "\n".join(lines[max(first, 0) :][:4])


class HostUnreachable(PgtandemError):
    """The host could not be asked at all (PT-2001)."""

    def __init__(self, host: str, why: str, next_step: str = "") -> None:
        super().__init__("PT-2001", f"could not reach {host}", why=why, next_step=next_step)


class CommandTimeout(PgtandemError):
    """A program did not end within its deadline (PT-2002)."""

    def __init__(self, host: str, program: str, seconds: float) -> None:
        super().__init__(
            "PT-2002",
            f"{program} on {host} did not end within {seconds:g} seconds",
            why="It was stopped; what it had begun may be half done, and the next run looks again.",
        )


class HostFailure(PgtandemError):
    """A file or folder could not be read or written (PT-2003)."""

    def __init__(self, host: str, what: str, why: str, next_step: str = "") -> None:
        super().__init__("PT-2003", f"{what} on {host}", why=why, next_step=next_step)


class Host(Protocol):
    """One machine. Every method may raise HostUnreachable, and HostFailure where it says so."""

    @property
    def name(self) -> str:
        """As messages name it: "this machine", or "host" and the address."""
        ...

    async def account(self) -> Fact[str]:
        """The account that servers run as; Absent when it must be created first, Unknown when there can be none."""
        ...

    async def create_account(self) -> None:
        """Creates that account (a system account without login). Raises HostFailure."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """Runs a program as the account, in the C locale, and waits for its end.

        `on_output` gets what it writes to stderr as it comes. When the deadline passes, or the caller is cancelled,
        the program and its children are ended. Raises CommandTimeout, and HostFailure when it cannot be executed.
        """
        ...

    async def run_as_login(self, argv: Sequence[str], *, deadline_seconds: float = 60) -> Completed:
        """Runs a program as who pgtandem is on the host (who logged in), which may have other rights than the account.
        Raises as `run` does."""
        ...

    async def look(self, argv: Sequence[str]) -> Completed:
        """Runs a program that changes nothing, reads no input and ends at once (a version, a control file), as `run`
        does but by the cheapest way there is: it may have to wait for others. Raises what `run` raises.
        """
        ...

    async def can_execute(self, path: str) -> bool:
        """Whether the account may execute the program."""
        ...

    async def stamp(self, path: str) -> str | None:
        """What is another one whenever the file is another one, or was written; None where there is no such file, and
        where finding it out would take as long as a program."""
        ...

    async def program_directories(self, major: int) -> Sequence[tuple[str, str]]:
        """Folders that may hold the server programs of a major version, with their origin ("embedded" or "system"),
        best first."""
        ...

    async def copy_programs(self, source: str, name: str) -> str:
        """Copies an installation that the account cannot reach to where it can; returns the new program folder.

        Done before, it only returns that folder. Raises HostFailure.
        """
        ...

    async def version_out_of_reach(self, directory: str) -> str:
        """What `postgres --version` says of programs that the account cannot execute, run by whoever runs pgtandem; ""
        where nobody can."""
        ...

    def shared_programs(self, name: str) -> str:
        """Where `copy_programs` puts the program folder of an installation of that name."""
        ...

    async def read_file(self, path: str) -> bytes | None:
        """The content, None where there is no such file. Raises HostFailure where it cannot be read."""
        ...

    async def write_file(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replaces a file atomically and durably: whole or not at all. Raises HostFailure."""
        ...

    async def list_directory(self, path: str) -> tuple[str, ...] | None:
        """Sorted names, None where there is no such folder. Raises HostFailure."""
        ...

    async def read_link(self, path: str) -> str | None:
        """Where a symbolic link leads, as it says; None for what is no link or is not there. Raises HostFailure."""
        ...

    async def make_directory(self, path: str, mode: int = 0o700) -> None:
        """Makes a folder and its missing parents, owned by the account; there already is fine. Raises HostFailure."""
        ...

    async def obstacle(self, path: str) -> Obstacle | None:
        """What `make_directory` of that path would fail of, None where nothing is in the way. Changes nothing."""
        ...

    async def rename(self, source: str, target: str) -> None:
        """Moves a file or folder within a file system, durably; an empty target folder is replaced."""
        ...

    async def remove_file(self, path: str) -> None:
        """Removes a file; not there is fine. Raises HostFailure."""
        ...

    async def remove_tree(self, path: str) -> None:
        """Removes a folder with everything in it, never following a link; not there is fine. Raises HostFailure."""
        ...

    async def sync_tree(self, path: str) -> None:
        """Makes everything below a folder durable at once. Raises HostFailure."""
        ...

    async def disk_space(self, path: str) -> DiskSpace:
        """The file system that holds `path`, or its nearest parent that exists. Raises HostFailure."""
        ...

    async def port_holder(self, address: str, port: int) -> str | None:
        """Who accepts connections on a TCP port, in words, or None when nobody does."""
        ...

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        """Where a client of this process reaches the host's own TCP port: libpq's host and port.

        On this machine that is the address and the port themselves; on another host whatever connects there does so
        from the host itself, at its loopback address. Raises HostFailure where the host does not allow that.
        """
        ...

    async def socket(self, directory: str, port: int) -> str:
        """The folder of a socket of this machine that leads to the Unix socket of a server of the host, which sees the
        account at the other end: so peer authentication works. Raises HostFailure where there is no such way."""
        ...

    async def process_alive(self, pid: int) -> bool:
        """Whether a process lives; one that ended and was not reaped yet does not."""
        ...

    async def end_process(self, pid: int) -> None:
        """Sends SIGQUIT (a server's immediate shutdown) to a process; gone already is fine."""
        ...

    async def close(self) -> None: ...
