"""The table [tls], and the nodes' own certificates."""

from collections.abc import Iterable, Mapping

from pgtandem.model.topology import Certificates, Node, Tls
from pgtandem.topology.places import absolute
from pgtandem.topology.problems import Problems
from pgtandem.topology.table import Table
from pgtandem.topology.toml import describe

#: What follows from the table, so that no parameter may say it too.
SETTINGS = ("ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file")


def read_tls(table: Table, folder: str) -> Tls:
    certificates = Certificates(table.text("certificates"))
    ca = table.text("ca")
    if table.sound("certificates") and table.sound("ca"):
        if certificates is Certificates.OWN and ca is None:
            what = 'the key "ca" is missing'
            why = "Nodes and clients trust nobody but this CA; with its file they check the certificates of the nodes."
            table.report("ca", what, why, 'for example ca = "/etc/ssl/certs/shop-ca.crt"')
        elif certificates is Certificates.MANAGED and ca is not None:
            why = "pgtandem makes the CA itself."
            table.report(
                "ca", "a CA is named for managed certificates", why, 'certificates = "own", or remove the line'
            )
    return Tls(certificates, table.flag("required"), None if ca is None else absolute(ca, folder))


def read_file(table: Table, name: str) -> str | None:
    """A file on the node's host: an absolute path, None where none is named."""
    path = table.text(name)
    if path is None or not table.sound(name):
        return None
    if not path.startswith("/"):
        table.report(name, f"{describe(path)} is not an absolute path", "It is a file on the node's host.")
    return absolute(path, "/")


def check_tls(
    problems: Problems,
    tls: Tls | None,
    nodes: Iterable[Node],
    settings: Mapping[tuple[str, ...], Mapping[str, object]],
) -> None:
    """Each node has a certificate and a key where they are one's own, and none where they are not; and no parameter
    says what [tls] decides. `settings` are the tables of parameters by their place."""
    own = tls is not None and tls.certificates is Certificates.OWN and not problems.has("tls", "certificates")
    for node in nodes:
        for name, value in (("certificate", node.certificate), ("certificate_key", node.certificate_key)):
            path = ("nodes", node.name, name)
            if problems.has(*path):
                continue
            if own and value is None:
                why = "With certificates of your own every node needs one."
                problems.add(path, f'the key "{name}" is missing', why, f'for example {name} = "/etc/ssl/{node.name}"')
            elif value is not None and not own:
                hint = 'write certificates = "own" under [tls], or remove the line'
                problems.add(path, "a certificate of your own is named, and [tls] does not say so", "", hint)
    if tls is None:
        return
    for place, values in settings.items():
        for name in values:
            if name.lower() in SETTINGS:
                what = f'the setting "{name}" is decided by [tls]'
                problems.add((*place, name), what, "", "remove this line, or the table [tls]")
