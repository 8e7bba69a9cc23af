"""Which files decide how ssh connects, and whether any of them has changed.

A connection that was kept must not outlive what it was made by: ssh's configuration and the files of known host keys.
They are found without asking ssh, by the words of its configuration: every file that any block names counts, which may
be more than ssh reads for one host, never less but for names that hold a token (%h) and what `Match exec` asks.
"""

import glob
import os
import pwd
import re
import shlex
from collections.abc import Iterator

_SYSTEM = "/etc/ssh"
_NAMED = re.compile(
    r"^\s*(Include|UserKnownHostsFile|GlobalKnownHostsFile|RevokedHostKeys)(?:\s*=\s*|\s+)(.+)$", re.I | re.M
)


def state_of_files(config: str | None) -> list[str]:
    """A line for each file, which is another one as soon as the file is; `config` replaces the user's own."""
    own = f"{_home()}/.ssh"
    first = [config] if config else [f"{own}/config", f"{_SYSTEM}/ssh_config"]
    known = [f"{own}/known_hosts", f"{own}/known_hosts2", f"{_SYSTEM}/ssh_known_hosts", f"{_SYSTEM}/ssh_known_hosts2"]
    read: dict[str, None] = {}
    for file in (*first, *known):
        read[file] = None
    for file in first:
        _follow(file, own, read)
    return [_state(file) for file in read]


def _follow(file: str, own: str, read: dict[str, None]) -> None:
    """Adds what a configuration names, and what the files that it includes do."""
    for word, path in _named(file):
        if word != "include":
            read[path] = None
            continue
        for base in (own, _SYSTEM):  # whichever a relative name is meant to be in
            for included in sorted(glob.glob(os.path.join(base, path))):
                if included not in read:
                    read[included] = None
                    _follow(included, own, read)


def _named(file: str) -> Iterator[tuple[str, str]]:
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            text = lines.read()
    except OSError:
        return
    for found in _NAMED.finditer(text):
        try:
            words = shlex.split(found[2], comments=True)
        except ValueError:
            words = found[2].split()
        for word in words:
            yield found[1].lower(), re.sub(r"^(?:~|%d)(?=/)", lambda _: _home(), word)


def _home() -> str:
    """The folder that ssh takes for the user's, whatever HOME says."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return os.path.expanduser("~")


def _state(file: str) -> str:
    try:
        found = os.stat(file)
    except OSError:
        return f"{file} is not there"
    return f"{file} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
