"""This machine as a Host. As root everything is tested twice: with the account that pgtandem chooses and with
"nobody".
"""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from ports.local.accounts import IS_ROOT, account_of, accounts


@pytest.fixture(params=accounts(), ids=lambda name: name or "default")
def host(request: pytest.FixtureRequest, open_tmp_path: Path) -> Iterator[LocalHost]:
    yield LocalHost(request.param, programs_folder=str(open_tmp_path / "programs"))
    assert os.geteuid() == (0 if IS_ROOT else os.getuid()), "the rights of root were not taken back"


@pytest.fixture
def login() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def place(host: LocalHost, open_tmp_path: Path) -> str:
    folder = open_tmp_path / "place"
    folder.mkdir()
    entry = account_of(host)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return str(folder)


@pytest.fixture
def planted(host: LocalHost, place: str) -> Path:
    """A folder `secret` of root's alone, and in `place` the account's links to it and to a file in it."""
    secret = Path(place).parent / "secret"
    secret.mkdir(mode=0o755)
    (secret / "file").write_text("root's")
    (secret / "file").chmod(0o600)
    for name, target in (("folder-link", secret), ("file-link", secret / "file")):
        link = Path(place, name)
        link.symlink_to(target)
        os.chown(link, account_of(host).pw_uid, -1, follow_symlinks=False)
    return secret
