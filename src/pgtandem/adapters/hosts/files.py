"""Files, read and replaced atomically and durably; and looks at what there is.

Plain functions that raise OSError and act as whoever calls them: the account, inside `acting_as`. Paths are
absolute and without slashes at their end (`paths.absolute`).
"""

import contextlib
import errno
import os
import secrets
import stat

from pgtandem.model.observed import DiskSpace


def sync_folder(path: str) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Replaces a file, or the link that stands in its place: whole and durable, or not at all."""
    folder = os.path.dirname(path)
    hidden = os.path.join(folder, f".pgtandem-{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(hidden, flags, 0o600)
    try:
        try:
            os.fchmod(descriptor, mode)
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(hidden, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(hidden)
        raise
    sync_folder(folder)


def read_file(path: str) -> bytes | None:
    """The content of a regular file; None where there is none."""
    try:
        # Without O_NONBLOCK a planted FIFO would hold us for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file", path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    sync_folder(os.path.dirname(path))


def read_link(path: str) -> str | None:
    """Where a symbolic link leads; None for what is no link or is not there. Raises OSError."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTDIR):
            return None
        raise


def is_executable(path: str) -> bool:
    """Whether it is a file that may be executed from here, by the effective ids."""
    return os.path.isfile(path) and may(path, os.X_OK)


def stamp(path: str) -> str | None:
    """Device, inode, size and the moments of its last changes; whoever sets those back cannot set back the last one."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"


def require_removable(path: str) -> bool:
    """Whether there is a folder to remove. Raises OSError or ValueError for what must not be removed."""
    parts = path.split("/")
    if len(parts) < 3 or ".." in parts:
        raise ValueError("A folder so near to the root is never removed")
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(info.st_mode):
        raise ValueError("It is a link" if stat.S_ISLNK(info.st_mode) else "It is not a folder")
    return True


def is_empty_folder(path: str) -> bool:
    return not os.path.islink(path) and os.path.isdir(path) and not os.listdir(path)


def disk_space(path: str) -> DiskSpace:
    """The file system of `path` or of its nearest parent that exists."""
    while True:
        try:
            figures, info = os.statvfs(path), os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            if path == "/":
                raise
            path = os.path.dirname(path)
        else:
            unit = figures.f_frsize
            return DiskSpace(figures.f_blocks * unit, figures.f_bavail * unit, str(info.st_dev))


def may(path: str, rights: int) -> bool:
    return os.access(path, rights, effective_ids=os.access in os.supports_effective_ids)
