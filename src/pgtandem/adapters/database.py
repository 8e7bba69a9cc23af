"""Connections to real servers over psycopg 3: the port Database.

Nothing of the user's own libpq set-up reaches these connections: while one is made, no PG* variable is in the
environment (parameters could override most of them, but not PGTZ, PGDATESTYLE and PGGEQO, and PGSERVICE or
PGOPTIONS add to what is given), and the passfile is one that cannot exist.
psycopg is imported when the first connection is made, or a moment after `load_driver_soon`: it takes longer than all
the rest of a command's start.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pgtandem.adapters.session import PsycopgSession, why_of
from pgtandem.ports.database import Access, DatabaseRefused, DatabaseUnreachable
from pgtandem.postgres.versions import OLDEST

_IDLE_SECONDS = 0.06  # long enough for a command to have begun what it waits for, or to have connected
_CALL_DEADLINE_SECONDS = 35.0  # above the session's statement_timeout: who is merely slow gets to say so


class PsycopgDatabase:
    """Opens sessions. A call that gets no answer within `call_deadline_seconds` ends its session."""

    def __init__(self, call_deadline_seconds: float = _CALL_DEADLINE_SECONDS) -> None:
        self._call_deadline_seconds = call_deadline_seconds

    async def connect(self, access: Access, *, deadline_seconds: float = 5) -> PsycopgSession:
        import psycopg

        node = f"node {access.node}"
        try:
            async with asyncio.timeout(deadline_seconds):
                with _hidden_variables():
                    connection = await psycopg.AsyncConnection.connect(
                        **_arguments(access, deadline_seconds), autocommit=True, prepare_threshold=None
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
    return {
        "host": access.address,
        "port": access.port,
        "user": access.user,
        "password": access.password.reveal() if access.password else None,
        "dbname": "postgres",
        "application_name": "pgtandem",
        "client_encoding": "UTF8",
        "connect_timeout": max(2, round(deadline_seconds)),
        # Not /dev/null itself, of which libpq complains on stderr that it is no plain file.
        "passfile": "/dev/null/none",
        "sslmode": "prefer",
        "gssencmode": "disable",
        "target_session_attrs": "any",
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


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
