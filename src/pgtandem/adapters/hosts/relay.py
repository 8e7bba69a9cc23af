"""Sockets that root may use to reach a server's Unix socket as the account: peer authentication looks at who connects.

Each relay is a socket in a folder of root's alone. Whatever comes in there is carried to the server by a connection
that was made with the account's own rights.
"""

import asyncio
import os
import shutil
import socket
import tempfile
from contextlib import suppress

from pgtandem.adapters.hosts.account import Account, acting_as

_CHUNK = 65536


class Relays:
    """The relays of one command; they live in its event loop."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._servers: dict[tuple[str, int], tuple[str, asyncio.Server]] = {}

    async def folder(self, account: Account, directory: str, port: int) -> str:
        """The folder of the socket that leads to that of a server in `directory`, named as libpq expects it."""
        there = self._servers.get((directory, port))
        if there is not None and there[1].is_serving():
            return there[0]
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="pgtandem-")
        own = os.path.join(self._folder, str(len(self._servers)))
        os.makedirs(own, 0o700, exist_ok=True)
        name = f".s.PGSQL.{port}"

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _carry(account, os.path.join(directory, name), reader, writer)

        path = os.path.join(own, name)
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._servers[directory, port] = own, await asyncio.start_unix_server(carry, path)
        return own

    async def close(self) -> None:
        for _, server in self._servers.values():
            server.close()
        self._servers.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


async def _carry(account: Account, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both directions, until either end closes. A server that is not there looks to the client as one that hangs up."""
    line = socket.socket(socket.AF_UNIX)
    try:
        with acting_as(account):
            line.connect(path)  # returns at once: to be accepted is not waited for
    except OSError:
        line.close()
        writer.close()
        return
    back, forth = await asyncio.open_unix_connection(sock=line)
    ways = {asyncio.create_task(_pump(reader, forth)), asyncio.create_task(_pump(back, writer))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        for end in (forth, writer):
            end.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
