"""The folder `.pgtandem` beside the topology file: secrets, passfile, journal, lock, the nodes that were built, and
what programs said of their version.

It belongs to who runs pgtandem (root or not), never to the servers' account, and nobody else can read it.
Files are replaced whole and durably; the journal is appended to, line by line.
"""

import contextlib
import json
import os
import secrets
import shutil
import stat
import string
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, NoReturn, TypeGuard

from pgtandem.adapters.hosts.account import current_account, login, owner_name
from pgtandem.adapters.hosts.files import read_file, replace_file, sync_folder, write_all
from pgtandem.adapters.hosts.paths import shown
from pgtandem.adapters.lockfile import (
    held_words,
    holder_advice,
    holder_of,
    lock_file,
    read_holder,
    this_process,
    unlock_file,
    write_holder,
)
from pgtandem.errors import PgtandemError
from pgtandem.model.names import Secret
from pgtandem.ports.workspace import BuiltNode, LockHolder

FOLDER = ".pgtandem"

_ALPHABET = string.ascii_letters + string.digits

#: 33 letters or digits are 196 bits.
_SECRET_LENGTH = 33

#: How often who wants the lock tries to say so, and how long it pauses in between.
_TRIES, _PAUSE_SECONDS = 20, 0.01


class FolderWorkspace:
    """Implements ports.Workspace in `folder`/.pgtandem, which is made by the first write."""

    def __init__(self, folder: str) -> None:
        self._parent = os.path.abspath(folder)
        self._folder = os.path.join(self._parent, FOLDER)
        self._held: int | None = None

    def __repr__(self) -> str:
        return f"FolderWorkspace({self._parent!r})"

    def secret(self, name: str) -> Secret | None:
        value = self._read_secrets().get(name)
        return None if value is None else Secret(value)

    def store_secret(self, name: str, secret: Secret) -> None:
        self.change_secrets({name: secret})

    def change_secrets(self, changes: Mapping[str, Secret | None]) -> None:
        kept = {name: value for name, value in self._read_secrets().items() if name not in changes}
        stored = {name: secret.reveal() for name, secret in changes.items() if secret is not None}
        self._replace("secrets.json", _document({**kept, **stored}))

    def new_secret(self) -> Secret:
        return Secret("".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH)))

    def write_passfile(self, lines: str, *, restored: bool = False) -> str:
        return self._replace("restored.passfile" if restored else "passfile", lines.encode())

    def write_root_certificate(self, text: str) -> str:
        known = self.root_certificate()
        return known[0] if known and known[1] == text else self._replace("ca.crt", text.encode())

    def root_certificate(self) -> tuple[str, str] | None:
        content = self._read("ca.crt")
        return (self._path("ca.crt"), content.decode(errors="replace")) if content else None

    def read_given(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            why = f"{error.strerror}."
        except ValueError:
            why = "It is not a text."
        raise PgtandemError("PT-1002", f"could not read {shown(path)}", why=why)

    def given_secret(self, path: str) -> Secret:
        text = self.read_given(path)
        if os.stat(path).st_mode & 0o077:
            raise PgtandemError(
                "PT-1002",
                f"the password in {shown(path)} is not used",
                why="Others than its owner may read or change that file.",
                next_step=f"chmod 600 {shown(path)}",
            )
        return Secret(text.strip("\r\n"))

    def versions(self) -> Mapping[str, str]:
        document = _parsed(self._read("versions.json")) or {}
        return document if _is_texts(document) else {}

    def remember_versions(self, versions: Mapping[str, str]) -> None:
        with contextlib.suppress(PgtandemError):
            self._replace("versions.json", _document(dict(versions)))

    @contextmanager
    def lock(self, command: str) -> Iterator[None]:
        with self._locked("lock", "another pgtandem is at work on this cluster", command) as descriptor:
            self._held = descriptor
            try:
                yield
            finally:
                self._held = None

    def give_way(self, yes: bool) -> None:
        holder = None if self._held is None else read_holder(self._held)
        if self._held is not None and holder is not None and holder.gives_way != yes:
            with self._writing("lock"):
                write_holder(self._held, replace(holder, gives_way=yes))

    def lock_holder(self) -> LockHolder | None:
        return holder_of(self._path("lock"), sure=False) if self._is_there() else None

    @contextmanager
    def want_lock(self, command: str) -> Iterator[None]:
        with self._locked("wanted", "another pgtandem waits for the lock of this cluster already", command, _TRIES):
            yield

    def lock_wanted_by(self) -> LockHolder | None:
        return holder_of(self._path("wanted"), sure=True) if self._is_there() else None

    def record(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, default=_masked).encode() + b"\n"
        self._make_folder()
        with self._writing("journal.jsonl"):
            path = self._path("journal.jsonl")
            is_new = not os.path.lexists(path)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            try:
                _append_line(descriptor, line)
            finally:
                os.close(descriptor)
            if is_new:
                sync_folder(self._folder)

    def journal(self) -> list[dict[str, Any]]:
        *lines, _torn = self._read("journal.jsonl").split(b"\n")
        entries = (_parsed(line) for line in lines)
        return [entry for entry in entries if isinstance(entry, dict)]

    def built_nodes(self) -> tuple[BuiltNode, ...]:
        content = self._read("nodes.json")
        if not content:
            return ()
        document = _parsed(content)
        try:
            return tuple(BuiltNode(**node) for node in document)
        except TypeError:
            self._refuse("read", "nodes.json", "It is not the list of nodes that pgtandem wrote.")

    def remember_node(self, node: BuiltNode) -> None:
        others = [other for other in self.built_nodes() if other.name != node.name]
        self._write_nodes([*others, node])

    def forget_node(self, name: str) -> None:
        nodes = self.built_nodes()
        if any(node.name == name for node in nodes):
            self._write_nodes([node for node in nodes if node.name != name])

    def login(self) -> str:
        return login()

    def token(self) -> str:
        return secrets.token_hex(8)

    def clear(self) -> None:
        if self._is_there():
            with self._writing(""):
                shutil.rmtree(self._folder)
                sync_folder(self._parent)

    @contextmanager
    def _locked(self, name: str, refusal: str, command: str, tries: int = 1) -> Iterator[int]:
        """A locked file with the record of this process in it. Raises PT-5001 where another one has it."""
        self._make_folder()
        path, descriptor = self._path(name), None
        for _ in range(tries):
            with self._writing(name):
                descriptor = lock_file(path)
            if descriptor is not None:
                break
            if tries > 1:
                time.sleep(_PAUSE_SECONDS)  # somebody may only be looking whether it is locked
        if descriptor is None:
            holder = holder_of(path, sure=False)
            raise PgtandemError(
                "PT-5001", refusal, why=held_words(holder, time.time()), next_step=holder_advice(holder, path)
            )
        try:
            with self._writing(name):
                write_holder(descriptor, this_process(command))
            yield descriptor
        finally:
            unlock_file(descriptor)

    def _read_secrets(self) -> dict[str, str]:
        content = self._read("secrets.json")
        if not content:
            return {}
        document = _parsed(content)
        if _is_texts(document):
            return document
        self._refuse("read", "secrets.json", "It is not what pgtandem wrote: a JSON object of texts.")

    def _write_nodes(self, nodes: list[BuiltNode]) -> None:
        self._replace("nodes.json", _document([asdict(node) for node in nodes]))

    def _replace(self, name: str, content: bytes) -> str:
        self._make_folder()
        with self._writing(name):
            replace_file(self._path(name), content, 0o600)
        return self._path(name)

    def _read(self, name: str) -> bytes:
        if not self._is_there():
            return b""
        try:
            return read_file(self._path(name)) or b""
        except OSError as error:
            reason = error.strerror
        self._refuse("read", name, f"{reason}.")

    def _make_folder(self) -> None:
        if self._is_there():
            return
        with self._writing(""):
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._folder, 0o700)
            sync_folder(self._parent)

    def _is_there(self) -> bool:
        """Whether the folder is there; refuses one that another account could have filled."""
        try:
            info = os.lstat(self._folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            reason = error.strerror
            self._refuse("read", "", f"{reason}.")
        if not stat.S_ISDIR(info.st_mode):
            self._refuse("use", "", "It is not a folder.")
        if info.st_uid != os.geteuid():
            owner, own = owner_name(info.st_uid), current_account().name
            why = f"It belongs to {owner}, who works on this cluster; you are {own}."
            self._refuse("use", "", why, f"run this as {owner}")
        if stat.S_IMODE(info.st_mode) & 0o077:
            with self._writing(""):
                os.chmod(self._folder, 0o700)
        return True

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name) if name else self._folder

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
            return
        except OSError as error:
            reason = error.strerror or str(error)
        self._refuse("write", name, f"{reason}.")

    def _refuse(self, verb: str, name: str, why: str, next_step: str = "") -> NoReturn:
        """Raised outside of every `except`, so that no exception with a file's content hangs on this one."""
        what = f"could not {verb} {shown(self._path(name))}"
        raise PgtandemError("PT-1008", what, why=why, next_step=next_step)


def _append_line(descriptor: int, line: bytes) -> None:
    """Appends a line durably, or leaves the file as it was. A torn line at its end is cut off first."""
    size = os.fstat(descriptor).st_size
    whole = _end_of_last_line(descriptor, size)
    if whole != size:
        os.ftruncate(descriptor, whole)
    try:
        write_all(descriptor, line)
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, whole)
        raise


def _end_of_last_line(descriptor: int, size: int) -> int:
    end = size
    while end > 0:
        start = max(0, end - 4096)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _document(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def _parsed(content: bytes) -> Any:
    """The JSON value, None for anything else (a JSON exception would carry the content along)."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def _is_texts(document: Any) -> TypeGuard[dict[str, str]]:
    return isinstance(document, dict) and all(isinstance(value, str) for value in document.values())


def _masked(value: Any) -> str:
    if isinstance(value, Secret):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot stand in the journal")
