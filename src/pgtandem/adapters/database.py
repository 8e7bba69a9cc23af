"""PostgreSQL over psycopg 3: the ports Database and Session on real servers.

Nothing of the user's own libpq set-up reaches these connections: while one is made, no PG* variable is in the
environment (parameters could override most of them, but not PGTZ, PGDATESTYLE and PGGEQO, and PGSERVICE or
PGOPTIONS add to what is given), and the passfile is one that cannot exist.
psycopg is imported when the first connection is made: it takes longer than all the rest of a command's start.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import Secret, SlotName
from pgtandem.model.observed import Server
from pgtandem.ports.database import Access, DatabaseRefused, DatabaseUnreachable
from pgtandem.postgres import queries, scram
from pgtandem.postgres.server_document import parse_server

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Error

    Connection = AsyncConnection[tuple[Any, ...]]

_CALL_DEADLINE_SECONDS = 35.0  # above the session's statement_timeout: who is merely slow gets to say so
_DROP_SLOT_SECONDS = 10.0
_RELOAD_SECONDS = 2.0
_POLL_SECONDS = 0.02
_OBSERVE_ATTEMPTS = 3


class PsycopgDatabase:
    """Opens sessions. A call that gets no answer within `call_deadline_seconds` ends its session."""

    def __init__(self, call_deadline_seconds: float = _CALL_DEADLINE_SECONDS) -> None:
        self._call_deadline_seconds = call_deadline_seconds

    async def connect(self, access: Access, *, deadline_seconds: float = 5) -> "PsycopgSession":
        import psycopg

        node = f"node {access.node}"
        try:
            async with asyncio.timeout(deadline_seconds):
                with _hidden_variables():
                    connection = await psycopg.AsyncConnection.connect(
                        **_arguments(access, deadline_seconds), autocommit=True, prepare_threshold=None
                    )
                try:
                    await connection.execute(queries.prepare_session())
                except BaseException:
                    await connection.close()
                    raise
        except TimeoutError:
            raise DatabaseUnreachable(node, f"It did not answer within {deadline_seconds:g} seconds.") from None
        except psycopg.OperationalError as error:
            raise DatabaseUnreachable(node, _why(error, access.password)) from None
        except psycopg.Error as error:
            raise DatabaseRefused(node, "open a session", _why(error, access.password)) from None
        return PsycopgSession(node, connection, self._call_deadline_seconds)


class PsycopgSession:
    """One connection; see the port Session."""

    def __init__(self, node: str, connection: "Connection", deadline_seconds: float) -> None:
        self._node = node
        self._connection = connection
        self._major = connection.info.server_version // 10000
        self._deadline_seconds = deadline_seconds

    async def observe(self, replication_password: Secret | None) -> Server:
        from psycopg.errors import InternalError_, ObjectNotInPrerequisiteState

        query = queries.observe(self._major)
        async with self._asking("be observed") as connection:
            for attempt in range(_OBSERVE_ATTEMPTS):
                try:
                    settings, document = await _documents(connection, query)
                    break
                except (ObjectNotInPrerequisiteState, InternalError_):
                    # Promoted between two parts of the question, or the control file was read half written.
                    if attempt + 1 == _OBSERVE_ATTEMPTS:
                        raise
                    await connection.rollback()
            token = await _proof(connection) if document["has_proof"] else None
        return parse_server(settings, document, replication_password, token)

    async def put_replication_role(self, name: str, verifier: str) -> None:
        from psycopg import sql

        if not scram.is_verifier(verifier):
            # The server would take it for the password itself.
            raise ValueError("not a SCRAM-SHA-256 verifier")
        words = {"role": sql.Identifier(name), "verifier": sql.Literal(verifier)}
        async with self._asking(f"put the role {name}") as connection, connection.transaction():
            await connection.execute(queries.keep_statements_out_of_the_log(self._major))
            found = await connection.execute(queries.FIND_ROLE, (name,))
            changes = [queries.CORRECT_ROLE, queries.RESET_ROLE]
            if not found.rowcount:
                changes.insert(0, queries.CREATE_ROLE)
            for change in changes:
                await connection.execute(sql.SQL(change).format(**words))

    async def create_slot(self, name: SlotName) -> None:
        from psycopg.errors import DuplicateObject

        what = f"create the slot {name}"
        async with self._asking(what) as connection:
            found = await _row(connection, queries.find_slot(self._major), name)
            if found is not None:
                kind, active, keeps_wal = found
                if kind != "physical":
                    raise DatabaseRefused(self._node, what, f"A {kind} slot of that name is there.")
                if active or keeps_wal:
                    return
                # Never used, or lost: nobody could stream from it any more, and it keeps nothing.
                await connection.execute(queries.DROP_SLOT, (name,))
            with suppress(DuplicateObject):
                await connection.execute(queries.CREATE_SLOT, (name,))

    async def drop_slot(self, name: SlotName) -> None:
        from psycopg.errors import ObjectInUse, UndefinedObject

        what = f"drop the slot {name}"
        give_up = asyncio.get_running_loop().time() + _DROP_SLOT_SECONDS
        async with self._asking(what) as connection:
            while True:
                # Its user may be back at once, so that one round of ending and dropping need not be enough.
                await connection.execute(queries.END_SLOT_USER, (name,))
                with suppress(ObjectInUse, UndefinedObject):
                    await connection.execute(queries.DROP_SLOT, (name,))
                if await _row(connection, queries.find_slot(self._major), name) is None:
                    return
                if asyncio.get_running_loop().time() > give_up:
                    why = f"Who uses it did not let go of it within {_DROP_SLOT_SECONDS:g} seconds."
                    raise DatabaseRefused(self._node, what, why)
                await asyncio.sleep(_POLL_SECONDS)

    async def reload(self) -> None:
        """Returns when this session's own server process has read the files, or after 2 seconds: one that finds a
        mistake in them does not say so."""
        async with self._asking("reload its configuration") as connection:
            before = await _row(connection, queries.RELOAD)
            give_up = asyncio.get_running_loop().time() + _RELOAD_SECONDS
            while before and asyncio.get_running_loop().time() < give_up:
                now = await _row(connection, queries.LOAD_TIME)
                if now is None or now[0] != before[0]:
                    return
                await asyncio.sleep(_POLL_SECONDS)

    async def reset_setting(self, name: str) -> None:
        from psycopg import sql

        words = sql.Identifier(*name.split("."))
        async with self._asking(f"reset the setting {name}") as connection:
            await connection.execute(sql.SQL(queries.RESET_SETTING).format(name=words))

    async def finish_segment(self) -> tuple[str, Lsn]:
        async with self._asking("switch to a new WAL segment") as connection:
            await connection.execute(queries.WRITE_SOMETHING)
            end, timeline, segment_bytes = await _row(connection, queries.SWITCH_SEGMENT) or ("", "", 0)
        lsn = Lsn.parse(end)
        return queries.finished_segment(lsn, Timeline(int(timeline, 16)), segment_bytes), lsn

    async def archived(self) -> tuple[str | None, int]:
        async with self._asking("tell of its archiver") as connection:
            last, failed = await _row(connection, queries.ARCHIVED) or (None, 0)
        return last, failed

    async def write_proof(self, token: str) -> None:
        async with self._asking("write the proof") as connection:
            there = await _row(connection, f"SELECT {queries.HAS_PROOF}")
            async with connection.transaction():
                if there != (True,):
                    await connection.execute(queries.CREATE_PROOF)
                await connection.execute(queries.WRITE_PROOF, (token,))

    async def read_proof(self) -> str | None:
        async with self._asking("show the proof") as connection:
            there = await _row(connection, f"SELECT {queries.HAS_PROOF}")
            return await _proof(connection) if there == (True,) else None

    async def close(self) -> None:
        await self._connection.close()

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator["Connection"]:
        """The connection, for one call: its deadline, and its errors as those of the port.

        A server that hangs (a frozen host) does not end a cancelled query either, and psycopg would wait for
        that: so the deadline shuts the socket down under it, and everything that waits ends at once.
        """
        import psycopg

        connection, deadline = self._connection, self._deadline_seconds
        loop = asyncio.get_running_loop()
        over = loop.time() + deadline
        timer = loop.call_at(over, _hang_up, connection)
        try:
            yield connection
        except psycopg.Error as error:
            if loop.time() >= over:
                why = f"It did not answer within {deadline:g} seconds."
            elif connection.closed or error.sqlstate is None or error.sqlstate.startswith("57P"):
                why = _why(error)
            else:
                with suppress(psycopg.Error):
                    await connection.rollback()
                raise DatabaseRefused(self._node, what, _why(error)) from None
            await connection.close()
            raise DatabaseUnreachable(self._node, why) from None
        finally:
            timer.cancel()


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


def _hang_up(connection: "Connection") -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


async def _row(connection: "Connection", query: str, *values: object) -> tuple[Any, ...] | None:
    return await (await connection.execute(query, values or None)).fetchone()


async def _documents(connection: "Connection", query: str) -> list[Any]:
    """The JSON value of each statement that returns one.

    Bytes that are no UTF-8 (a server in SQL_ASCII stores any) become replacement characters.
    """
    cursor = await connection.execute(query)
    documents: list[Any] = []
    more: bool | None = True
    while more:
        if cursor.pgresult and cursor.pgresult.ntuples:
            documents.append(json.loads((cursor.pgresult.get_value(0, 0) or b"null").decode(errors="replace")))
        more = cursor.nextset()
    return documents


async def _proof(connection: "Connection") -> str | None:
    from psycopg.errors import UndefinedTable

    try:
        row = await _row(connection, queries.READ_PROOF)
    except UndefinedTable:
        return None
    return row[0] if row else None


def _why(error: "Error", password: Secret | None = None) -> str:
    """One sentence: what the server said, or the first line of what libpq says."""
    text = error.diag.message_primary
    if text and error.diag.message_detail:
        text = f"{text}: {error.diag.message_detail}"
    if not text:
        lines = [line.strip(" -\t") for line in str(error).splitlines() if line.strip()]
        # Of several addresses of one name, the last is as good as any.
        several = bool(lines) and lines[0].startswith("Multiple connection attempts failed")
        text = (lines[-1] if several else lines[0]) if lines else type(error).__name__
    text = " ".join(text.split()).removeprefix("connection failed: ").rstrip(".")
    if password:
        text = text.replace(password.reveal(), "****")
    return f"{text[:1].upper()}{text[1:]}."
