"""What a node should have: its settings, its files, its slots. From the topology, and from facts where it must."""

import json
from dataclasses import replace

from pgtandem.model.facts import Known
from pgtandem.model.names import (
    REPLICATION_ROLE,
    REWIND_ROLE,
    STREAM_NAME,
    SUPERUSER,
    NodeName,
    SlotName,
    slot_name,
)
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.plan import NodeFiles
from pgtandem.model.topology import Method, Node, Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.packaged import kept_by_debian
from pgtandem.plan.slot_cap import slot_cap_megabytes
from pgtandem.plan.tls import refuses_plain, tls_settings, verifies_upstream
from pgtandem.plan.wal_sources import receives_from, sources_of
from pgtandem.postgres import archive_scripts, wal_fetch, wal_over_ssh, wal_push
from pgtandem.postgres.certificates import ROOT_FILE, VERIFY
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings, render_settings
from pgtandem.postgres.conninfo import render_conninfo
from pgtandem.postgres.hba import NO_PLAIN, HbaLine, render_block
from pgtandem.postgres.settings import canonical, setting_spec
from pgtandem.postgres.sync_names import render_sync_names
from pgtandem.postgres.versions import (
    STANDBY_FLOOR,
    has_slot_cap,
    has_standby_signal,
    reloads_upstream,
    rewinds_by_role,
)

MARKER_FILE = "pgtandem/node.json"
PASSFILE = "pgtandem/passfile"

_HEADING = """\
Made by pgtandem from the topology file: change that and run "pgtandem apply".
What is written here by hand is replaced."""

_SYNC = ("synchronous_commit", "synchronous_standby_names")


@dataclass(frozen=True, slots=True)
class Wish:
    """The question: this topology, what there is, and who is or becomes the primary."""

    topology: Topology
    observed: Observed
    primary: NodeName

    def node(self, name: NodeName) -> Node:
        return self.topology.node(name)

    def seen(self, name: NodeName) -> ObservedNode:
        return self.observed.nodes[name]

    def upstream(self, name: NodeName) -> NodeName | None:
        return self.topology.upstream_of(name, self.primary)

    def slots_of(self, name: NodeName) -> tuple[SlotName, ...]:
        """The slots that a node keeps for its direct downstreams, and the primary for the archive's stream."""
        streams = (SlotName(STREAM_NAME),) if name == self.primary and self.topology.streams_to_archive else ()
        return (*(slot_name(standby) for standby in self.topology.standbys_of(name, self.primary)), *streams)


def settings_in_place(node: ObservedNode) -> dict[str, str]:
    """What the settings file of a node has now; nothing where there is none."""
    text = node.directory.files.get(SETTINGS_FILE) if node.directory else None
    return parse_settings(text) if text else {}


def desired_settings(wish: Wish, name: NodeName, *, keep_sync: bool = False) -> dict[str, str]:
    """Every setting that pgtandem writes for a node.

    With `keep_sync` the synchronous settings stay as they are in place, or are off where there is nothing yet: a
    primary must not wait for standbys that are still to be built.
    """
    topology, node, seen = wish.topology, wish.node(name), wish.seen(name)
    in_place = settings_in_place(seen)
    senders = _senders(topology)
    settings = {
        "listen_addresses": _listens_at(node),
        **({} if _has_socket(topology, wish.seen(name), node) else {"unix_socket_directories": ""}),
        "wal_level": "replica",
        "max_wal_senders": senders,
        "max_replication_slots": senders,
        "wal_retrieve_retry_interval": "500ms",
        "password_encryption": "scram-sha-256",
    }
    control = seen.control
    if topology.adoption is not None and control is not None and not control.checksums:
        settings["wal_log_hints"] = "on"
    if topology.tls is not None and setting_spec(topology.postgresql, "ssl_min_protocol_version"):
        settings["ssl_min_protocol_version"] = "TLSv1.2"
    if has_slot_cap(topology.postgresql):
        neighbours = [
            wish.seen(other.name) for other in topology.nodes if other.host == node.host and other.name != name
        ]
        cap = slot_cap_megabytes(seen, neighbours, in_place.get("max_slot_wal_keep_size"))
        if cap is not None:
            settings["max_slot_wal_keep_size"] = f"{cap}MB"
    if topology.backup.incremental:
        settings["summarize_wal"] = "on"
    settings |= topology.parameters
    settings |= node.parameters
    settings |= {
        "port": str(node.port),
        "cluster_name": f"{topology.cluster}/{name}",
        "hot_standby": "on",
    }
    settings |= archive_settings(topology, node)
    settings |= tls_settings(wish, name)
    if has_standby_signal(topology.postgresql):
        settings |= _recovery_settings(wish, name)
    if wish.upstream(name) is not None:
        _raise_to_floor(wish, name, settings)
    settings |= _sync_settings(wish, name)
    if keep_sync:
        for key in _SYNC:
            settings[key] = in_place.get(key, "on" if key == "synchronous_commit" else "")
    return settings


def _has_socket(topology: Topology, seen: ObservedNode, node: Node) -> bool:
    """Debian's pg_ctlcluster waits for the server's socket, where its programs have it by themselves."""
    return not node.host.is_local or kept_by_debian(topology, seen) is not None


def _listens_at(node: Node) -> str:
    """On another host pgtandem's own sessions come from the host itself (`Host.forward`)."""
    return node.address if node.host.is_local else f"localhost,{node.address}"


def archive_settings(topology: Topology, node: Node) -> dict[str, str]:
    """How a node archives when it is the primary; empty where nothing is archived."""
    archive, foreign = topology.archive, topology.foreign_archive
    if foreign is not None:
        return {"archive_mode": "on", "archive_command": foreign.command}
    if archive is None:
        return {}
    here = archive.host in (None, node.host)
    form = archive.stored_as
    command = archive_scripts.archive_command(archive.directory, form) if here else wal_over_ssh.push_command(form)
    return {"archive_mode": "on", "archive_command": command}


def restore_command(topology: Topology, name: NodeName) -> str:
    """How a node gets WAL from the archive, whichever role it has; "" without an archive."""
    archive = topology.archive
    if archive is not None:
        here = archive.host in (None, topology.node(name).host)
        return archive_scripts.restore_command(archive.directory) if here else wal_over_ssh.FETCH_COMMAND
    return topology.foreign_archive.restore if topology.foreign_archive is not None else ""


def _recovery_settings(wish: Wish, name: NodeName) -> dict[str, str]:
    """Where WAL comes from. Ordinary settings from 12 on, the content of recovery.conf before."""
    settings: dict[str, str] = {}
    if command := restore_command(wish.topology, name):
        settings["restore_command"] = command
    upstream = wish.upstream(name)
    if upstream is not None:
        settings["primary_conninfo"] = _conninfo(wish.node(upstream), name, verify=verifies_upstream(wish, name))
        settings["primary_slot_name"] = slot_name(name)
        if delay := wish.node(name).apply_delay:
            settings["recovery_min_apply_delay"] = delay
    elif not reloads_upstream(wish.topology.postgresql):
        # A primary does not read them. Taking them away after a promotion would only leave a restart pending.
        in_place = settings_in_place(wish.seen(name))
        settings |= {key: in_place[key] for key in ("primary_conninfo", "primary_slot_name") if key in in_place}
    return settings


def recovery_file(wish: Wish, name: NodeName) -> str:
    """recovery.conf of a standby up to 11; it is what makes the server a standby."""
    settings = {"standby_mode": "on", "recovery_target_timeline": "latest", **_recovery_settings(wish, name)}
    return render_settings(settings, _HEADING)


def _conninfo(upstream: Node, standby: NodeName, *, verify: bool) -> str:
    encryption: dict[str, str | int] = {"sslmode": VERIFY, "sslrootcert": ROOT_FILE} if verify else {}
    return render_conninfo(
        {
            "host": upstream.address,
            "port": upstream.port,
            "user": REPLICATION_ROLE,
            "passfile": PASSFILE,
            "application_name": standby,
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            **encryption,
        }
    )


def _sync_settings(wish: Wish, name: NodeName) -> dict[str, str]:
    replication = wish.topology.replication
    candidates = wish.topology.confirmers(name)
    count = min(replication.synchronous.count, len(candidates))
    return {
        "synchronous_commit": replication.durability.value,
        "synchronous_standby_names": render_sync_names(replication.synchronous.method.value, count, candidates),
    }


def _raise_to_floor(wish: Wish, name: NodeName, settings: dict[str, str]) -> None:
    """A standby stops when one of these settings is below the primary's (manual, 26.4.3). So it never gets less than
    the primary is to have; and while the primary still runs with a higher value, or its lower one has not been
    replayed yet, the standby keeps the higher one."""
    primary, own = wish.seen(wish.primary), wish.seen(name).control
    for key in STANDBY_FLOOR:
        spec = setting_spec(wish.topology.postgresql, key)
        if spec is None:
            continue
        default = spec.default or "0"
        wanted, wished = int(canonical(spec, settings.get(key, default))), _of_the_primary(wish, key)
        now = primary.control.settings.get(key, default) if primary.control else default if wished is None else "0"
        if primary.running and key in primary.running.settings:
            now = primary.running.settings[key].value
        floor = max(wanted, wished or 0, int(now), _set_by_hand(primary, key))
        if own and key in own.settings:
            floor = max(floor, int(own.settings[key]))
        if floor != wanted:
            settings[key] = str(floor)


def _wished_number(wish: Wish, name: NodeName, key: str) -> int | None:
    """What a node is to have of a whole-number setting by the topology alone; None where nobody says anything."""
    computed = _senders(wish.topology) if key == "max_wal_senders" else None
    text = wish.node(name).parameters.get(key, wish.topology.parameters.get(key, computed))
    spec = setting_spec(wish.topology.postgresql, key)
    return None if text is None or spec is None else int(canonical(spec, text))


def _of_the_primary(wish: Wish, key: str) -> int | None:
    """What the primary is to have. Where the topology file says nothing any more, and the line is taken out, it comes
    to the server's own default at its next start, which may be more than it has now."""
    wished, spec = _wished_number(wish, wish.primary, key), setting_spec(wish.topology.postgresql, key)
    if wished is None and spec is not None and key in settings_in_place(wish.seen(wish.primary)):
        return int(spec.default or "0")
    return wished


def _set_by_hand(node: ObservedNode, key: str) -> int:
    """What ALTER SYSTEM left for the node's next start, 0 for nothing."""
    text = node.directory.auto_settings.get(key, "") if node.directory else ""
    return int(text) if text.isdigit() else 0


def kept_above_wish(wish: Wish, name: NodeName) -> tuple[str, ...]:
    """The settings that a standby must keep for now above what it is to have: until the primary has the lower value
    and the standby has replayed that. Nobody waits for a delayed one: it lowers them some later time."""
    if wish.node(name).apply_delay is not None:
        return ()
    primary, settled = wish.seen(wish.primary), desired_settings(wish, name)
    kept = []
    for key in STANDBY_FLOOR:
        settles = _of_the_primary(wish, key)
        # What the topology says of a setting takes the place of what ALTER SYSTEM said.
        by_hand = _set_by_hand(primary, key) if settles is None else 0
        if settles is None and primary.running and key not in settings_in_place(primary):
            settles = int(primary.running.settings[key].value)
        lowest = max(settles or 0, _wished_number(wish, name, key) or 0, by_hand)
        spec = setting_spec(wish.topology.postgresql, key)
        if key in settled and spec is not None and int(canonical(spec, settled[key])) > lowest:
            kept.append(key)
    return tuple(kept)


def _senders(topology: Topology) -> str:
    """Room for growth: it takes effect at a start only, and one more standby must not restart everybody."""
    return str(max(20, 2 * len(topology.nodes) + 2))


def desired_hba(topology: Topology, *, refuse_plain: bool = False, over_ssh: bool = False) -> str:
    """The owned block: every node may stream from every node, since roles swap, and read it for a rewind.

    With `refuse_plain` nobody is let in over TCP without TLS, whatever the lines below say; but for pgtandem, which
    comes through SSH to a host `over_ssh` and then from that host's own loopback address, where libpq has no TLS."""
    addresses = list(dict.fromkeys(node.address for node in topology.nodes))
    if any(node.host.is_local for node in topology.nodes) and "127.0.0.1" not in addresses:
        addresses.append("127.0.0.1")
    if topology.streams_to_archive and (receiver := receives_from(topology)) not in addresses:
        addresses.append(receiver)
    kind = "hostssl" if refuse_plain else "host"
    lines = [HbaLine("replication", REPLICATION_ROLE, address, kind=kind) for address in addresses]
    if rewinds_by_role(topology.postgresql):
        lines += [HbaLine("postgres", REWIND_ROLE, address, kind=kind) for address in addresses]
    if topology.adoption is not None:
        # What others have written may let nobody in over TCP.
        lines.append(HbaLine("postgres", SUPERUSER, "127.0.0.1"))
    if refuse_plain and over_ssh:
        lines.append(HbaLine("postgres", SUPERUSER, "127.0.0.1", kind=NO_PLAIN.kind))
    if refuse_plain:
        lines += [replace(NO_PLAIN, database="replication"), NO_PLAIN]
    return render_block(tuple(lines)) + "".join(f"{line}\n" for line in topology.hba_lines)


def desired_files(wish: Wish, name: NodeName, *, keep_sync: bool = False) -> NodeFiles:
    """Everything of pgtandem's in a node's data directory."""
    topology = wish.topology
    data = wish.seen(name).directory
    marker: dict[str, str | bool] = {"made_by": "pgtandem", "cluster": topology.cluster, "node": name}
    if data is not None and (data.adoptable or (data.marker is not None and data.marker.adopted)):
        marker["adopted"] = True
    texts = {
        MARKER_FILE: json.dumps(marker) + "\n",
        SETTINGS_FILE: render_settings(desired_settings(wish, name, keep_sync=keep_sync), _HEADING),
        archive_scripts.ARCHIVE_SCRIPT: archive_scripts.ARCHIVE_TEXT,
        wal_fetch.RESTORE_SCRIPT: wal_fetch.RESTORE_TEXT,
    }
    if topology.archive is not None and len({*topology.archive_hosts, *(node.host for node in topology.nodes)}) > 1:
        hosts = [source.name for source in sources_of(topology, wish.node(name))]
        texts |= {
            wal_fetch.FETCH_SCRIPT: wal_fetch.FETCH_TEXT,
            wal_push.PUSH_SCRIPT: wal_push.PUSH_TEXT,
            wal_over_ssh.HOSTS_FILE: wal_over_ssh.render_hosts(f"{topology.cluster}/{name}", hosts),
        }
    elif data is not None and data.files.get(wal_over_ssh.HOSTS_FILE):
        texts[wal_over_ssh.HOSTS_FILE] = ""  # nobody else is asked any more
    if wish.upstream(name) is not None and not has_standby_signal(topology.postgresql):
        texts[RECOVERY_FILE] = recovery_file(wish, name)
    return NodeFiles(
        texts=tuple(sorted(texts.items())),
        hba_block=desired_hba(
            topology, refuse_plain=refuses_plain(wish, name), over_ssh=not wish.node(name).host.is_local
        ),
        standby=wish.upstream(name) is not None,
        passfile_nodes=tuple((node.address, node.port) for node in topology.nodes),
    )


def files_differ(files: NodeFiles, node: ObservedNode) -> tuple[str, ...]:
    """What of a node's files is not as wished, in words; empty when everything is."""
    data = node.directory
    if data is None:
        return ("everything",)
    differing = [path for path, text in files.texts if data.files.get(path) != text]
    control = node.control
    if control is not None and (data.files.get(archive_scripts.SYSTEM_FILE) or "").strip() != control.system_identifier:
        differing.append(archive_scripts.SYSTEM_FILE)
    if not data.passfile_ok:
        differing.append(PASSFILE)
    if data.hba_block != files.hba_block:
        differing.append("pg_hba.conf")
    if not data.settings_included:
        differing.append("postgresql.conf")
    return tuple(differing)


def confirming(wish: Wish) -> bool:
    """Whether commits wait for a standby."""
    return wish.topology.replication.synchronous.method is not Method.NONE


def streams(wish: Wish, name: NodeName) -> bool:
    """Whether a standby is seen streaming from the upstream that it should have."""
    upstream = wish.upstream(name)
    server = wish.seen(upstream).running if upstream else None
    return server is not None and any(
        sender.application_name == name and sender.state == "streaming" for sender in server.senders
    )


def delays(wish: Wish, name: NodeName) -> bool:
    """Whether a standby waits right now because it is to replay late. After a start or a lost connection it does not
    stream until it has replayed all that it has: the server asks its upstream for more only then."""
    server = wish.seen(name).running
    return wish.node(name).apply_delay is not None and server is not None and server.delaying


def neighbour_at_port(wish: Wish, name: NodeName) -> NodeName | None:
    """The other node of this host whose server listens now where this node's is to listen."""
    node = wish.node(name)
    for other in wish.topology.nodes:
        postmaster = wish.seen(other.name).postmaster
        if other.name == name or other.host != node.host or not isinstance(postmaster, Known):
            continue
        if postmaster.value.port == node.port:
            return other.name
    return None
