"""As whom this machine is tested as a Host."""

import os
import pwd
import shutil
import subprocess

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.model.facts import Known
from ports.host_scenarios import finish

IS_ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not IS_ROOT, reason="only root can act as another account")


def accounts() -> list[str | None]:
    if not IS_ROOT:
        return [None]
    known = {entry.pw_name for entry in pwd.getpwall()}
    default: list[str | None] = [None] if known & {"postgres", "pgtandem"} else []
    return default + [name for name in ("nobody",) if name in known]


def account_of(host: LocalHost) -> pwd.struct_passwd:
    fact = finish(host.account())
    assert isinstance(fact, Known)
    return pwd.getpwnam(fact.value)


def can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    argv = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
