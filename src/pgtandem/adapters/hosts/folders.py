"""Folders, made, moved and removed for the account; and what root may do in its place, which is little.

The account's own rights come first. Only where they do not suffice root helps, and only inside folders that nobody
but root can change (`root_only`). Plain functions that raise OSError; paths are absolute and without slashes at
their end (`paths.absolute`).
"""

import contextlib
import errno
import os
import secrets
import shlex
import stat

from pgtandem.adapters.hosts.account import Account, acting_as, group_name, owner_name
from pgtandem.adapters.hosts.files import may, sync_folder

_MAXIMAL_LINKS = 40


class NeedsOwner(OSError):
    """A folder that the account may not write in; `remedy` is the command that would change that."""

    def __init__(self, reason: str, path: str, remedy: str) -> None:
        super().__init__(errno.EACCES, reason, path)
        self.remedy = remedy


def make_directory(path: str, mode: int, account: Account) -> None:
    """Makes a folder and its missing parents (0755) as the account; root helps where only root may.

    A folder that root makes is handed to the account; one that was there never is: it may be somebody's.
    """
    may_help = _may_help(account)
    try:
        with acting_as(account):
            missing = _missing(path)
            if not missing:
                _require_usable(path, account)
                return
            for folder in missing:
                _make(folder, mode if folder is missing[-1] else 0o755)
            return
    except PermissionError:
        if not may_help:
            raise
    with acting_as(account):
        missing = _missing(path)  # it says so when the account could not even enter a parent
    parent = make_for_everybody(os.path.dirname(path))
    _hand_over(os.path.join(parent, os.path.basename(path)), mode, account)


def make_for_everybody(path: str) -> str:
    """As root: makes a folder and its missing parents, root's, readable by all. Returns it without links."""
    missing = _missing(path)
    reached = root_only(os.path.dirname(missing[0]) if missing else path)
    for folder in missing:
        reached = os.path.join(reached, os.path.basename(folder))
        _make(reached, 0o755)
    return reached


def rename(source: str, target: str, account: Account) -> None:
    """Renames as the account; root helps to move what is the account's between folders that are root's."""
    may_help = _may_help(account)
    try:
        with acting_as(account):
            os.rename(source, target)
    except PermissionError:
        if not may_help:
            raise
        safe_source, safe_target = _below_root_only(source), _below_root_only(target)
        _require_owner(safe_source, account)
        if os.path.lexists(safe_target):
            _require_owner(safe_target, account)
        os.rename(safe_source, safe_target)
    for parent in {os.path.dirname(source), os.path.dirname(target)}:
        sync_folder(parent)


def remove_empty(path: str, account: Account) -> None:
    """As root: removes the account's empty folder from a folder that is root's alone."""
    safe = _below_root_only(path)
    _require_owner(safe, account)
    os.rmdir(safe)


def root_only(path: str) -> str:
    """The path without links, when nobody but root can change where it leads or what the folder holds.

    Only there may root make, rename or remove by name: elsewhere another could put a link in its way. Raises
    PermissionError that names the folder and who could. Access control lists count too: their mask shows in
    the group's bits.
    """
    reached, pending, links = "/", path.split("/"), 0
    while True:
        while pending and pending[0] in ("", "."):
            pending.pop(0)
        info = os.lstat(reached)
        if info.st_uid != 0:
            raise _not_roots(owner_name(info.st_uid), reached)
        # In a sticky folder such as /tmp others can make names of their own, and not touch root's.
        if info.st_mode & 0o022 and not (info.st_mode & stat.S_ISVTX and pending):
            raise _not_roots("others", reached)
        if not pending:
            return reached
        name = pending.pop(0)
        if name == "..":
            reached = os.path.dirname(reached)
            continue
        step = os.path.join(reached, name)
        info = os.lstat(step)
        if not stat.S_ISLNK(info.st_mode):
            reached = step
            continue
        links += 1
        if links > _MAXIMAL_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if info.st_uid != 0:
            raise _not_roots(owner_name(info.st_uid), step)
        target = os.readlink(step)
        pending[0:0] = target.split("/")
        if target.startswith("/"):
            reached = "/"


def _not_roots(who: str, path: str) -> PermissionError:
    reason = f"The account may not do it, and root does nothing in a place that {who} can change"
    return PermissionError(errno.EPERM, reason, path)


def _below_root_only(path: str) -> str:
    return os.path.join(root_only(os.path.dirname(path)), os.path.basename(path))


def _require_owner(path: str, account: Account) -> None:
    info = os.lstat(path)
    if info.st_uid != account.uid:
        reason = f'It belongs to {owner_name(info.st_uid)}, not to account "{account.name}"'
        raise PermissionError(errno.EPERM, reason, path)


def _missing(path: str) -> list[str]:
    """The folders that must be made for `path`, outermost first."""
    missing: list[str] = []
    while True:
        try:
            info = os.stat(path)
        except FileNotFoundError:
            missing.insert(0, path)
            path = os.path.dirname(path)
        else:
            if not stat.S_ISDIR(info.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            return missing


def _require_usable(path: str, account: Account) -> None:
    if may(path, os.R_OK | os.W_OK | os.X_OK):
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
    owner = owner_name(os.stat(path).st_uid)
    reason = f'It is there, belongs to {owner}, and account "{account.name}" may not write in it'
    own = os.stat(path).st_uid == account.uid
    remedy = "chmod u+rwx" if own else f"chown {account.name}:{group_name(account.gid)}"
    remedy += f" {shlex.quote(path)}"
    raise NeedsOwner(reason, path, remedy)


def _may_help(account: Account) -> bool:
    return os.geteuid() == 0 and account.uid != 0


def _make(path: str, mode: int) -> None:
    """Makes one folder with exactly this mode; one that another made meanwhile is fine."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))


def _hand_over(path: str, mode: int, account: Account) -> None:
    """As root: makes a folder of the account.

    Its name appears when it is the account's already, so a run that is killed here leaves none that the next
    one must refuse.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    hidden = os.path.join(os.path.dirname(path), f".pgtandem-{secrets.token_hex(8)}.tmp")
    os.mkdir(hidden, 0o700)
    try:
        descriptor = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
            os.fchown(descriptor, account.uid, account.gid)
        finally:
            os.close(descriptor)
        os.rename(hidden, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.rmdir(hidden)
        raise
    sync_folder(os.path.dirname(path))
