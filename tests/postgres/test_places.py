"""The command that installs PostgreSQL is that of the host's own distribution, and one command."""

import pytest

from pgtandem.model.observed import System
from pgtandem.postgres.places import install_hint, parse_os_release

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID='24.04'\n"
ROCKY = '# made by hand\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n'
TUMBLEWEED = 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n'
REPOSITORY = "apt-get install postgresql-common && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh && "


@pytest.mark.parametrize(
    ("os_release", "major", "command"),
    [
        (DEBIAN, 15, "apt-get install postgresql-15"),
        (DEBIAN, 18, REPOSITORY + "apt-get install postgresql-18"),
        (UBUNTU, 16, "apt-get install postgresql-16"),
        (UBUNTU, 15, REPOSITORY + "apt-get install postgresql-15"),
        ("ID=linuxmint\nID_LIKE=ubuntu\nVERSION_ID=22\n", 16, "apt-get install postgresql-16"),
        (ROCKY, 18, "dnf install postgresql18-server"),
        ("ID=fedora\n", 17, "dnf install postgresql17-server"),
        (TUMBLEWEED, 17, "zypper install postgresql17-server"),
        ("ID=alpine\n", 16, "apk add postgresql16"),
    ],
)
def test_command_is_that_of_the_distribution(os_release: str, major: int, command: str) -> None:
    assert install_hint(parse_os_release(os_release), major) == command


@pytest.mark.parametrize(
    ("os_release", "command"),
    [
        (DEBIAN, "apt-get install postgresql-client-15"),
        (ROCKY, "dnf install postgresql15"),
        (TUMBLEWEED, "zypper install postgresql15"),
        ("ID=alpine\n", "apk add postgresql15-client"),
    ],
)
def test_a_client_program_that_is_missing_comes_with_the_package_for_clients(os_release: str, command: str) -> None:
    system = parse_os_release(os_release)
    assert install_hint(system, 15, ["pg_basebackup"]) == command
    assert install_hint(system, 15, ["initdb", "pg_basebackup"]) != command


def test_of_a_distribution_that_is_not_known_the_common_commands_are_named() -> None:
    hint = install_hint(System(ids=("gentoo",)), 18)
    assert "apt-get install postgresql-18 " in hint
    assert "dnf install postgresql18-server" in hint
    assert "pgtandem[embedded]" in hint
