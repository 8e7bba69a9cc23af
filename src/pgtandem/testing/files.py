"""A file system in memory. Trouble is an OSError with the number that Linux gives."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

BLOCK = 4096
_PLENTY = 1024**3


@dataclass
class SimFile:
    """A file. `payload` is what simulated programs keep in it beside its text; `weight` are bytes that it occupies
    beyond its text; what is not `durable` is gone when the power fails."""

    content: bytes = b""
    mode: int = 0o600
    payload: object = None
    weight: int = 0
    durable: bool = True

    @property
    def occupied(self) -> int:
        return -(-(len(self.content) + self.weight) // BLOCK) * BLOCK


@dataclass
class SimFolder:
    mode: int = 0o700
    entries: "dict[str, SimFile | SimFolder]" = field(default_factory=dict)

    @property
    def occupied(self) -> int:
        return BLOCK + sum(entry.occupied for entry in self.entries.values())

    def find(self, path: str) -> "SimFile | SimFolder | None":
        """What stands at a relative path, None for nothing."""
        at: SimFile | SimFolder = self
        for name in filter(None, path.split("/")):
            if not isinstance(at, SimFolder) or name not in at.entries:
                return None
            at = at.entries[name]
        return at

    def file(self, path: str) -> SimFile | None:
        found = self.find(path)
        return found if isinstance(found, SimFile) else None

    def text(self, path: str) -> str | None:
        found = self.file(path)
        return None if found is None else found.content.decode(errors="replace")

    def put(self, path: str, file: SimFile) -> SimFile:
        """Puts a file in its place, with the folders above it."""
        *above, name = path.split("/")
        at = self
        for part in above:
            inner = at.entries.setdefault(part, SimFolder())
            if isinstance(inner, SimFile):
                raise _error(errno.ENOTDIR, path)
            at = inner
        at.entries[name] = file
        return file

    def files(self, prefix: str = "") -> Iterator[tuple[str, SimFile]]:
        """Every file below, with its relative path."""
        for name, entry in list(self.entries.items()):
            if isinstance(entry, SimFolder):
                yield from entry.files(f"{prefix}{name}/")
            else:
                yield f"{prefix}{name}", entry


class SimFileSystem:
    """One disk with everything on it. `total_bytes` is its size; when it is full, writing fails."""

    def __init__(self, total_bytes: int, device: str) -> None:
        self.root = SimFolder(0o755)
        self.total_bytes = total_bytes
        self.device = device
        self._free_when_counted = 0

    @property
    def free_bytes(self) -> int:
        self._free_when_counted = max(self.total_bytes - self.root.occupied, 0)
        return self._free_when_counted

    def find(self, path: str) -> SimFile | SimFolder | None:
        return self.root.find(path)

    def folder(self, path: str) -> SimFolder:
        found = self.find(path)
        if found is None:
            raise _error(errno.ENOENT, path)
        if not isinstance(found, SimFolder):
            raise _error(errno.ENOTDIR, path)
        return found

    def read(self, path: str) -> bytes | None:
        found = self.find(path)
        if isinstance(found, SimFolder):
            raise _error(errno.EINVAL, path)
        return None if found is None else found.content

    def write(self, path: str, content: bytes, mode: int = 0o600, *, weight: int = 0, durable: bool = True) -> SimFile:
        """Replaces a file, whole or not at all."""
        parent, name = self._parent(path)
        if isinstance(parent.entries.get(name), SimFolder):
            raise _error(errno.EISDIR, path)
        file = SimFile(content, mode, weight=weight, durable=durable)
        if weight or self._free_when_counted < _PLENTY:  # counting takes its time
            self.require_room(file.occupied, path)
        parent.entries[name] = file
        return file

    def require_room(self, count: int, path: str) -> None:
        if count > self.free_bytes:
            raise _error(errno.ENOSPC, path)

    def make_directory(self, path: str, mode: int = 0o700) -> SimFolder:
        at = self.root
        for name in filter(None, path.split("/")):
            inner = at.entries.setdefault(name, SimFolder(mode))
            if isinstance(inner, SimFile):
                raise _error(errno.EEXIST, path)
            at = inner
        return at

    def rename(self, source: str, target: str) -> None:
        old_parent, old_name = self._parent(source)
        new_parent, new_name = self._parent(target)
        moved, replaced = old_parent.entries.get(old_name), new_parent.entries.get(new_name)
        if moved is None:
            raise _error(errno.ENOENT, source)
        if isinstance(moved, SimFolder):
            if isinstance(replaced, SimFile):
                raise _error(errno.ENOTDIR, target)
            if replaced is not None and replaced.entries:
                raise _error(errno.ENOTEMPTY, target)
        elif isinstance(replaced, SimFolder):
            raise _error(errno.EISDIR, target)
        del old_parent.entries[old_name]
        new_parent.entries[new_name] = moved

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with everything in it."""
        parent, name = self._parent(path)
        if name not in parent.entries:
            raise _error(errno.ENOENT, path)
        del parent.entries[name]

    def sync(self, path: str) -> None:
        for _, file in self.folder(path).files():
            file.durable = True

    def lose_power(self) -> None:
        """What was never made durable is gone, and what remains of it is empty."""
        for _, file in self.root.files():
            if not file.durable:
                file.content, file.payload, file.weight, file.durable = b"", None, 0, True

    def _parent(self, path: str) -> tuple[SimFolder, str]:
        above, _, name = path.rpartition("/")
        return self.folder(above), name


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
