"""Whether the account could make a folder and work in it, found out without making anything.

What `folders.make_directory` would run into, told while a plan is made: the folder that stands in the way, why, and the
command that mends it. The walk goes from the root down, each step with the account's own rights.
"""

import os
import shlex
import stat
from dataclasses import replace

from pgtandem.adapters.hosts.account import (
    CREATED_NAME,
    Account,
    acting_as,
    creation_commands,
    group_name,
    owner_name,
)
from pgtandem.adapters.hosts.files import may
from pgtandem.adapters.hosts.folders import root_only
from pgtandem.model.observed import Obstacle

#: The same walk on a host over SSH: answers nothing, or what is wrong, the folder's owner and the folder.
WALK = r"""
said() { printf '%s/%s/%s' "$1" "$(stat -c %U "$2")" "$2"; exit 0; }
at=/
IFS=/; set -f; set -- $1; set +f; unset IFS
for part do
  [ -n "$part" ] || continue
  [ -x "$at" ] || said enter "$at"
  next=${at%/}/$part
  if ! [ -e "$next" ] && ! [ -h "$next" ]; then
    [ -w "$at" ] || said write "$at"
    exit 0
  fi
  [ -d "$next" ] || said folder "$next"
  at=$next
done
if [ -r "$at" ] && [ -w "$at" ] && [ -x "$at" ]; then exit 0; fi
said write "$at"
"""


def find_obstacle(path: str, account: Account, *, to_be_made: bool = False) -> Obstacle | None:
    """What keeps the account from having a folder at `path`, where root helps as far as `make_directory` lets it.

    With `to_be_made` the account stands in for the one that is made first: then the remedy begins with that.
    """
    with acting_as(account):
        found = _walk(path)
    if found is None:
        return None
    kind, at = found
    if kind == "write" and at != path and os.geteuid() == 0:
        try:
            root_only(at)
            return None  # root makes what is missing, and hands the last folder over
        except OSError:
            pass
    closed = _closed(path, at, account) if kind == "enter" else []
    owner = owner_name(os.stat(at).st_uid)
    name, group = (CREATED_NAME,) * 2 if to_be_made else (account.name, group_name(account.gid))
    told = obstacle(kind, at, owner, path, name, group, closed, sudo=os.geteuid() != 0)
    if to_be_made and kind == "write":
        first = [*map(shlex.join, creation_commands()), told.remedy]
        return replace(told, remedy=" && ".join(first))
    return told


def obstacle(
    kind: str, at: str, owner: str, path: str, account: str, group: str, closed: list[str], *, sudo: bool
) -> Obstacle:
    """In words. `kind` is "enter", "folder" or "write"; `closed` are further folders that cannot be entered."""
    if kind == "folder":
        return Obstacle(at, f"{at} is not a folder.", "")
    own = account == owner
    belongs = "it belongs to it" if own else f"it belongs to {owner}"
    if kind == "enter":
        why, remedy = f'Account "{account}" may not enter {at} ({belongs}).', ["chmod", "a+x", at, *closed]
    else:
        why = f'Account "{account}" may not write in {at} ({belongs}).'
        remedy = ["install", "-d", "-o", account, "-g", group, path]
        if at == path:
            remedy = ["chmod", "u+rwx", path] if own else ["chown", f"{account}:{group}", path]
    return Obstacle(at, why, ("sudo " if sudo and not own else "") + shlex.join(remedy))


def _walk(path: str) -> tuple[str, str] | None:
    at = "/"
    for part in path.split("/"):
        if not part:
            continue
        if not may(at, os.X_OK):
            return "enter", at
        below = os.path.join(at, part)
        if not os.path.lexists(below):
            return None if may(at, os.W_OK) else ("write", at)
        if not os.path.isdir(below):
            return "folder", below
        at = below
    return None if may(at, os.R_OK | os.W_OK | os.X_OK) else ("write", at)


def _closed(path: str, first: str, account: Account) -> list[str]:
    """The folders below the first one that the account could not enter either, as far as we can see them."""
    found, at = [], first
    for part in os.path.relpath(path, first).split("/"):
        at = os.path.join(at, part)
        try:
            info = os.stat(at)
        except OSError:
            break
        owns, belongs = info.st_uid == account.uid, info.st_gid in (account.gid, *account.groups)
        bit = stat.S_IXUSR if owns else stat.S_IXGRP if belongs else stat.S_IXOTH
        if stat.S_ISDIR(info.st_mode) and not info.st_mode & bit:
            found.append(at)
    return found
