"""Connections to real servers over psycopg 3: the port Database.

Nothing of the user's own libpq set-up reaches these connections: while one is made, no PG* variable is in the
environment (parameters could override most of them, but not PGTZ, PGDATESTYLE and PGGEQO, and PGSERVICE or
PGOPTIONS add to what is given), and the passfile is one that cannot exist.
psycopg is imported when the first connection is made, or a moment after `load_driver_soon`: it takes longer than all
the rest of a command's start. Programs that were begun side by side with that connection run meanwhile.
"""

import asyncio
import os
import socket
import ssl
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pgtandem.adapters.console import PgbouncerSession
from pgtandem.adapters.session import PsycopgSession, why_of
from pgtandem.model.names import NodeName
from pgtandem.ports.database import Access, DatabaseRefused, DatabaseUnreachable, Encryption
from pgtandem.ports.pgbouncer import ConsoleAccess
from pgtandem.postgres.pgbouncer import CONSOLE
from pgtandem.postgres.versions import OLDEST

_BEGIN_SECONDS = 0.004  # for whoever looks at the same time to begin the programs that it waits for
_IDLE_SECONDS = 0.06  # long enough for a command to have begun what it waits for, or to have connected
_CALL_DEADLINE_SECONDS = 35.0  # above the session's statement_timeout: who is merely slow gets to say so


class PsycopgDatabase:
    """Opens sessions. A call that gets no answer within `call_deadline_seconds` ends its session."""

    def __init__(self, call_deadline_seconds: float = _CALL_DEADLINE_SECONDS) -> None:
        self._call_deadline_seconds = call_deadline_seconds

    async def connect(self, access: Access, *, deadline_seconds: float = 5) -> PsycopgSession:
        """Tries the ways of `access.encryption` one after the other, the safest first."""
        trouble: DatabaseUnreachable | None = None
        for way in _ways(access):
            if way is _PLAIN and trouble is not None and _NO_TLS not in trouble.why:
                break
            try:
                return await self._connect(access, way, deadline_seconds)
            except DatabaseUnreachable as unreachable:
                trouble = trouble or unreachable
                if not _is_about_tls(unreachable.why):
                    break
        assert trouble is not None
        raise trouble

    async def served_certificate(
        self, node: NodeName, address: str, port: int, *, deadline_seconds: float = 5
    ) -> bytes | None:
        try:
            async with asyncio.timeout(deadline_seconds):
                return await asyncio.to_thread(_served_certificate, address, port, deadline_seconds)
        except TimeoutError:
            why = f"It did not answer within {deadline_seconds:g} seconds."
        except ssl.SSLError as error:
            why = f"TLS failed: {error.reason}."
        except OSError as error:
            why = f"{error.strerror or error}."
        raise DatabaseUnreachable(f"node {node}", why)

    async def console(self, access: ConsoleAccess, *, deadline_seconds: float = 5) -> PgbouncerSession:
        await _others_begin()
        import psycopg

        title = f"PgBouncer {access.name}"
        words: dict[str, Any] = {
            **_endpoint(access.address, access.port, deadline_seconds),
            "user": access.user,
            "password": access.password.reveal() if access.password else None,
            "dbname": CONSOLE,
            "sslmode": "prefer",
            "sslrootcert": "/dev/null/none",
        }
        if psycopg.pq.version() >= 160000:
            # The password itself is never sent.
            words["require_auth"] = "scram-sha-256,md5,none"
        try:
            async with asyncio.timeout(deadline_seconds):
                with _hidden_variables():
                    connection = await psycopg.AsyncConnection.connect(**words, autocommit=True, prepare_threshold=None)
                return PgbouncerSession(title, connection)
        except TimeoutError:
            raise DatabaseUnreachable(title, f"It did not answer within {deadline_seconds:g} seconds.") from None
        except psycopg.Error as error:
            raise DatabaseUnreachable(title, why_of(error, access.password)) from None

    async def _connect(self, access: Access, way: Mapping[str, str], deadline_seconds: float) -> PsycopgSession:
        await _others_begin()
        import psycopg

        node = f"node {access.node}"
        try:
            async with asyncio.timeout(deadline_seconds):
                with _hidden_variables():
                    connection = await psycopg.AsyncConnection.connect(
                        **{**_arguments(access, deadline_seconds), **way}, autocommit=True, prepare_threshold=None
                    )
                session = PsycopgSession(node, connection, self._call_deadline_seconds)
                try:
                    if connection.info.server_version < OLDEST * 10000:
                        why = f"It runs a PostgreSQL that is older than {OLDEST}."
                        raise DatabaseRefused(node, "open a session", why)
                    await session.prepare()
                except BaseException:
                    await session.close()
                    raise
                return session
        except TimeoutError:
            raise DatabaseUnreachable(node, f"It did not answer within {deadline_seconds:g} seconds.") from None
        except psycopg.OperationalError as error:
            raise DatabaseUnreachable(node, why_of(error, access.password)) from None
        except psycopg.Error as error:
            raise DatabaseRefused(node, "open a session", why_of(error, access.password)) from None


async def _others_begin() -> None:
    """Only where the driver is still to be imported, which lets nobody else go on."""
    if "psycopg" not in sys.modules:
        await asyncio.sleep(_BEGIN_SECONDS)


def load_driver_soon() -> None:
    """Imports the driver in a moment, when a command that does not connect at once waits for something else (initdb).

    In the running loop and not in a thread: a thread could find the process acting as an account that cannot read
    this environment.
    """
    asyncio.get_running_loop().call_later(_IDLE_SECONDS, _load_driver)


def _load_driver() -> None:
    with suppress(ImportError):  # the connection will tell
        import psycopg  # noqa: F401


def _arguments(access: Access, deadline_seconds: float) -> dict[str, Any]:
    """libpq's parameters (manual, 34.1.2)."""
    # libpq connects to hostaddr and checks the certificate for host.
    name = "" if access.address.startswith("/") or access.name == access.address else access.name
    return {
        **_endpoint(access.address, access.port, deadline_seconds),
        **({"host": name, "hostaddr": access.address} if name else {}),
        "user": access.user,
        "password": access.password.reveal() if access.password else None,
        "dbname": access.database,
        "client_encoding": "UTF8",
    }


def _endpoint(address: str, port: int, deadline_seconds: float) -> dict[str, Any]:
    """What servers and PgBouncers have in common."""
    return {
        "host": address,
        "port": port,
        "application_name": "pgtandem",
        "connect_timeout": max(2, round(deadline_seconds)),
        # Not /dev/null itself, of which libpq complains on stderr that it is no plain file.
        "passfile": "/dev/null/none",
        "gssencmode": "disable",
        "target_session_attrs": "any",
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


_PLAIN = {"sslmode": "disable"}
#: What libpq says where the server has no TLS at all.
_NO_TLS = "server does not support SSL"


def _ways(access: Access) -> list[dict[str, str]]:
    """Parameters of libpq for each way to connect, in the order in which they are tried (manual, 34.19)."""
    # A socket in a folder is one end of a tunnel to the host itself: libpq has no TLS for it, nor is there need.
    if access.encryption is Encryption.ANY or access.address.startswith("/"):
        return [{"sslmode": "prefer", "sslrootcert": "/dev/null/none"}]
    ways = [{"sslmode": "require", "channel_binding": "require", "sslrootcert": "/dev/null/none"}]
    if access.root_certificate:
        ways.insert(0, {"sslmode": "verify-full", "sslrootcert": access.root_certificate})
    if access.encryption is Encryption.PREFERRED:
        ways.append(_PLAIN)
    return ways


def _is_about_tls(why: str) -> bool:
    """Whether it was TLS that failed, and not the network, the password or the server itself."""
    return any(word in why for word in ("SSL", "ertificate", "channel binding"))


_SSL_REQUEST = struct.pack("!II", 8, 80877103)


def _served_certificate(address: str, port: int, seconds: float) -> bytes | None:
    """By a TLS handshake as libpq begins it (manual, 53.2.11), which ends there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with _line_to(address, port, seconds) as line:
        line.sendall(_SSL_REQUEST)
        if line.recv(1) != b"S":
            return None
        with context.wrap_socket(line, server_hostname=address) as secured:
            certificate = secured.getpeercert(binary_form=True)
            # A goodbye that the server has seen: without it, its log would have a line per look.
            with suppress(OSError):
                secured.unwrap()
            return certificate


def _line_to(address: str, port: int, seconds: float) -> socket.socket:
    if not address.startswith("/"):
        return socket.create_connection((address, port), seconds)
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(seconds)
        line.connect(f"{address}/.s.PGSQL.{port}")
    except BaseException:
        line.close()
        raise
    return line


_hidden: dict[str, str] = {}
_hiding = 0


@contextmanager
def _hidden_variables() -> Iterator[None]:
    """Takes every PG* variable out of the environment, as long as any connection is being made."""
    global _hiding
    if not _hiding:
        _hidden.update({name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")})
    _hiding += 1
    try:
        yield
    finally:
        _hiding -= 1
        if not _hiding:
            os.environ.update(_hidden)
            _hidden.clear()
