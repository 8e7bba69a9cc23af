"""A cluster that pgtandem built, and whose topology file is lost: adopt writes it again, and it plans to nothing."""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster
from support.hosts import Hosts, why_no_hosts
from support.program import PROGRAM, Done, Running
from support.remote import BIN, RemoteCluster

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
needs_hosts = pytest.mark.skipif(_reason is not None, reason=_reason or "")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


def lose(cluster: Cluster | RemoteCluster) -> str:
    """The file and what lies beside it. Returns the superuser's password, that somebody has written down."""
    password = cluster.secrets()["superuser_password"]
    cluster.file.unlink()
    shutil.rmtree(cluster.folder / ".pgtandem")
    return password


def read(cluster: Cluster | RemoteCluster) -> dict[str, Any]:
    return tomllib.loads(cluster.file.read_text())


def here(cluster: Cluster, *nodes: str) -> list[str]:
    return [word for node in nodes or cluster.nodes for word in ("--host", f"local,port={cluster.port(node)}")]


@pytest.mark.real
def test_a_lost_file_is_written_again_and_plans_to_nothing() -> None:
    wanted = {"work_mem": "9MB", "max_slot_wal_keep_size": "3GB"}
    with Cluster(
        standbys=2, replication={"synchronous": "first 1", "durability": "remote_apply"}, parameters=wanted
    ) as cluster:
        cluster.nodes["db1"]["parameters"] = {"work_mem": "10MB"}
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.topology["pg_hba"] = {"lines": ["host app app 10.0.0.0/24 scram-sha-256"]}
        cluster.topology["backup"] = {"incremental": True}
        cluster.write()
        cluster.apply()
        before = read(cluster)
        password = lose(cluster)

        refused = cluster.run("adopt", *here(cluster)).refused("PT-2004", 11)
        assert "does not let postgres in" in refused
        cluster.environment["PGPASSWORD"] = password
        assert "are of cluster shop, not other" in cluster.run("adopt", "--name", "other", *here(cluster)).said
        assert not cluster.file.exists()
        said = cluster.ok("adopt", *here(cluster))
        assert "pgtandem built these servers" in said.out
        assert password not in said.said
        del cluster.environment["PGPASSWORD"]
        found = read(cluster)
        assert "adopt" not in found
        assert found["cluster"] == {"name": "shop", "postgresql": before["cluster"]["postgresql"]}
        for table in ("parameters", "replication", "pg_hba", "backup", "archive"):
            assert found[table] == before[table], table
        assert {name: node.get("parameters") for name, node in found["nodes"].items()} == {
            "db1": {"work_mem": "10MB"}, "db2": None, "db3": None
        }  # fmt: skip
        assert found["nodes"]["db3"]["upstream"] == "db2"
        cluster.converged()

        # What comes later works as it did: a role change, a node that leaves, the end.
        cluster.ok("switchover", "--yes")
        cluster.topology = found
        del cluster.nodes["db3"]
        cluster.write()
        cluster.apply()
        assert "pgtandem_db3" not in cluster.slots("db1") + cluster.slots("db2")
        cluster.converged()


@pytest.mark.real
def test_where_only_the_file_is_lost_no_password_is_asked_for_and_who_is_missing_is_told() -> None:
    with Cluster(standbys=1) as cluster:
        cluster.apply()
        cluster.file.unlink()
        said = cluster.ok("adopt", *here(cluster, "db1"))
        assert f"at 127.0.0.1 port {cluster.port('db2')}, and no server there was named" in " ".join(said.out.split())
        cluster.file.unlink()
        assert "no server there was named" not in cluster.ok("adopt", *here(cluster)).said
        cluster.converged()


def adopted(cluster: RemoteCluster, password: str) -> Done:
    """Not by `run`, which would write the file again."""
    options = cluster.options()
    options["env"]["PGPASSWORD"] = password
    urls = [word for node in cluster.nodes.values() for word in ("--host", f"{node['host']},port={node['port']}")]
    return Running([str(PROGRAM)], ["adopt", *urls], options).end(120)


@needs_hosts
@pytest.mark.parametrize(
    "place",
    [
        pytest.param("own disks", marks=pytest.mark.chaos),
        "a host of its own",
        pytest.param("the first node's host", marks=pytest.mark.chaos),
    ],
)
def test_over_hosts_the_archive_is_found_wherever_it_is(hosts: Hosts, place: str) -> None:
    with RemoteCluster(hosts, 2) as cluster:
        cluster.know_hosts()
        if place == "a host of its own":
            (hosts.srv("h3") / "bob").chmod(0o755)
            url = f"ssh://bob@{hosts.address('h3')}"
            directory = f"/srv/bob/{cluster.folder.name}'s"
            cluster.tables["archive"] = {"directory": directory, "host": url}
        else:
            cluster.tables["archive"] = {"directory": f"{cluster.base}/the 'archive'"}
            if place == "the first node's host":
                cluster.tables["archive"]["host"] = cluster.nodes["db1"]["host"]
        cluster.apply()
        try:
            before, password = read(cluster), lose(cluster)
            done = adopted(cluster, password)
            assert done.exit_code == 0, done.said
            found = read(cluster)
            assert found["archive"] == before["archive"]
            assert {name: node["port"] for name, node in found["nodes"].items()} == dict.fromkeys(
                ("db1", "db2"), cluster.port
            )
            done = cluster.start("plan").end(120)
            assert "nothing to do" in done.out, done.said
        finally:
            cluster.ok("down", "--destroy", "--yes")


@pytest.mark.real
def test_an_archive_that_is_streamed_and_compressed_is_found_as_it_is() -> None:
    with Cluster(replication={"synchronous": "any 1"}) as cluster:
        cluster.topology["archive"] |= {"stream": True, "synchronous": True, "compression": "zstd", "level": 3}
        cluster.write()
        cluster.apply()
        before = read(cluster)
        cluster.environment["PGPASSWORD"] = lose(cluster)
        cluster.ok("adopt", *here(cluster))
        found = read(cluster)
        assert found["archive"] == before["archive"]
        assert found["replication"] == {"durability": "on", "synchronous": "any 1"}
        cluster.converged()
        cluster.ok("down", "--destroy", "--yes")
        assert not any(cluster.folder.glob("data/*"))
