"""Two hosts with a real sshd, for all tests of hosts over SSH, and ways to them from the control seat."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.ssh import SshHost
from pgtandem.adapters.hosts.ssh_kept import KeptLogins
from pgtandem.adapters.hosts.ssh_master import Master
from pgtandem.ports.host import Host
from support.hosts import Hosts, why_no_hosts

from .host_scenarios import finish
from .ssh_seat import LOGINS, Seat, logins_of


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    if (reason := why_no_hosts()) is not None:
        pytest.skip(reason)
    with Hosts(2) as made:
        yield made


@pytest.fixture(scope="session")
def path_to_hosts(hosts: Hosts) -> Iterator[str]:
    """A PATH whose ssh runs at the control seat."""
    folder = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
    hosts.control_program(folder, "ssh")
    yield f"{folder}:{os.environ['PATH']}"
    shutil.rmtree(folder)


@pytest.fixture
def seat(hosts: Hosts, path_to_hosts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
    monkeypatch.setenv("PATH", path_to_hosts)
    made = Seat(hosts, tmp_path)
    made.know_keys()
    yield made
    made.close()


@pytest.fixture(scope="session")
def lasting(hosts: Hosts, path_to_hosts: str) -> Iterator[Callable[[str], SshHost]]:
    """Connections that serve many tests, each of which has an event loop of its own. That of alice goes over a login
    that another command has made and left behind."""
    with tempfile.TemporaryDirectory(prefix="pgtandem-test-") as folder:
        shared, made = Seat(hosts, Path(folder)), dict[str, SshHost]()

        def of(login: str) -> SshHost:
            shared.know_keys()
            if login not in made:
                made[login] = over_kept_login(login) if login == "alice" else shared.host(login)
            return made[login]

        def over_kept_login(login: str) -> SshHost:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("XDG_RUNTIME_DIR", folder)
                left = shared.host(login, kept=KeptLogins())
                finish(left.account())
                finish(left.close())
                before = logins_of(hosts, "h1")
                taken = shared.host(login, kept=KeptLogins().without_leaving())
                finish(taken.account())
            assert logins_of(hosts, "h1") == before
            return taken

        yield of
        shared.close()


@pytest.fixture(params=LOGINS)
def host(request: pytest.FixtureRequest, seat: Seat, lasting: Callable[[str], SshHost]) -> Host:
    return lasting(request.param)


@pytest.fixture
def login(request: pytest.FixtureRequest, host: Host) -> str:
    return str(request.node.callspec.params["host"])


@pytest.fixture
def place(hosts: Hosts) -> Iterator[str]:
    folder = hosts.srv("h1") / "place"
    folder.mkdir()
    os.chown(folder, hosts.srv("h1").joinpath("postgres").stat().st_uid, -1)
    yield "/srv/place"
    shutil.rmtree(folder)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where logins are kept: a folder of its own, whose name is short as that of a socket has to be."""
    folder = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder / "pgtandem-ssh"
    for entry in folder.glob("pgtandem-ssh/m*"):
        Master(str(entry), lasts=True).end()
    shutil.rmtree(folder)
