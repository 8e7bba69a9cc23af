"""Two clusters of one name, whose nodes have one name too, on the same hosts and accounts: neither takes the other's
keys away, nor does a cluster whose keys an earlier pgtandem made."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.hosts import Hosts, why_no_hosts
from support.remote import BIN, RemoteCluster
from support.servers import wait_until

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

KEYS = "postgres/.ssh/pgtandem/shop"
FOREIGN = b"# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb me\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        (made.srv("h3") / "bob").chmod(0o755)
        with authorized(made).open("ab") as file:
            file.write(FOREIGN)
        yield made


def authorized(hosts: Hosts, host: str = "h3", account: str = "bob") -> Path:
    return hosts.srv(host) / account / ".ssh/authorized_keys"


def lines(hosts: Hosts, system: str, host: str = "h3", account: str = "bob") -> list[str]:
    """The nodes of a cluster that are let in, by the folder of its system identifier."""
    text = authorized(hosts, host, account).read_text()
    return [line.rpartition(":")[2] for line in text.splitlines() if " pgtandem:" in line and f"/{system}" in line]


@pytest.fixture
def pair(hosts: Hosts) -> Iterator[tuple[RemoteCluster, RemoteCluster]]:
    """Both archive in one folder of one account."""
    with ExitStack() as stack:
        made = [stack.enter_context(RemoteCluster(hosts, 2)) for _ in range(2)]
        directory = f"/srv/bob/{made[0].folder.name}"
        for cluster in made:
            cluster.know_hosts()
            cluster.tables["archive"] = {"directory": directory, "host": f"ssh://bob@{hosts.address('h3')}"}
        yield made[0], made[1]


def system(cluster: RemoteCluster) -> str:
    return cluster.psql("db1", "SELECT system_identifier FROM pg_control_system()")


def archives(cluster: RemoteCluster, hosts: Hosts, node: str = "db1") -> None:
    """What the cluster writes next comes into its own folder, and nowhere else."""
    segment = cluster.psql(node, "CREATE TABLE x AS SELECT 1; DROP TABLE x; SELECT pg_walfile_name(pg_switch_wal())")
    folder = hosts.srv("h3") / "bob" / Path(cluster.tables["archive"]["directory"]).name
    own = folder / system(cluster)
    wait_until(lambda: (own / segment).exists(), f"{segment} is in {own}", 60)


def made_by_an_earlier_one(cluster: RemoteCluster, hosts: Hosts) -> None:
    """Its keys lie where an earlier pgtandem put them: in folders without a system identifier in their names."""
    for host, node in (("h1", "db1"), ("h2", "db2")):
        folder = hosts.srv(host) / KEYS
        # What the key may do is settled at the login, and logins are kept for a minute.
        ends = f"cd /srv/{KEYS}/{node}.{system(cluster)} && ssh -F ssh_config -O exit archive"
        hosts.run(host, ["sh", "-c", ends], user="postgres")
        (folder / f"{node}.{system(cluster)}").rename(folder / node)


def test_two_of_one_name_keep_their_keys_whoever_is_applied_or_leaves(
    hosts: Hosts, pair: tuple[RemoteCluster, RemoteCluster]
) -> None:
    first, second = pair
    before = authorized(hosts).read_bytes()
    first.apply()
    alone = authorized(hosts).read_bytes()
    second.apply()
    assert authorized(hosts).read_bytes().startswith(alone)
    for cluster in pair:
        cluster.converged()
        assert lines(hosts, system(cluster)) == ["db1", "db2"]
        archives(cluster, hosts)

    # A node that leaves takes its own key along.
    gone = system(second)
    second.nodes.pop("db2")
    second.apply()
    assert lines(hosts, gone) == ["db1"]
    assert [path.name for path in (hosts.srv("h2") / KEYS).iterdir()] == [f"db2.{system(first)}"]
    first.converged()
    second.ok("down", "--destroy", "--yes")
    assert authorized(hosts).read_bytes() == alone
    assert [path.name for path in (hosts.srv("h1") / KEYS).iterdir()] == [f"db1.{system(first)}"]
    first.converged()
    archives(first, hosts)
    first.ok("backup", "--yes")
    first.ok("down", "--destroy", "--yes")
    assert authorized(hosts).read_bytes() == before
    assert not any((hosts.srv(host) / KEYS).parent.exists() for host in ("h1", "h2"))


@pytest.mark.chaos
def test_two_of_one_name_on_their_own_disks_fetch_from_their_own(hosts: Hosts) -> None:
    with RemoteCluster(hosts, 2) as first, RemoteCluster(hosts, 2) as second:
        for cluster in (first, second):
            cluster.know_hosts()
            cluster.tables["archive"] = {"directory": f"{cluster.base}/archive"}
            cluster.apply()
        for cluster in (first, second):
            cluster.converged()
            assert lines(hosts, system(cluster), "h1", "postgres") == ["db2"]
        first.ok("down", "--destroy", "--yes")
        second.converged()
        second.ok("down", "--destroy", "--yes")
        assert not (hosts.srv("h1") / KEYS).parent.exists()


@pytest.mark.chaos
def test_keys_of_an_earlier_pgtandem_go_on_and_leave_with_their_cluster(
    hosts: Hosts, pair: tuple[RemoteCluster, RemoteCluster]
) -> None:
    first, second = pair
    before = authorized(hosts).read_bytes()
    first.apply()
    made_by_an_earlier_one(first, hosts)
    first.converged()
    archives(first, hosts)
    first.ok("backup", "--yes")
    second.apply()
    first.converged()
    archives(second, hosts)
    second.ok("down", "--destroy", "--yes")
    first.converged()
    assert (hosts.srv("h1") / KEYS / "db1").exists()
    first.nodes.pop("db2")
    first.apply()
    assert not (hosts.srv("h2") / KEYS).exists()
    first.ok("down", "--destroy", "--yes")
    assert authorized(hosts).read_bytes() == before
    assert not (hosts.srv("h1") / KEYS).parent.exists()


def test_a_key_that_an_earlier_pgtandem_let_two_clusters_share_stays_with_the_one_that_is_let_in(
    hosts: Hosts, pair: tuple[RemoteCluster, RemoteCluster]
) -> None:
    """The last one that was applied had taken the line, and the other one's WAL went into its archive."""
    first, second = pair
    before = authorized(hosts).read_bytes()
    first.apply()
    second.apply()
    made_by_an_earlier_one(first, hosts)
    names = system(first), system(second)
    for host, node in (("h1", "db1"), ("h2", "db2")):
        hosts.run(host, ["rm", "-r", f"/srv/{KEYS}/{node}.{names[1]}"])
    text = authorized(hosts).read_text().splitlines(keepends=True)
    shared = [line.replace(f"/{names[0]}", f"/{names[1]}") for line in text if f"/{names[1]}" not in line]
    authorized(hosts).write_text("".join(shared))
    second.converged()

    plan = first.run("plan")
    assert plan.exit_code == 2
    assert "let db1 push WAL to" in plan.out
    first.apply()
    assert authorized(hosts).read_text().startswith("".join(shared))
    for cluster in pair:
        cluster.converged()
        assert lines(hosts, system(cluster)) == ["db1", "db2"]
        archives(cluster, hosts)
    first.ok("down", "--destroy", "--yes")
    second.converged()
    archives(second, hosts)
    second.ok("down", "--destroy", "--yes")
    assert authorized(hosts).read_bytes() == before
    assert not (hosts.srv("h1") / KEYS).parent.exists()
