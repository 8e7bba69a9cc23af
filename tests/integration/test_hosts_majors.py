"""Major versions over SSH, on hosts of their own: built, archived on each node's disk, written, switched over.

`make test` runs 11 (recovery.conf, no pg_promote) and 18; `make majors` also 10, 13, 16 and 17. 15 is what all other
tests over SSH run on.
"""

from collections.abc import Iterator

import pytest

from support.clusters import installation
from support.hosts import Hosts, why_no_hosts
from support.installations import PACKAGED_MAJORS, client_programs, closed_folder, packaged
from support.remote import RemoteCluster

_reason = why_no_hosts()
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

MAJORS, EVERY_TIME = (10, 11, 13, 16, 17, 18), (11, 18)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


@pytest.mark.parametrize(
    "major",
    [pytest.param(major, marks=() if major in EVERY_TIME else pytest.mark.chaos) for major in MAJORS],
)
def test_a_pair_is_built_archives_and_switches_over(hosts: Hosts, major: int) -> None:
    try:
        found = packaged(major) if major in PACKAGED_MAJORS else installation(major)
    except LookupError as reason:
        pytest.skip(str(reason))
    if closed := closed_folder(found.programs):
        pytest.skip(f"the hosts' accounts cannot enter {closed}")
    with RemoteCluster(hosts) as cluster:
        cluster.major, cluster.clients = major, str(client_programs(found))
        cluster.tables["cluster"] = {"binaries": str(found.programs)}
        cluster.tables["archive"] = {"directory": f"{cluster.base}/archive"}
        cluster.tables["replication"] = {"synchronous": "any 1"}
        cluster.know_hosts()
        cluster.apply()
        cluster.write_row("before the switchover")
        cluster.shows_row("db2", "before the switchover")
        assert cluster.psql("db2", "SHOW server_version_num").startswith(str(major))
        assert cluster.psql("db1", "SELECT archived_count > 0 AND failed_count = 0 FROM pg_stat_archiver") == "t"

        cluster.ok("switchover", "--to", "db2", "--yes")
        cluster.write_row("after the switchover", "db2")
        cluster.shows_row("db1", "after the switchover")
        assert cluster.streams("db2") == ["db1"]
        cluster.converged()
        cluster.ok("down", "--destroy", "--yes")
