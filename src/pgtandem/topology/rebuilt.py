"""What servers that pgtandem built tell of the topology file that they were built from: for who has lost it.

Everything stands in their data directories, as pgtandem wrote it there; what only the file said is told as a remark.
"""

import shlex
from collections.abc import Sequence

from pgtandem.errors import PgtandemError
from pgtandem.model.found import Found
from pgtandem.model.names import REPLICATION_ROLE, REWIND_ROLE, STREAM_NAME, SUPERUSER
from pgtandem.model.topology import Archive, Certificates, Compression, HostAddress, Tls
from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT
from pgtandem.postgres.certificates import CERTIFICATE_FILE
from pgtandem.postgres.hba import NO_PLAIN
from pgtandem.postgres.owned import OWNED
from pgtandem.postgres.sync_names import listed_names
from pgtandem.postgres.versions import STANDBY_FLOOR
from pgtandem.postgres.wal_push import PUSH_SCRIPT
from pgtandem.topology.places import host_name

#: pgtandem writes these by itself, with these values.
_BY_ITSELF = {
    "wal_level": ("replica",),
    "wal_retrieve_retry_interval": ("500ms",),
    "password_encryption": ("scram-sha-256",),
    "wal_log_hints": ("on",),
    "ssl_min_protocol_version": ("TLSv1.2",),
    "unix_socket_directories": ("",),
    "summarize_wal": ("on",),
}
_TLS = ("ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file")

_OWN_ROLES = (REPLICATION_ROLE, REWIND_ROLE, SUPERUSER)


def known_as(servers: Sequence[Found]) -> str | None:
    """The cluster that the servers are of, by their markers; None where pgtandem made none of them.

    Raises PgtandemError PT-3004 where they are of several clusters, or two of them are the same node."""
    marked = [each for each in servers if each.marker is not None]
    by_node: dict[tuple[str, str], Found] = {}
    for each in marked:
        assert each.marker is not None
        other = by_node.setdefault((each.marker.cluster, each.marker.node), each)
        if other is not each:
            raise PgtandemError(
                "PT-3004",
                f"two servers are both node {each.marker.node} of cluster {each.marker.cluster}",
                why=f"They are in {other.data_directory} and {each.data_directory}.",
                next_step="name the servers that are to be looked at: --host local,port=N",
            )
    clusters = sorted({cluster for cluster, _ in by_node})
    if len(clusters) > 1:
        raise PgtandemError(
            "PT-3004",
            f"the servers are of several clusters that pgtandem built: {', '.join(clusters)}",
            next_step="name the servers of one cluster only: --host local,port=N",
        )
    return clusters[0] if clusters else None


def chosen_parameters(each: Found, primary: Found) -> dict[str, str]:
    """What of a node's settings file the topology file must have said: the rest pgtandem adds by itself."""
    written, senders = each.written, {str(max(20, 2 * max(len(each.peers), 1) + 2))}
    found = {}
    for name, value in written.items():
        if name.lower() in OWNED or name in _TLS or value in _BY_ITSELF.get(name, ()):
            continue
        if name in ("max_wal_senders", "max_replication_slots") and value in senders:
            continue
        if name == "max_slot_wal_keep_size" and _is_computed(value):
            continue
        if name == "listen_addresses" and _address_listened_at(each) is not None:
            continue
        if each is not primary and name in STANDBY_FLOOR and name not in primary.written:
            continue  # as the primary has it, so that it starts
        found[name] = value
    return found


def _is_computed(value: str) -> bool:
    """Whether it may be the limit that pgtandem computes from the disk: a power of two in megabytes."""
    number = value.removesuffix("MB")
    return number != value and number.isdigit() and int(number).bit_count() == 1


def _address_listened_at(each: Found) -> str | None:
    """The node's address, by what its server listens at; None where somebody has chosen something else."""
    shown = each.written.get("listen_addresses", "")
    if each.host.is_local:
        address = shown
    else:
        first, comma, address = shown.partition(",")
        if first != "localhost" or not comma:
            return None
    known = {peer for peer, _ in each.peers}
    return address if address in known else None


def own_address(each: Found) -> str | None:
    """What the other nodes connect to, as the files say; None where they do not tell."""
    at_port = [address for address, port in each.peers if port == each.port]
    listened = _address_listened_at(each)
    for address in (listened, host_name(each.host), each.host_name):
        if address in at_port:
            return address
    return at_port[0] if len(at_port) == 1 else listened


def in_order(servers: Sequence[Found], primary: Found) -> list[Found]:
    """The servers in the order of the file, which all nodes have in their password files."""

    def position(each: Found) -> int:
        place = (own_address(each), each.port)
        return primary.peers.index(place) if place in primary.peers else len(primary.peers)

    return sorted(servers, key=position)


def missing_nodes(servers: Sequence[Found], primary: Found) -> list[str]:
    """The nodes that the primary knows and nobody named."""
    there = {(own_address(each), each.port) for each in servers}
    return [f"{address} port {port}" for address, port in primary.peers if (address, port) not in there]


def own_archive(servers: Sequence[Found], primary: Found) -> tuple[Archive | None, HostAddress | None]:
    """The archive by the commands that pgtandem wrote: or, where it is on a host of its own whose folder no node
    knows, that host."""
    commands = {id(each): _words(each) for each in servers}
    here = [each for each in servers if ARCHIVE_SCRIPT in commands[id(each)]]
    pushing = [each for each in servers if PUSH_SCRIPT in commands[id(each)]]
    options = commands[id(primary)]
    form = options[2 if primary in pushing else 3 : options.index("&&")] if "&&" in options else []
    compression, level = Compression.NONE, 1
    if len(form) == 2 and form[1].isdigit() and form[0] in {each.value for each in Compression}:
        compression, level = Compression(form[0]), int(form[1])
    streamed = STREAM_NAME in primary.server.slots
    confirms = STREAM_NAME in listed_names(primary.value("synchronous_standby_names"))

    def archive(directory: str, host: HostAddress | None) -> Archive:
        return Archive(directory, host, compression, level, streamed, streamed and confirms)

    if here:
        hosts = {each.host for each in servers}
        own = not pushing and len(hosts) > 1
        return archive(commands[id(here[0])][2], None if own else here[0].host), None
    if not pushing:
        return None, None
    if primary.wal_host is None or not primary.wal_folder:
        return None, primary.wal_host
    return archive(primary.wal_folder, primary.wal_host), None


def _words(each: Found) -> list[str]:
    """The words of the archive_command after "set --"; nothing where it is none of pgtandem's."""
    try:
        words = [word.replace("%%", "%") for word in shlex.split(each.written.get("archive_command", ""))]
    except ValueError:
        return []
    ours = words[:2] == ["set", "--"] and {ARCHIVE_SCRIPT, PUSH_SCRIPT} & {word.rstrip(";") for word in words}
    return [word.rstrip(";") for word in words[2:]] if ours else []


def own_tls(primary: Found) -> tuple[Tls | None, list[str]]:
    """TLS with certificates that pgtandem made; with somebody else's, what is to be written."""
    if primary.written.get("ssl") != "on":
        return None, []
    required = NO_PLAIN.render() in (primary.hba_block or "")
    if primary.written.get("ssl_cert_file") == CERTIFICATE_FILE:
        return Tls(Certificates.MANAGED, required), [
            "the key of the CA was in .pgtandem/secrets.json; without it, pgtandem makes a new CA, which clients must "
            "then trust"
        ]
    return None, [
        'the servers use certificates of your own: write [tls] with certificates = "own", ca, and each node\'s '
        "certificate and certificate_key again before the next plan, or TLS is switched off"
    ]


def own_records(primary: Found) -> tuple[str, ...]:
    """The records of [pg_hba]: what stands in pgtandem's block behind the records that it makes by itself."""
    lines = (primary.hba_block or "").splitlines()
    while lines and _by_itself(lines[0]):
        del lines[0]
    return tuple(lines)


def _by_itself(line: str) -> bool:
    words = line.split()
    if line in (NO_PLAIN.render(),) or words[:5] == ["hostnossl", "replication", "all", "all", "reject"]:
        return True
    databases = {REPLICATION_ROLE: "replication", REWIND_ROLE: "postgres", SUPERUSER: "postgres"}
    return len(words) == 5 and words[0] in ("host", "hostssl", "hostnossl") and databases.get(words[2]) == words[1]


#: What no server tells.
FORGOTTEN = (
    "pgtandem built these servers, and this is written from what they say; zone of nodes, max_copy_rate, how long "
    "backups are kept ([backup] keep, keep_for, full_every) and [pgbouncers] only the lost file said: write them again"
)
