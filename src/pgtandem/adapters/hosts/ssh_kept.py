"""Logins that are kept for the next command, for a short time, in a folder of the user's alone.

A command takes one for itself: while it has it nobody else finds it, so two commands never share a login, its limit of
sessions or the sockets that lead through it. It leaves it behind when it ends. ssh itself ends a login that nobody
used for so long (ControlPersist), so one whose command was killed goes by itself as well.

Who may open the master's socket can act on the host as who logged in. So the folder belongs to the user, has mode 0700
and lies where nobody else can put another one; where there is no such place nothing is kept.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence

from pgtandem.adapters.hosts.ssh_master import Master

#: For how long a login that nobody uses stays, and the variable that says otherwise; 0 keeps none.
KEEP_SECONDS = 60
KEEP_VARIABLE = "PGTANDEM_SSH_KEEP_SECONDS"

#: A login is used for so long at most, however often: what it was proven by may have been withdrawn since.
LONGEST_SECONDS = 600

#: A socket's path may have 107 bytes; ssh adds 17 of its own while it makes it, and our names take 20.
_LONGEST_FOLDER = 68


class KeptLogins:
    """The logins that this user's commands left behind. `seconds` is for how long ssh keeps one; without `leaves` they
    are used, and end with this command."""

    def __init__(self, seconds: int = KEEP_SECONDS, *, leaves: bool = True) -> None:
        self.seconds, self._leaves = seconds, leaves
        self._folder = _private_folder() if seconds > 0 else None

    def without_leaving(self) -> "KeptLogins":
        return KeptLogins(self.seconds, leaves=False)

    @property
    def possible(self) -> bool:
        return self._folder is not None

    def name(self, parts: Sequence[str]) -> str:
        """What a login is found by: everything that decides where it leads, as whom, and by which leave."""
        own = [
            str(os.geteuid()),
            os.path.expanduser("~"),
            os.environ.get("SSH_AUTH_SOCK", ""),
            os.environ.get("PATH", ""),
        ]
        return hashlib.sha256(json.dumps([*own, str(self.seconds), *parts]).encode()).hexdigest()[:32]

    def new(self) -> Master:
        """For a login that is about to be made. Raises OSError where it has no place."""
        if self._folder is None or not self._leaves:
            raise NotADirectoryError
        return Master(tempfile.mkdtemp(prefix="m", dir=self._folder), lasts=True)

    def take(self, name: str) -> Master | None:
        """The login of that name, which is the caller's from now on; None where there is none that still stands."""
        if self._folder is None:
            return None
        mine = os.path.join(self._folder, f"{name}.{os.getpid()}")
        try:
            os.rename(self._record(name), mine)
            with open(mine, encoding="ascii") as file:
                record = json.load(file)
            os.unlink(mine)
            master = Master(os.path.join(self._folder, os.path.basename(record["folder"])), lasts=True)
            master.since, master.login_seconds = float(record["since"]), float(record["login_seconds"])
            master.ports, master.sockets = set(record["ports"]), dict(record["sockets"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not 0 <= time.time() - master.since < LONGEST_SECONDS or master.process() is None:
            master.end()
            return None
        master.pass_on()
        return master

    def leave(self, name: str, master: Master) -> bool:
        """Whether it is there for the next command: not where another one left one of that name meanwhile."""
        if self._folder is None or not self._leaves or master.process() is None:
            return False
        record = {"folder": os.path.basename(master.folder), "since": master.since}
        record |= {"login_seconds": master.login_seconds, "ports": sorted(master.ports), "sockets": master.sockets}
        written = os.path.join(master.folder, "record")
        try:
            with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                json.dump(record, file)
            os.link(written, self._record(name))
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                os.unlink(written)
        return True

    def tidy(self) -> None:
        """Removes what logins that ended by themselves have left."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(self._folder)):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime > time.time() - 2 * self.seconds - LONGEST_SECONDS:
                        continue
                    if entry.is_file(follow_symlinks=False):
                        os.unlink(entry.path)  # the record of a login that is too old to be used
                    elif Master(entry.path, lasts=True).process() is None:
                        shutil.rmtree(entry.path, ignore_errors=True)

    def _record(self, name: str) -> str:
        assert self._folder is not None
        return os.path.join(self._folder, f"{name}.json")


def _private_folder() -> str | None:
    """Made when it is not there; None where nothing private can be had."""
    home = os.path.expanduser("~")
    for parent, name in ((os.environ.get("XDG_RUNTIME_DIR", ""), "pgtandem-ssh"), (f"{home}/.ssh", "pgtandem-kept")):
        folder = os.path.join(parent, name)
        if not os.path.isabs(folder) or len(os.fsencode(folder)) > _LONGEST_FOLDER:
            continue
        try:
            if parent == f"{home}/.ssh":
                with contextlib.suppress(FileExistsError):
                    os.mkdir(parent, 0o700)  # as ssh itself does
            if not _is_ours(parent, stat.S_IWGRP | stat.S_IWOTH):
                continue
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            if _is_ours(folder, stat.S_IRWXG | stat.S_IRWXO):
                return folder
        except OSError:
            continue
    return None


def _is_ours(folder: str, denied: int) -> bool:
    """A real folder of this user's in whose mode none of these bits is set."""
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & denied
