"""What pgtandem keeps beside the topology file: secrets, the journal, the lock and the list of nodes it built."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pgtandem.model.names import Secret
from pgtandem.model.value import dataclass


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds the lock, or waits for it: process id, machine, account, command and since when (seconds since 1970).

    `gives_way` says that a role change may ask it to let go.
    """

    pid: int
    machine: str
    account: str
    command: str
    since: float
    gives_way: bool = False


@dataclass(frozen=True, slots=True)
class BuiltNode:
    """A node that pgtandem made, as it was when it was made."""

    name: str
    host: str
    address: str
    port: int
    data_directory: str


class Workspace(Protocol):
    """Durable: what a method wrote is there after kill -9."""

    def secret(self, name: str) -> Secret | None:
        """A stored secret, None where there is none."""
        ...

    def store_secret(self, name: str, secret: Secret) -> None: ...

    def change_secrets(self, changes: Mapping[str, Secret | None]) -> None:
        """Stores some secrets and forgets others, all of them at once."""
        ...

    def new_secret(self) -> Secret:
        """A random password: letters and digits, 192 bits."""
        ...

    def write_passfile(self, lines: str, *, restored: bool = False) -> str:
        """Writes the passfile for clients of the cluster, or for those of restored servers; returns its path."""
        ...

    def write_root_certificate(self, text: str) -> str:
        """Writes the file with the CA's certificates for clients of the cluster; returns its path."""
        ...

    def root_certificate(self) -> tuple[str, str] | None:
        """Path and text of that file, None where there is none."""
        ...

    def read_given(self, path: str) -> str:
        """A text file of who runs pgtandem, which the topology file names. Raises PgtandemError PT-1002."""
        ...

    def given_secret(self, path: str) -> Secret:
        """The password in such a file (its one line). Raises PgtandemError PT-1002, also where others may read it."""
        ...

    def versions(self) -> Mapping[str, str]:
        """What programs said of their version, by what was remembered with it; nothing where nothing was."""
        ...

    def remember_versions(self, versions: Mapping[str, str]) -> None:
        """In place of what was remembered before. Whoever cannot remember asks the programs again."""
        ...

    def lock(self, command: str) -> AbstractContextManager[None]:
        """Holds the cluster's lock. Raises PgtandemError PT-5001, naming the holder, when another has it."""
        ...

    def give_way(self, yes: bool) -> None:
        """Who holds the lock says whether it lets go when it is asked to; nobody does until he said so."""
        ...

    def lock_holder(self) -> LockHolder | None:
        """Who holds the lock; None where nobody does, or who does it did not say (yet) who he is."""
        ...

    def want_lock(self, command: str) -> AbstractContextManager[None]:
        """Asks the holder to let go, for as long as this lasts; it ends with the process in any case.

        Raises PgtandemError PT-5001 where another one asks already.
        """
        ...

    def lock_wanted_by(self) -> LockHolder | None:
        """Who asks for the lock now, None where nobody does."""
        ...

    def record(self, entry: Mapping[str, Any]) -> None:
        """Appends one entry to the journal."""
        ...

    def journal(self) -> list[dict[str, Any]]:
        """All whole entries, oldest first; a torn last line is left out."""
        ...

    def built_nodes(self) -> tuple[BuiltNode, ...]: ...

    def remember_node(self, node: BuiltNode) -> None: ...

    def forget_node(self, name: str) -> None: ...

    def login(self) -> str:
        """Who runs pgtandem: the account, or "NAME (as root)" where somebody became root for it."""
        ...

    def token(self) -> str:
        """A short random text, new at each call."""
        ...

    def clear(self) -> None:
        """Removes everything but the topology file, after the cluster was destroyed."""
        ...
