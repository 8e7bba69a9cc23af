"""How PostgreSQL lies on real hosts: what its packages bring, and what of it pgtandem goes by."""

from collections.abc import Iterator

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster

_missing = why_no_hosts()
pytestmark = pytest.mark.skipif(_missing is not None, reason=_missing or "")

ROCKY = 'PRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n'
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        for name in made.names:
            made.os_release(name).write_text(BOOKWORM)
        yield made


@pytest.fixture
def cluster(hosts: Hosts) -> Iterator[RemoteCluster]:
    with RemoteCluster(hosts) as made:
        made.know_hosts()
        yield made


# --- packages


def test_another_major_than_asked_for_is_named_with_the_command_of_each_distribution(
    hosts: Hosts, cluster: RemoteCluster
) -> None:
    hosts.os_release("h2").write_text(ROCKY)
    try:
        cluster.tables["cluster"] = {"postgresql": 12}
        said = cluster.run("plan").refused("PT-3005", 12)
    finally:
        hosts.os_release("h2").write_text(BOOKWORM)
    assert "PostgreSQL 12 is not installed where db1 is to run" in said
    assert "15 is installed there, 12 is asked for." in said
    assert "apt.postgresql.org.sh && apt-get install postgresql-12" in said
    assert "dnf install postgresql12-server" in said
    assert "pip install" not in said


def test_missing_client_program_is_named_with_its_own_package(hosts: Hosts, cluster: RemoteCluster) -> None:
    hosts.run("h2", ["mount", "--bind", "/dev/null", f"{BIN}/pg_basebackup"])
    try:
        said = cluster.run("plan").refused("PT-3005", 12)
    finally:
        hosts.run("h2", ["umount", f"{BIN}/pg_basebackup"])
    assert "PostgreSQL 15 lacks pg_basebackup where db2 is to run" in said
    assert "apt-get install postgresql-client-15" in said
    assert "db1" not in said
