"""Rendering: what a written file looks like, and that it reads back as the same topology."""

import re
import string
import tomllib
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgtandem.model.names import NodeName, PgbouncerName
from pgtandem.model.topology import (
    Archive,
    Binaries,
    Certificates,
    Durability,
    Method,
    Node,
    Pgbouncer,
    Replication,
    Synchronous,
    Tls,
    Topology,
)
from pgtandem.topology.load import load_topology
from pgtandem.topology.render import render_topology
from pgtandem.topology.toml import quote_key, quote_text

from .files import FOLDER, load
from .test_load import EVERYTHING, FULL

# What a path, a label or a value may hold: everything on one line. "." and ".." would be other directories.
_on_one_line = st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029")
_word = st.text(_on_one_line, min_size=1, max_size=12).filter(str.strip)
# Four characters cannot stand in the path of a data directory: pg_ctl's shell would read them.
_directory_name = _word.map(lambda text: re.sub(r'[/"$`\\]', "_", text)).filter(lambda text: text not in (".", ".."))
_node_names = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), min_size=1, max_size=5, unique=True)
_parameters = st.dictionaries(
    st.sampled_from(["search_path", "log_line_prefix", "pg_stat_statements.track", "x.y"]), _word, max_size=3
)


def _own(required: bool, name: str) -> Tls:
    return Tls(Certificates.OWN, required, f"{FOLDER}/tls/{name}")


_database_names = st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.just("shop"), min_size=1, max_size=2)
_pgbouncers = st.builds(
    Pgbouncer,
    name=st.just(PgbouncerName("pool-1")),
    file=st.sampled_from([f"{FOLDER}/pool.ini", "/etc/pgbouncer/shop.ini"]),
    port=st.integers(1, 65535),
    databases=_database_names,
    read_only_databases=st.just({}) | st.just({"_ro": "shop"}),
    options=st.sampled_from(["", "pool_size=50"]),
    admin_user=st.sampled_from(["pgtandem", "me"]),
    admin_password_file=st.none() | st.just(f"{FOLDER}/secret"),
)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Any topology that a file can describe; no data directory is inside another."""
    names = [NodeName(name) for name in draw(_node_names)]
    ports = draw(st.lists(st.integers(1024, 65535), min_size=len(names), max_size=len(names), unique=True))
    places = draw(st.lists(_directory_name, min_size=len(names) + 1, max_size=len(names) + 1, unique=True))
    roots = [draw(st.sampled_from([FOLDER, f"{FOLDER}/~data", "/elsewhere"])) for _ in places]
    directories = [f"{root}/p/{place}" for root, place in zip(roots, places, strict=True)]
    nodes = tuple(
        Node(
            name,
            ports[number],
            directories[number],
            address=draw(st.sampled_from(["127.0.0.1", "::1", "db.example"])),
            upstream=draw(st.sampled_from([None, *names[:number]])) if number else None,
            zone=draw(st.none() | _word),
            apply_delay=draw(st.sampled_from([None, None, "1h", "250ms"])) if number else None,
            parameters=draw(_parameters),
        )
        for number, name in enumerate(names)
    )
    direct = sum(node.upstream in (None, names[0]) and node.apply_delay is None for node in nodes[1:])
    replication = Replication(draw(st.sampled_from([Durability.OFF, Durability.LOCAL, Durability.ON])))
    if direct and draw(st.booleans()):
        method = draw(st.sampled_from([Method.FIRST, Method.ANY]))
        level = draw(st.sampled_from([Durability.REMOTE_WRITE, Durability.ON, Durability.REMOTE_APPLY]))
        replication = Replication(level, Synchronous(method, draw(st.integers(1, direct))))
    if draw(st.booleans()):
        replication = replace(replication, copy_bytes_per_second=1024 * draw(st.integers(32, 1024 * 1024)))
    tls = draw(st.none() | st.builds(Tls, required=st.booleans()) | st.builds(_own, st.booleans(), _directory_name))
    if tls and tls.certificates is Certificates.OWN:
        nodes = tuple(replace(node, certificate=f"/x/{node.name}.crt", certificate_key="/x/key") for node in nodes)
    binaries = draw(st.sampled_from(Binaries))
    bin_directory = draw(st.none() | _directory_name.map("/opt/{}".format)) if binaries is Binaries.AUTO else None
    return Topology(
        cluster=draw(st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", fullmatch=True)),
        postgresql=draw(st.sampled_from([16, 18] if binaries is Binaries.EMBEDDED else range(10, 19))),
        nodes=nodes,
        replication=replication,
        archive=draw(st.none() | st.just(Archive(directories[-1]))),
        tls=tls,
        parameters=draw(_parameters),
        binaries=binaries,
        bin_directory=bin_directory,
        pgbouncers=draw(st.lists(_pgbouncers, max_size=1).map(tuple)),
    )


#: On a machine with much else to do, whole topologies are slow to make up.
_SLOW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@_SLOW
@given(topologies())
def test_rendered_topology_reads_back_as_itself(topology: Topology) -> None:
    text = render_topology(topology, folder=FOLDER)
    assert load_topology(text, folder=FOLDER) == topology


@_SLOW
@given(topologies())
def test_rendering_what_was_read_changes_nothing(topology: Topology) -> None:
    text = render_topology(topology, folder=FOLDER)
    assert render_topology(load_topology(text, folder=FOLDER), folder=FOLDER) == text


def test_rendered_topology_with_every_key_reads_back_as_itself() -> None:
    assert load(render_topology(FULL, folder=FOLDER)) == FULL == load(EVERYTHING)


def test_file_in_the_root_directory_reads_back_as_itself() -> None:
    topology = load_topology(EVERYTHING, folder="/")
    assert load_topology(render_topology(topology, folder="/"), folder="/") == topology


PAIR = Topology(
    "shop",
    18,
    (
        Node(NodeName("db1"), 5432, f"{FOLDER}/data/db1"),
        Node(NodeName("db2"), 65535, f"{FOLDER}/data/db2", parameters={"work_mem": "64MB"}),
    ),
)

PAIR_TEXT = """\
# The cluster that pgtandem builds and keeps right. Change this file, then: pgtandem plan, pgtandem apply.
# All keys: docs/topology.md

[cluster]
name = "shop"                       # the name of the cluster
postgresql = 18                     # the major version of PostgreSQL: 10 to 18
# binaries = "auto"                 # where the programs are: auto, embedded, system, or an absolute path

[nodes.db1]                         # the first node starts as the primary
port = 5432                         # the port that the server listens on, 1024 to 65535
data_directory = "data/db1"         # where the data is; a relative path begins at this file's folder

[nodes.db2]
port = 65535
data_directory = "data/db2"

[nodes.db2.parameters]
work_mem = "64MB"

# One more standby: remove the # of these lines.
# [nodes.db3]
# port = 5431
# upstream = "db2"                  # the node that this one follows; without it: whoever is the primary

[replication]
durability = "on"                   # what a commit waits for: off, local, remote_write, on, remote_apply
synchronous = "none"                # how many standbys must confirm a commit: none, first N, any N
# when_standbys_are_lost = "stop"   # when too few standbys are left to confirm: stop, later also degrade

# [archive]
# directory = "archive"             # the WAL archive; a relative path begins at this file's folder

# [tls]
# certificates = "managed"          # who makes the certificates of the nodes, pgtandem or you: managed, own
# required = true                   # whether connections over TCP without TLS are refused

[parameters]                        # any PostgreSQL setting, for all nodes
# shared_buffers = "1GB"
# max_connections = 200
# "pg_stat_statements.max" = 10000
"""


def test_written_file_explains_itself() -> None:
    assert render_topology(PAIR, folder=FOLDER) == PAIR_TEXT


def test_written_file_is_still_sound_when_its_examples_are_switched_on() -> None:
    head, rest = PAIR_TEXT.split("\n", 3)[-1], []
    for line in head.splitlines():
        bare = line.removeprefix("# ")
        rest.append(bare if bare.startswith("[") or " = " in bare else line)
    topology = load("\n".join(rest))
    assert topology.names == ("db1", "db2", "db3")
    assert topology.archive == Archive(f"{FOLDER}/archive")
    assert topology.parameters["pg_stat_statements.max"] == "10000"


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(string.printable))
def test_quoted_texts_and_keys_are_read_by_toml_as_they_were(text: str, key: str) -> None:
    assert tomllib.loads(f"{quote_key(key)} = {quote_text(text)}") == {key: text}
