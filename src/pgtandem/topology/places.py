"""Hosts, addresses and directories as the file says them."""

import ipaddress
import posixpath
import re

from pgtandem.model.topology import HostAddress
from pgtandem.topology.table import Table, has_control_characters
from pgtandem.topology.toml import describe

_SSH = re.compile(r"ssh://(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*")


def read_host(table: Table) -> HostAddress:
    """The key `host` of a node or of the archive."""
    host = HostAddress(table.text("host") or "local")
    if host.is_local or not table.sound("host"):
        return host
    found = _SSH.fullmatch(host.url)
    if not found or (found[3] and not 1 <= int(found[3]) <= 65535):
        what = f"{describe(host.url)} is not a host"
        table.report("host", what, 'A host is "local" or "ssh://[user@]address[:port]".', 'host = "local"')
    return host


def read_address(table: Table, host: HostAddress) -> str:
    """The key `address` of a node: an IP address or a host name that others can connect to.

    Without it the loopback address for a node on this machine, and what the URL names for one over SSH.
    """
    address = table.text("address") or host_name(host) or "127.0.0.1"
    if not table.sound("address"):
        return address
    try:
        if ipaddress.ip_address(address).is_unspecified:
            what = f"{describe(address)} is not an address that another node could connect to"
            listen = 'what the server listens on is the setting "listen_addresses" under [parameters]'
            table.report("address", what, "Each node connects to the others at their address.", listen)
    except ValueError:
        name = address.removesuffix(".")
        if not _HOST_NAME.fullmatch(name) or len(name) > 253 or name.rpartition(".")[2].isdigit():
            table.report("address", f"{describe(address)} is not an IP address or a host name")
    return address


def host_name(host: HostAddress) -> str:
    """The address in an SSH URL, without brackets; "" for this machine and for what is no URL."""
    found = _SSH.fullmatch(host.url)
    return found[2].strip("[]") if found else ""


def ssh_port(host: HostAddress) -> int:
    """The port in an SSH URL, and SSH's own where it names none."""
    found = _SSH.fullmatch(host.url)
    return int(found[3]) if found and found[3] else 22


def read_directory(table: Table, name: str, folder: str, default: str, host: HostAddress) -> str:
    """A directory, absolute and in its shortest form; a relative one begins at `folder`, which is on this machine."""
    text = table.text(name) or default
    if not table.sound(name):
        return default
    directory = absolute(text, folder)
    if text.startswith("~"):
        table.report(
            name,
            f"{describe(text)} begins with ~, which only a shell replaces",
            next_step="write the whole path",
        )
    elif not host.is_local and not text.startswith("/"):
        what = f"{describe(text)} is not an absolute path"
        table.report(name, what, "The topology file's folder is not on that host.", "write the whole path")
    elif directory == "/":
        table.report(name, f"{describe(text)} is the root directory", next_step="name a directory of its own")
    elif host.is_local and has_control_characters(folder):
        table.report(name, f"the folder of the topology file, {describe(folder)}, has a control character")
    elif name in ("data_directory", "wal_directory") and (found := next((c for c in '"$`\\' if c in directory), None)):
        why = "pg_ctl starts the server through a shell and does not quote that character."
        table.report(name, f"{describe(directory)} has a {found} in it", why, "name another directory")
    return directory


def absolute(path: str, folder: str) -> str:
    """`path` from `folder`, in its shortest form: no "." or "..", one slash at the beginning."""
    joined = posixpath.normpath(posixpath.join(folder, path))
    return "/" + joined.lstrip("/") if joined.startswith("//") else joined


def is_below(inner: str, outer: str) -> bool:
    """Whether a directory is inside another one. Both in their shortest form; nothing is below itself."""
    return inner.startswith(outer if outer.endswith("/") else outer + "/") and inner != outer
