"""Who listens on a TCP port of this machine."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import sys

#: How long a program may take to accept a connection.
CONNECT_SECONDS = 0.5

_ANY = ("0.0.0.0", "::")
_LISTEN = "0A"


async def find_port_holder(address: str, port: int) -> str | None:
    """In words who has the port, None when a server could have it. Raises OSError for an unknown address."""
    loop = asyncio.get_running_loop()
    host = None if address in ("", "*") else address
    flags = socket.AI_PASSIVE if host is None else 0
    resolved = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    for family, _, _, _, place in resolved:
        if await _accepts(family, place) or _bind_fails(family, place):
            return _holder(str(place[0]).partition("%")[0], port) or "another program"
    return None


def listening_inodes(table: str, address: str, port: int) -> set[str]:
    """The socket inodes of /proc/net/tcp or tcp6 that listen on a port, there or on every address."""
    found: set[str] = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        place, _, number = fields[1].partition(":")
        if int(number, 16) == port and (address in _ANY or _decoded(place) in (address, *_ANY)):
            found.add(fields[9])
    return found


async def _accepts(family: int, place: tuple[object, ...]) -> bool:
    loop = asyncio.get_running_loop()
    host, port = str(place[0]), place[1]
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(client, (target, port, *place[2:]))
            # A port of the ephemeral range can be connected to itself: then nobody listens.
            own, other = client.getsockname(), client.getpeername()
            return bool(own != other)
        except (OSError, TimeoutError):
            return False


def _bind_fails(family: int, place: tuple[object, ...]) -> bool:
    """Whether the port is taken although nobody accepts; bound as PostgreSQL does it."""
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            server.bind(place)
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _holder(address: str, port: int) -> str | None:
    """The program by name and process id, where /proc says so and we may read it."""
    if sys.platform != "linux":
        return None
    wanted: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as file:
            wanted |= {f"socket:[{inode}]" for inode in listening_inodes(file.read(), address, port)}
    if not wanted:
        return None
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{descriptor}") in wanted:
                        with open(f"/proc/{pid}/comm", errors="replace") as file:
                            return f'program "{file.read().strip()}" (process {pid})'
    return None


def _decoded(place: str) -> str:
    """An address of /proc/net/tcp: words of four bytes, each in the machine's own order."""
    words = [place[start : start + 8] for start in range(0, len(place), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(packed)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
