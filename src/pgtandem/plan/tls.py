"""Who may demand TLS by now. All of it follows from what is seen, so that a run which was cut off goes on where it was.

Switching TLS on must never cut a standby off, so each node goes on only when the others are ready for it:
first every server gets its certificate and speaks TLS; then each standby demands "verify-full" of its upstream, once
that shows a good certificate; then connections without TLS are refused, once every standby demands TLS itself.
Switching it off goes the other way: a server goes on speaking TLS as long as anybody demands it.
The same with a new CA: a certificate that it signed is only put in place when every node trusts it.
"""

from typing import TYPE_CHECKING

from pgtandem.model.facts import Absent, Known, value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Certificate, ObservedNode
from pgtandem.model.topology import Certificates, Node, Topology
from pgtandem.postgres.certificates import (
    CERTIFICATE_FILE,
    KEY_FILE,
    ROOT_FILE,
    VERIFY,
    covers,
    has_certificates,
    is_address,
)
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.hba import NO_PLAIN
from pgtandem.postgres.versions import has_standby_signal

if TYPE_CHECKING:
    from pgtandem.plan.desired import Wish

_SETTINGS = ("ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file")

#: libpq compares an IP address with the IP addresses of a certificate from this version on, before with its DNS names.
_KNOWS_ADDRESSES = 15


def managed(topology: Topology) -> bool:
    return topology.tls is not None and topology.tls.certificates is Certificates.MANAGED


def certificate_names(topology: Topology, node: Node) -> tuple[str, ...]:
    """What a certificate that pgtandem makes for a node is for; a name "dns:10.0.0.1" is an address as a DNS name."""
    names = [node.address, node.name]
    if is_address(node.address) and topology.postgresql < _KNOWS_ADDRESSES:
        names.append(f"dns:{node.address}")
    if node.host.is_local:
        names += ["localhost", "127.0.0.1"]
    return tuple(dict.fromkeys(names))


def is_good(wish: "Wish", name: NodeName, certificate: Certificate | None) -> bool:
    """Whether others who demand "verify-full" of a node take this certificate."""
    return (
        certificate is not None
        and certificate.ours
        and covers(certificate.names or (certificate.name,), wish.node(name).address)
        and certificate.valid_from <= wish.observed.now < certificate.valid_until
    )


def speaks_tls(wish: "Wish", name: NodeName) -> bool:
    """Whether a node shows a good certificate, or will as soon as it runs."""
    seen = wish.seen(name)
    if isinstance(seen.data, Absent):
        return True
    tls = value_or_none(seen.tls)
    if tls is None:
        return False
    if seen.running is not None:
        return is_good(wish, name, value_or_none(tls.served))
    return _written(seen).get("ssl") == "on" and is_good(wish, name, value_or_none(tls.certificate))


def _written(node: ObservedNode) -> dict[str, str]:
    text = node.directory.files.get(SETTINGS_FILE) if node.directory else None
    return parse_settings(text) if text else {}


def _conninfos(wish: "Wish", name: NodeName) -> list[str]:
    """How a node connects to its upstream: by its files, and by what its server has loaded."""
    seen = wish.seen(name)
    if has_standby_signal(wish.topology.postgresql):
        found = [_written(seen).get("primary_conninfo", "")]
    else:
        recovery = seen.directory.files.get(RECOVERY_FILE) if seen.directory else None
        found = [parse_settings(recovery or "").get("primary_conninfo", "")]
    if seen.running and "primary_conninfo" in seen.running.settings:
        found.append(seen.running.settings["primary_conninfo"].value)
    return found


def _verifies(conninfo: str) -> bool:
    try:
        return parse_conninfo(conninfo).get("sslmode") == VERIFY
    except ValueError:
        return False


def demands_tls(wish: "Wish", name: NodeName) -> bool:
    """Whether it may be that a node takes nothing but TLS from its upstream."""
    return any(map(_verifies, _conninfos(wish, name)))


def _settled(wish: "Wish", name: NodeName) -> bool:
    """Whether it is certain that a node uses TLS towards its upstream."""
    return all(map(_verifies, _conninfos(wish, name)))


def trusts(wish: "Wish", name: NodeName) -> bool:
    """Whether a node has the cluster's CA."""
    seen, authority = wish.seen(name), value_or_none(wish.observed.authority)
    if isinstance(seen.data, Absent):
        return True
    tls = value_or_none(seen.tls)
    return tls is not None and authority is not None and has_certificates(tls.trust, authority.text)


def trusted_by_all(wish: "Wish") -> bool:
    """Whether a certificate of the cluster's CA can be put in place: everybody has that, or nobody checks yet."""
    names = wish.topology.names
    return all(trusts(wish, name) for name in names) or not any(demands_tls(wish, name) for name in names)


def verifies_upstream(wish: "Wish", name: NodeName) -> bool:
    """Whether a standby is to demand "verify-full" of its upstream now."""
    upstream = wish.upstream(name)
    if wish.topology.tls is None or upstream is None:
        return False
    return (speaks_tls(wish, upstream) and trusts(wish, name)) or demands_tls(wish, name)


def refuses_plain(wish: "Wish", name: NodeName) -> bool:
    """Whether a node is to refuse connections over TCP without TLS now."""
    tls, data = wish.topology.tls, wish.seen(name).directory
    if tls is None or not tls.required:
        return False
    if data is not None and NO_PLAIN.render() in (data.hba_block or ""):
        return True
    standbys = [other for other in wish.topology.names if wish.upstream(other) is not None]
    return speaks_tls(wish, name) and all(
        isinstance(wish.seen(other).data, Absent) or _settled(wish, other) for other in standbys
    )


def tls_settings(wish: "Wish", name: NodeName) -> dict[str, str]:
    """The settings of TLS that a node is to have now."""
    node, in_place = wish.node(name), _written(wish.seen(name))
    kept = {key: in_place[key] for key in _SETTINGS if key in in_place}
    if wish.topology.tls is None:
        others = [other for other in wish.topology.names if other != name]
        return kept if in_place.get("ssl") == "on" and any(demands_tls(wish, other) for other in others) else {}
    settings = {
        "ssl": "on",
        "ssl_cert_file": node.certificate or CERTIFICATE_FILE,
        "ssl_key_file": node.certificate_key or KEY_FILE,
        "ssl_ca_file": ROOT_FILE,
    }
    return settings if trusted_by_all(wish) or not kept.get("ssl_cert_file") else kept


def uses_own_files(wish: "Wish", name: NodeName) -> bool:
    """Whether a node's server is to use, or uses, the certificate in its data directory."""
    wanted, in_place = tls_settings(wish, name), _written(wish.seen(name))
    return CERTIFICATE_FILE in (wanted.get("ssl_cert_file"), in_place.get("ssl_cert_file"))


def under_way(wish: "Wish") -> bool:
    """Whether the nodes are still on their way to what the topology says of TLS."""
    tls, names = wish.topology.tls, wish.topology.names
    if tls is None:
        return any(tls_settings(wish, name) for name in names)
    standbys = [name for name in names if wish.upstream(name) is not None]
    return not all(verifies_upstream(wish, name) for name in standbys) or (
        tls.required and not all(refuses_plain(wish, name) for name in names)
    )


def is_loaded(node: ObservedNode) -> bool:
    """Whether a running server is seen to have TLS switched on."""
    server = node.running
    return server is not None and "ssl" in server.settings and server.settings["ssl"].value == "on"


def known_certificate(wish: "Wish", name: NodeName) -> Certificate | None:
    """The certificate in the file that a node's server is to use."""
    tls = value_or_none(wish.seen(name).tls)
    if tls is None or not isinstance(tls.certificate, Known):
        return None
    return tls.certificate.value
