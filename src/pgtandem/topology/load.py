"""The text of a topology file to a Topology, or to all of its problems at once."""

from collections.abc import Mapping
from dataclasses import replace

from pgtandem.model.topology import Archive, BackupPolicy, ForeignArchive, Replication, Topology
from pgtandem.topology.adoption import read_adoption
from pgtandem.topology.archive import read_archive
from pgtandem.topology.backup import read_backup
from pgtandem.topology.check import (
    check_addresses,
    check_archive_confirms,
    check_confirming,
    check_delays,
    check_directories,
    check_ports,
    check_upstreams,
)
from pgtandem.topology.encryption import check_tls, read_tls
from pgtandem.topology.nodes import Nodes, read_nodes
from pgtandem.topology.parameters import Judge
from pgtandem.topology.pgbouncers import read_pgbouncers
from pgtandem.topology.places import absolute
from pgtandem.topology.problems import Path, Problems
from pgtandem.topology.sections import Cluster, read_cluster, read_pg_hba, read_replication
from pgtandem.topology.table import Table
from pgtandem.topology.toml import parse_toml


def load_topology(text: str, *, folder: str, source: str = "pgtandem.toml") -> Topology:
    """The topology that a file describes. `folder` is the absolute path of the file's folder, where relative
    paths begin; `source` is what messages call the file.

    Raises PgtandemError PT-1003 where the text is not valid TOML, and PT-1004 with every problem, in file
    order, where it does not describe a cluster.
    """
    folder = absolute(folder, "/")
    document = parse_toml(text, source)
    problems = Problems(document)
    root = Table(problems, (), document, "")

    cluster_table = root.table("cluster")
    cluster = read_cluster(cluster_table) if cluster_table else Cluster()
    node_values = root.values("nodes")
    nodes = Nodes() if node_values is None else read_nodes(problems, node_values, folder, cluster)
    replication_table = root.table("replication")
    replication = read_replication(replication_table) if replication_table else Replication()
    archive_table = root.table("archive")
    kept = read_archive(archive_table, folder, nodes.read) if archive_table else None
    archive = kept if isinstance(kept, Archive) else None
    backup_table = root.table("backup")
    backup = read_backup(backup_table, cluster.major, archive) if backup_table else BackupPolicy()
    tls_table = root.table("tls")
    tls = read_tls(tls_table, folder) if tls_table else None

    hba_table = root.table("pg_hba")
    hba_lines = read_pg_hba(hba_table) if hba_table else ()

    adopt_table = root.table("adopt")
    adoption = read_adoption(adopt_table) if adopt_table else None
    pgbouncer_values = root.values("pgbouncers") or {}
    pgbouncers = read_pgbouncers(problems, pgbouncer_values, folder, nodes.declared)

    check_upstreams(problems, nodes)
    check_delays(problems, nodes)
    check_addresses(problems, nodes)
    check_ports(problems, nodes)
    check_directories(problems, nodes, archive, folder)
    if not problems.has("replication", "synchronous"):
        check_confirming(problems, nodes, replication, archive)
        check_archive_confirms(problems, replication, archive)

    judge = Judge(problems, cluster.major, len(nodes.declared))
    parameters = judge.read(("parameters",), root.values("parameters") or {})
    of_nodes = {
        name: judge.read(("nodes", name, "parameters"), values) for name, values in (nodes.settings or {}).items()
    }
    settings: dict[Path, Mapping[str, object]] = {("parameters",): root.values("parameters") or {}}
    for name, values in (nodes.settings or {}).items():
        settings["nodes", name, "parameters"] = values
    check_tls(problems, tls, nodes.read, settings)
    problems.raise_if_any(source)
    assert cluster.major is not None, "a version that is missing or refused is a problem"
    return Topology(
        cluster=cluster.name,
        postgresql=cluster.major,
        nodes=tuple(replace(node, parameters=of_nodes[node.name]) for node in nodes.read),
        replication=replication,
        archive=archive,
        foreign_archive=kept if isinstance(kept, ForeignArchive) else None,
        tls=tls,
        parameters=parameters,
        hba_lines=hba_lines,
        binaries=cluster.binaries,
        bin_directory=cluster.bin_directory,
        backup=backup,
        adoption=adoption,
        pgbouncers=pgbouncers,
    )
