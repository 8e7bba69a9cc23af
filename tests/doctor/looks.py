"""Looks for rules: healthy clusters, and the same with single facts replaced."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pgtandem.doctor.diagnose import diagnose
from pgtandem.doctor.look import Look
from pgtandem.model.examined import ArchiveListing, DatabaseDetail, Examination, Examined, StoredRole, Surroundings
from pgtandem.model.facts import ABSENT, Known
from pgtandem.model.names import REPLICATION_ROLE, NodeName
from pgtandem.model.observed import DiskSpace, ObservedHost
from pgtandem.model.server import Setting
from pgtandem.model.topology import Topology
from pgtandem.plan.desired import desired_hba
from pgtandem.testing.configuration import parse_hba
from pgtandem.topology.load import load_topology
from plan.healthy import healthy, look
from plan.overlay import overlaid

PAIR = """
[cluster]
name = "shop"
postgresql = {major}
[nodes.db1]
port = 5432
[nodes.db2]
port = 5433
[archive]
directory = "archive"
"""
TRIO = PAIR + '[nodes.db3]\nport = 5434\n[replication]\nsynchronous = "any 1"\n'
HOSTS = """
[cluster]
name = "shop"
postgresql = {major}
[nodes.db1]
host = "ssh://postgres@10.0.0.1"
data_directory = "/var/lib/postgresql/shop"
zone = "a"
[nodes.db2]
host = "ssh://postgres@10.0.0.2"
data_directory = "/var/lib/postgresql/shop"
zone = "b"
[nodes.db3]
host = "ssh://postgres@10.0.0.3"
data_directory = "/var/lib/postgresql/shop"
zone = "a"
[replication]
synchronous = "any 1"
"""
FOREIGN = PAIR.replace('directory = "archive"', 'command = "pgbackrest archive-push %p"\nrestore = "get %f %p"')
STREAMED = PAIR + "stream = true\n"
LATE = PAIR + '[nodes.db3]\nport = 5434\napply_delay = "1h"\n'
POOLED = PAIR + '[pgbouncers.pool1]\nport = 6432\nfile = "/etc/pool.ini"\ndatabases.shop = "postgres"\n'
FILES = {
    "streamed": STREAMED,
    "pooled": POOLED,
    "foreign": FOREIGN,
    "late": LATE,
    "pair": PAIR,
    "trio": TRIO,
    "hosts": HOSTS,
}
_BIG = DiskSpace(1 << 43, 1 << 42, "disk2")


#: Taken this night, verified, and restored for trial.
GOOD_BACKUP = {
    "label": "20270115T070000Z-full", "kind": "full", "node": "db2", "cluster": "shop", "timeline": 1, "kept": True,
    "start_lsn": "0/23000028", "stop_lsn": "0/24000100", "segment_bytes": 16777216, "ended": 1799990000.0,
    "folder": "/srv/shop/archive/1/backups/x", "verified": {"at": 1799990000.0, "trouble": ""},
    "drill": {"at": 1799990000.0, "trouble": "", "restore_seconds": 5.0},
}  # fmt: skip


def topology(kind: str, major: int = 18) -> Topology:
    return load_topology(FILES[kind].format(major=major), folder="/srv/shop", source="pgtandem.toml")


def healthy_look(kind: str, major: int = 18) -> Look:
    """A cluster that pgtandem has just built."""
    wish = topology(kind, major)
    primary = wish.names[0]
    observed = look(wish, wish, healthy(wish, primary, {}))
    if wish.archive is not None:
        observed = overlaid(observed, {"backups": {"found": [GOOD_BACKUP]}})
    hba = parse_hba(desired_hba(wish))
    nodes = {}
    for name, node in observed.nodes.items():
        server = node.running
        assert server is not None
        settings = {**server.settings, "data_checksums": Setting("on")}  # as initdb was asked to
        nodes[name] = replace(node, server=Known(replace(server, hba=hba, settings=settings)))
    archive = observed.archive
    if isinstance(archive, Known):
        archive = Known(replace(archive.value, disk=_BIG))
    hosts = {}
    if kind == "hosts":
        hosts = {node.host.url: ObservedHost(Known(0.0), Known("glibc 2.36")) for node in wish.nodes}
    listing = (
        Known(ArchiveListing(("000000010000000000000023", "000000010000000000000024"))) if wish.archive else ABSENT
    )
    examined = {name: Known(_examination(wish, name == primary)) for name in wish.names}
    around = dict.fromkeys(wish.names, Surroundings(64 << 30, DiskSpace(1 << 40, 1 << 39, "disk3")))
    return Look(
        wish,
        replace(observed, nodes=nodes, archive=archive, hosts=hosts),
        Examined(examined, listing, around),
    )


def _examination(wish: Topology, primary: bool) -> Examination:
    return Examination(
        roles={
            REPLICATION_ROLE: StoredRole(REPLICATION_ROLE, False, True, -1, None, "scram-sha-256"),
            "postgres": StoredRole("postgres", True, True, -1, None, "scram-sha-256"),
        },
        sender_users=dict.fromkeys(wish.names[1:], REPLICATION_ROLE) if primary else {},
        databases={"postgres": DatabaseDetail("postgres", 0, 0, "2.36", "2.36")},
        checkpoint_timeline=1,
        extensions=("plpgsql",),
        available_extensions=("plpgsql",),
    )


def changed(before: Look, differences: Mapping[str, Any]) -> Look:
    """The look with single facts replaced. Keys are "db1" (facts of ObservedNode), "db1+" (of its Examination),
    "archived" (names in the archive), "around" (Surroundings of every node), or a field of Observed."""
    observed, examined = before.observed, before.examined
    for key, table in differences.items():
        if key == "archived":
            examined = replace(examined, archive=Known(ArchiveListing(tuple(table))))
        elif key == "around":
            around = {name: overlaid(value, table) for name, value in examined.surroundings.items()}
            examined = replace(examined, surroundings=around)
        elif key.endswith("+"):
            name = NodeName(key[:-1])
            fact = examined.nodes[name]
            assert isinstance(fact, Known)
            examined = replace(examined, nodes={**examined.nodes, name: Known(overlaid(fact.value, table))})
        elif key in before.topology.names:
            name = NodeName(key)
            observed = replace(observed, nodes={**observed.nodes, name: overlaid(observed.nodes[name], table)})
        else:
            observed = overlaid(observed, {key: table})
    return replace(before, observed=observed, examined=examined)


def found(look: Look) -> dict[str, list[str]]:
    """What each rule saw, by its id."""
    seen: dict[str, list[str]] = {}
    for finding in diagnose(look):
        seen.setdefault(finding.rule.id, []).append(finding.seen.what)
    return seen
