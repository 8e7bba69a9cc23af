"""The account that PostgreSQL runs as on this machine, and how root acts as it.

PostgreSQL refuses to run as root, and root must never follow a link that the account has planted. So whatever
root does to files it does with the account's own rights, inside `acting_as`.
"""

# Name resolution runs in a thread of asyncio's and imports this codec at its first use: by then the process may act as
# an account that cannot read this environment. So it is imported now.
import encodings.idna  # noqa: F401
import grp
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pgtandem.model.facts import ABSENT, Fact, Known, Unknown

#: The account that pgtandem makes where there is none, and the home it is given (which is not created).
CREATED_NAME = "pgtandem"
CREATED_HOME = "/var/lib/pgtandem"

#: Where programs are looked for: never the caller's own PATH, which an account need not be able to reach.
STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the kernel sees it: ids of user, group and further groups, and its home."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def find_account(name: str) -> Account | None:
    """The account of that name, None where there is none."""
    try:
        return _account(pwd.getpwnam(name))
    except KeyError:
        return None


def current_account() -> Account:
    """Who this process acts as; a user id without a name gets words instead."""
    uid = os.geteuid()
    try:
        return _account(pwd.getpwuid(uid))
    except KeyError:
        return Account(f"user id {uid}", uid, os.getegid(), tuple(os.getgroups()), "/")


def login() -> str:
    """Who runs this process, whomever it acts as at the moment; with sudo and its kin, who called that."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"user id {uid}"
    before = os.environ.get("SUDO_USER") or os.environ.get("DOAS_USER")
    return f"{before} (as {name})" if before and before != name and uid == 0 else name


def unprivileged_account() -> Account:
    """Stands in, for looking only, while the account does not exist: it may do what everybody may."""
    return find_account("nobody") or Account("nobody", 65534, 65534, (), "/")


def choose_account(wanted: str | None) -> Fact[Account]:
    """The account that servers run as: an ordinary user itself; for root `wanted` or the first there is."""
    if os.geteuid() != 0:
        own = current_account()
        try:
            pwd.getpwuid(own.uid)
        except KeyError:
            return Unknown(f"{own.name} has no entry in the passwd database, which initdb and postgres need")
        return Known(own)
    if wanted is not None:
        account = find_account(wanted)
        if account is None:
            return Unknown(f'account "{wanted}" does not exist')
        if account.uid == 0:
            return Unknown(f'PostgreSQL refuses to run as account "{wanted}", which is root')
        return Known(account)
    for name in ("postgres", CREATED_NAME):
        account = find_account(name)
        if account is not None and account.uid != 0:
            return Known(account)
    return ABSENT


def creation_commands() -> list[list[str]]:
    """The commands that make the account, as this machine has them; none where it has neither kind."""
    if shutil.which("useradd", path=STANDARD_PATH):
        # useradd refuses --user-group when a group of that name was left behind.
        group = ["--gid", CREATED_NAME] if _group_exists(CREATED_NAME) else ["--user-group"]
        options = ["--no-create-home", "--home-dir", CREATED_HOME, "--shell", "/usr/sbin/nologin"]
        return [["useradd", "--system", *group, *options, CREATED_NAME]]
    if shutil.which("adduser", path=STANDARD_PATH):
        make_group = [] if _group_exists(CREATED_NAME) else [["addgroup", "-S", CREATED_NAME]]
        options = ["-S", "-D", "-H", "-h", CREATED_HOME, "-s", "/sbin/nologin", "-G", CREATED_NAME]
        return [*make_group, ["adduser", *options, CREATED_NAME]]
    return []


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Gives the process the account's effective ids for a short section without any await.

    The ids belong to the whole process, so nothing else may run meanwhile; nor may a module be imported
    inside, since the account need not be able to read this environment.
    """
    if account.uid == os.geteuid():
        yield
        return
    before = os.geteuid(), os.getegid(), os.getgroups()
    try:
        os.setgroups(account.groups)
        os.setegid(account.gid)
        os.seteuid(account.uid)
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])
        os.setgroups(before[2])


def owner_name(uid: int) -> str:
    """The name of a user id, or the id in words."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def group_name(gid: int) -> str:
    """The name of a group id, or the id itself, as chown takes it."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _account(entry: pwd.struct_passwd) -> Account:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/")


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
