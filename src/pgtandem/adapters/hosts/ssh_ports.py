"""Who listens on a port of a host, read from the kernel's table and from what `ss` says there. Pure."""

import ipaddress
import re

from pgtandem.adapters.hosts.sockets import listening_inodes

_ANY = ("", "*")


def literal_places(address: str) -> list[str] | None:
    """The addresses that a text names without resolving; None for a name."""
    if address in _ANY:
        return ["0.0.0.0"]
    try:
        return [str(ipaddress.ip_address(address.partition("%")[0]))]
    except ValueError:
        return None


def resolved_places(said: str) -> list[str]:
    """The addresses in the output of `getent ahosts`."""
    words = (line.split()[0].partition("%")[0] for line in said.splitlines() if line.strip())
    return list(dict.fromkeys(words))


def holder(said: str, places: list[str], port: int) -> str | None:
    """In words who has the port at one of the places; `said` is the kernel's table, a byte 036 and the lines of ss.

    ss names programs of the account alone: others' are "another program".
    """
    table, _, listed = said.partition("\036\n")
    if not any(listening_inodes(table, place, port) for place in places):
        return None
    for line in listed.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3].rpartition(":")[2] == str(port):
            found = re.search(r'users:\(\("(.*?)",pid=(\d+)', line)
            if found:
                return f'program "{found[1]}" (process {found[2]})'
    return "another program"
