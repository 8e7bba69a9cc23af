"""Looks at clusters that were never there: at nothing yet, and at a healthy cluster of a topology."""

from collections.abc import Mapping
from dataclasses import replace

from pgtandem.model.backup import Backups
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import REPLICATION_ROLE, STREAM_NAME, NodeName, PgbouncerName, slot_name
from pgtandem.model.observed import (
    ArchiveFolder,
    Authority,
    Certificate,
    ControlData,
    DataDirectory,
    DiskSpace,
    FormerNode,
    KeysOnHost,
    Marker,
    NodeTls,
    Observed,
    ObservedNode,
    Postmaster,
    PostmasterState,
    Programs,
    WalWay,
)
from pgtandem.model.pooling import ObservedPgbouncer, PgbouncerConsole, PooledDatabase
from pgtandem.model.server import Archiver, Receiver, Role, Sender, Server, Setting, Slot
from pgtandem.model.stream import ObservedStream, Tail
from pgtandem.model.topology import HostAddress, Node, Topology
from pgtandem.plan.desired import Wish, desired_files, desired_settings
from pgtandem.plan.pgbouncers import desired_text, readable_nodes
from pgtandem.plan.stream import receiver_files
from pgtandem.plan.tls import certificate_names
from pgtandem.plan.wal_sources import granted_on, sources_of
from pgtandem.postgres.archive_scripts import SYSTEM_FILE
from pgtandem.postgres.certificates import CERTIFICATE_FILE, ROOT_FILE
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.settings import canonical, setting_spec
from pgtandem.postgres.versions import STANDBY_FLOOR
from pgtandem.testing.configuration import default_settings

SYSTEM = "7300000000000000001"
NOW = 1_800_000_000.0
CA = Authority("-----BEGIN CERTIFICATE-----\nca\n-----END CERTIFICATE-----\n", NOW + 3000 * 24 * 3600)
GIGABYTE = 1024**3
_HERE = Lsn.parse("0/25000060")
_SILENT = {
    "starting": Unknown("The database system is starting up."),
    "stopping": Unknown("The database system is shutting down."),
}
_DISK = DiskSpace(200 * GIGABYTE, 100 * GIGABYTE, "disk1")


def nothing(topology: Topology) -> Observed:
    """PostgreSQL is installed, and nothing else is there."""
    major = topology.postgresql
    programs = Programs(f"/usr/lib/postgresql/{major}/bin", f"{major}.4", "system")
    node = ObservedNode(
        reachable=Known(True),
        account=Known("postgres"),
        programs=Known(programs if topology.tls is None else replace(programs, tls=True)),
        data=ABSENT,
        postmaster=ABSENT,
        server=ABSENT,
        disk=Known(_DISK),
    )
    own = topology.tls is not None and topology.tls.ca is not None
    return Observed(
        {each.name: replace(node, tls=_tls(topology, each, own=own, built=False)) for each in topology.nodes},
        authority=Known(CA) if own else ABSENT,
        now=NOW,
        pgbouncers={
            pgbouncer.name: ObservedPgbouncer(ABSENT, Unknown("Connection refused."))
            for pgbouncer in topology.pgbouncers
        },
        stream=Known(ObservedStream(Known(f"{programs.directory}/pg_receivewal")))
        if topology.streams_to_archive
        else ABSENT,
    )


def _tls(topology: Topology, node: Node, *, own: bool, built: bool) -> Fact[NodeTls]:
    """What is seen of a node's TLS by somebody who has this topology; `built` says whether it has it already."""
    if topology.tls is None:
        return ABSENT
    names = certificate_names(topology, node)
    certificate = Certificate(f"{node.name}'s", node.name, names, NOW - 1000, NOW + 300 * 24 * 3600, True)
    there = Known(certificate) if own or built else ABSENT
    return Known(NodeTls(there, own or built, CA.text if built else None, there if built else ABSENT))


def healthy(built: Topology, primary: NodeName, states: Mapping[str, str]) -> dict[NodeName, ObservedNode]:
    """The nodes of a cluster that is what `built` says, with this primary, but where `states` has a word for one:

    - "stopped", "killed": no server process; its control file says how it ended
    - "starting", "stopping": a server process that answers nobody yet, or nobody any more
    - "not streaming": it runs, and its upstream does not see it
    - "initialised": made by initdb, never started (so its commits wait for nobody yet)
    - "copied": made by pg_basebackup, never started
    - "missing": no data directory
    - "by hand": somebody else built it, and the topology file gives leave to take it over
    - "silent": its host does not answer
    """
    alive = {name for name in built.names if states.get(name, "by hand") in ("by hand", "not streaming")}
    streaming = {name for name in alive if name not in states and built.upstream_of(name, primary) in alive}
    nodes = {}
    for node in built.nodes:
        state = states.get(node.name, "")
        if state == "missing":
            nodes[node.name] = nothing(built).nodes[node.name]
            continue
        if state == "silent":
            nodes[node.name] = _silent_host()
            continue
        data = _directory(built, primary, node.name, state)
        nodes[node.name] = replace(
            nothing(built).nodes[node.name],
            data=Known(data),
            postmaster=_postmaster(node, state, data.standby_signal),
            server=Known(_server(built, primary, node.name, data, streaming))
            if node.name in alive
            else _SILENT.get(state, ABSENT),
        )
        if state == "by hand":
            nodes[node.name] = _by_hand(nodes[node.name], built, node)
    return nodes


def _by_hand(seen: ObservedNode, built: Topology, node: Node) -> ObservedNode:
    """The same node as the old recipe leaves it: nothing of pgtandem's, and a standby streams as repl_user."""
    assert seen.directory is not None
    assert seen.running is not None
    standby, where = seen.running.in_recovery, node.data_directory
    files = dict.fromkeys(seen.directory.files)
    auto = {"primary_conninfo": "host=10.0.0.1 user=repl_user password=secret application_name=slave-1"}
    data = replace(
        seen.directory,
        entries=("PG_VERSION", "base", "global", "pg_hba.conf", "pg_wal", "postgresql.conf"),
        marker=None,
        adoptable=True,
        files=files,
        passfile_ok=False,
        hba_block=None,
        settings_included=False,
        auto_settings=auto if standby else {},
        replaced_records=("host replication repl_user 10.0.0.1/32 md5",),
    )
    settings = dict(default_settings(built.postgresql))
    for key, file in (("config_file", "postgresql.conf"), ("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")):
        settings[key] = Setting(f"{where}/{file}", "override")
    settings["port"] = Setting(str(node.port), "configuration file", f"{where}/postgresql.conf")
    settings["archive_mode"] = Setting("on", "configuration file", f"{where}/postgresql.conf")
    settings["archive_command"] = Setting("cp -i %p /archive/%f", "configuration file", f"{where}/postgresql.conf")
    sender = Sender("slave-1", 4712, "10.0.0.2", "streaming", "async", _HERE, _HERE, _HERE, _HERE, user="repl_user")
    server = replace(
        seen.running,
        settings=settings,
        roles={
            "postgres": Role("postgres", True, True, True, -1, "md5"),
            "repl_user": Role("repl_user", False, True, True, -1, "md5"),
        },
        slots={},
        senders=() if standby else (sender,),
        receiver=Receiver("streaming", "10.0.0.1", 5432, None, Timeline(1)) if standby else None,
    )
    return replace(seen, data=Known(data), server=Known(server))


def _silent_host() -> ObservedNode:
    reason = Unknown("Connection timed out.")
    return ObservedNode(reason, reason, reason, reason, reason, reason, reason, reason)


def look(
    topology: Topology, built: Topology, nodes: Mapping[NodeName, ObservedNode], primary: NodeName | None = None
) -> Observed:
    """What is seen of the nodes of `built` by somebody who has the file `topology`."""
    same_lines = _lines_of_passfile(built) == _lines_of_passfile(topology)
    seen = {name: node if same_lines else _with_other_passfile(node) for name, node in nodes.items()}
    archive: Fact[ArchiveFolder] = ABSENT
    place, there = topology.archive, built.archive
    if place and there and (place.directory, place.host) == (there.directory, there.host):
        archive = Known(ArchiveFolder((SYSTEM,), _DISK))
    fresh, had_tls = nothing(topology), built.tls is not None
    silent = {name for name, node in seen.items() if isinstance(node.reachable, Unknown)}
    own = topology.tls is not None and topology.tls.ca is not None
    for node in topology.nodes:
        if node.name in seen and isinstance(seen[node.name].reachable, Known):
            tls = _tls(topology, node, own=own, built=had_tls)
            programs = fresh.nodes[node.name].programs
            seen[node.name] = replace(seen[node.name], tls=tls, programs=programs)
    found = Observed(
        {name: seen.get(name, fresh.nodes[name]) for name in topology.names},
        archive,
        tuple(
            FormerNode(node.name, node.data_directory, node.port, seen[node.name], node.host)
            for node in built.nodes
            if node.name not in topology.names
        ),
        authority=Known(CA) if topology.tls and (had_tls or own) else ABSENT,
        now=NOW,
        backups=ABSENT if topology.archive is None else Known(Backups()),
        ways={
            node.name: _ways(built, node, {each.host for each in built.nodes if each.name in silent})
            for node in topology.nodes
            if node in built.nodes and sources_of(built, node)
        },
        keys=_keys(built),
        pgbouncers=_pgbouncers(built, primary or built.nodes[0].name),
    )
    return replace(found, stream=_stream(topology, built, found, primary or built.nodes[0].name))


def _pgbouncers(built: Topology, primary: NodeName) -> dict[PgbouncerName, ObservedPgbouncer]:
    """Each as it was made for this primary, and answering."""
    found = {}
    top, readable = built.node(primary), readable_nodes(built, primary)
    hosts = ",".join(node.address for node in readable)
    for pgbouncer in built.pgbouncers:
        databases = {
            name: PooledDatabase(name, top.address, top.port, dbname) for name, dbname in pgbouncer.databases.items()
        }
        databases |= {
            name: PooledDatabase(name, hosts, readable[0].port, dbname)
            for name, dbname in pgbouncer.read_only_databases.items()
        }
        console = PgbouncerConsole("1.18.0", "transaction", databases)
        text = desired_text(built, pgbouncer, primary)
        found[pgbouncer.name] = ObservedPgbouncer(Known(text), Known(console))
    return found


def _ways(built: Topology, node: Node, silent: set[HostAddress]) -> tuple[WalWay, ...]:
    """Its ways as they should be; all unknown where one of its hosts, or its own, does not answer."""
    sources = sources_of(built, node)
    if not silent.isdisjoint({node.host, *(source.host for source in sources)}):
        return tuple(WalWay(source.name, Unknown("Connection timed out.")) for source in sources)
    return tuple(WalWay(source.name, Known(source.rights)) for source in sources)


def _keys(built: Topology) -> dict[str, KeysOnHost]:
    """What the nodes' keys left on each host."""
    urls = {node.host.url for node in built.nodes} | {host.url for host in built.archive_hosts}
    made = {
        url: tuple(f"{node.name}.{SYSTEM}" for node in built.nodes if node.host.url == url and sources_of(built, node))
        for url in sorted(urls)
    }
    keys = {url: KeysOnHost(tuple(sorted(granted_on(built, url))), names) for url, names in made.items()}
    return {url: found for url, found in keys.items() if found.granted or found.made}


def _lines_of_passfile(topology: Topology) -> list[tuple[str, int]]:
    return [(node.address, node.port) for node in topology.nodes]


def _with_other_passfile(node: ObservedNode) -> ObservedNode:
    return replace(node, data=Known(replace(node.directory, passfile_ok=False))) if node.directory else node


def _directory(built: Topology, primary: NodeName, name: NodeName, state: str) -> DataDirectory:
    wish = Wish(built, nothing(built), primary)
    files = desired_files(wish, name, keep_sync=state == "initialised")
    return DataDirectory(
        entries=("PG_VERSION", "base", "global", "pg_hba.conf", "pg_wal", "pgtandem", "postgresql.conf"),
        major=Known(built.postgresql),
        control=Known(_control(built, desired_settings(wish, primary), name == primary, state)),
        marker=Marker(built.cluster, name),
        files={
            RECOVERY_FILE: None,
            CERTIFICATE_FILE: CA.text if built.tls and built.tls.ca is None else None,
            ROOT_FILE: CA.text if built.tls else None,
            **dict(files.texts),
            SYSTEM_FILE: f"{SYSTEM}\n",
        },
        passfile_ok=True,
        hba_block=files.hba_block,
        settings_included=True,
        standby_signal=files.standby,
        backup_label=state == "copied",
    )


def _control(built: Topology, settings: Mapping[str, str], primary: bool, state: str) -> ControlData:
    """`settings` are the primary's: standbys replay them into their control files. A copy has the control file of the
    server that it was copied from, which ran."""
    words = {"stopped": ("shut down", "shut down in recovery"), "initialised": ("shut down", "")}
    running = ("in production", "in production" if state == "copied" else "in archive recovery")
    floor = {}
    for key in STANDBY_FLOOR:
        spec = setting_spec(built.postgresql, key)
        assert spec is not None
        floor[key] = canonical(spec, settings.get(key, spec.default or "0"))
    return ControlData(
        system_identifier=SYSTEM,
        state=words.get(state, running)[0 if primary else 1],
        timeline=Timeline(1),
        checkpoint_lsn=_HERE,
        min_recovery_lsn=Lsn(0) if primary else _HERE,
        checksums=True,
        wal_segment_bytes=16 * 1024 * 1024,
        settings=floor,
    )


def _postmaster(node: Node, state: str, standby: bool) -> Fact[Postmaster]:
    words = {
        "": PostmasterState.STANDBY if standby else PostmasterState.READY,
        "by hand": PostmasterState.STANDBY if standby else PostmasterState.READY,
        "not streaming": PostmasterState.STANDBY,
        "starting": PostmasterState.STARTING,
        "stopping": PostmasterState.STOPPING,
    }
    return Known(Postmaster(4000 + node.port % 1000, node.port, words[state])) if state in words else ABSENT


def _server(
    built: Topology, primary: NodeName, name: NodeName, data: DataDirectory, streaming: set[NodeName]
) -> Server:
    major = built.postgresql
    upstream = built.upstream_of(name, primary)
    settings = dict(default_settings(major))
    path = f"{built.node(name).data_directory}/{SETTINGS_FILE}"
    for key, text in parse_settings(data.files[SETTINGS_FILE] or "").items():
        spec = setting_spec(major, key)
        assert spec is not None
        settings[spec.name] = Setting(canonical(spec, text), "configuration file", path)
    if not built.archives:
        settings["archive_command"] = Setting("(disabled)")
    below = built.standbys_of(name, primary)
    return Server(
        version_number=major * 10000 + 4,
        system_identifier=SYSTEM,
        in_recovery=upstream is not None,
        timeline=Timeline(1),
        current_lsn=None if upstream else _HERE,
        receive_lsn=_HERE if upstream else None,
        replay_lsn=_HERE if upstream else None,
        size_bytes=24 * 1024 * 1024,
        settings=settings,
        roles={REPLICATION_ROLE: Role(REPLICATION_ROLE, False, True, True, -1, "scram-sha-256", True)},
        slots={
            slot_name(other): Slot(slot_name(other), "physical", other in streaming, 4712, _HERE, "reserved", 0)
            for other in below
        }
        | ({STREAM_NAME: _stream_slot()} if upstream is None and built.streams_to_archive else {}),
        senders=tuple(
            Sender(
                *(other, 4712, "127.0.0.1", "streaming", "async", _HERE, _HERE, _HERE, _HERE),
                encrypted=built.tls is not None,
            )
            for other in (*below, *((STREAM_NAME,) if upstream is None and built.streams_to_archive else ()))
            if other in (*streaming, STREAM_NAME)
        ),
        receiver=_receiver(built.node(upstream), name) if upstream and name in streaming else None,
        archiver=Archiver(3, 0, "000000010000000000000024", None, 12.0, None, 0) if built.archives else None,
    )


def _stream_slot() -> Slot:
    return Slot(STREAM_NAME, "physical", True, 4713, _HERE, "reserved", 0)


def _stream(topology: Topology, built: Topology, observed: Observed, primary: NodeName) -> Fact[ObservedStream]:
    """The receiver of the archive's stream as it was started by somebody who had the file `built`."""
    program = f"/usr/lib/postgresql/{topology.postgresql}/bin/pg_receivewal"
    here = any(isinstance(node.reachable, Known) for node in observed.nodes.values())
    if not here or not (topology.streams_to_archive or built.streams_to_archive):
        return ABSENT
    if not built.streams_to_archive:
        return Known(ObservedStream(Known(program)))
    files = receiver_files(Wish(built, replace(observed, nodes=nothing(built).nodes), primary), program, built.names)
    tail = Tail(Timeline(1), 0x25, _HERE)
    return Known(ObservedStream(Known(program), True, True, files, True, tail=tail, received_seconds=0.5))


def _receiver(upstream: Node, name: NodeName) -> Receiver:
    return Receiver("streaming", upstream.address, upstream.port, slot_name(name), Timeline(1))
