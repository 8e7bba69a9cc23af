"""Running pgtandem as an ordinary user while the tests run as root."""

import functools
import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

import pgtandem
from support.clusters import Cluster

USER = "nobody"
_ENTRY = "from pgtandem.cli.main import entry; entry()"


def as_user() -> dict[str, Any]:
    """subprocess's options for the user."""
    entry = pwd.getpwnam(USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def module_path() -> str:
    """Where pgtandem and what it needs are imported from, for another interpreter of the same version."""
    roots = dict.fromkeys(str(Path(str(module.__file__)).parents[1]) for module in (pgtandem, psycopg))
    return os.pathsep.join(roots)


@functools.cache
def interpreter() -> str | None:
    """A Python that the user can run and that can import pgtandem; None where there is none."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (
        sys.executable,
        f"/usr/bin/python{version}",
        "/usr/bin/python3",
        f"/usr/local/bin/python{version}",
    ):
        try:
            done = subprocess.run(
                [candidate, "-c", "import psycopg, pgtandem.cli.main"],
                env={"PYTHONPATH": module_path(), "PYTHONDONTWRITEBYTECODE": "1"}, cwd="/", capture_output=True,
                timeout=60, **as_user(),
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def reason_to_skip() -> str:
    """Why pgtandem cannot be run as another user here; "" where it can."""
    if os.geteuid() != 0:
        return "the tests run as an ordinary user themselves: every other test shows it"
    if USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"there is no account {USER}"
    if interpreter() is None:
        return f"no Python that {USER} can reach can import pgtandem from {module_path()}"
    return ""


def run_as_user(cluster: Cluster) -> None:
    """From now on the cluster's commands run as the user, who owns its folder."""
    program = interpreter()
    assert program is not None
    entry = pwd.getpwnam(USER)
    for path in (cluster.base, cluster.folder, cluster.file):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    cluster.as_user = as_user()
    cluster.argv = [program, "-c", _ENTRY]
    cluster.environment = {
        "PYTHONPATH": module_path(), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin", "HOME": str(cluster.base),
        "XDG_DATA_HOME": str(cluster.base / "share"), "USER": USER, "LOGNAME": USER,
    }  # fmt: skip


def user_name_of(path: Path) -> tuple[str, str]:
    """The owner and group of a file."""
    info = path.stat()
    return pwd.getpwuid(info.st_uid).pw_name, grp.getgrgid(info.st_gid).gr_name
