"""One session with a real server, over psycopg 3: the port Session."""

import asyncio
import inspect
import json
import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import REPLICATION_ROLE, SUPERUSER, Secret, SlotName
from pgtandem.model.server import Server
from pgtandem.ports.database import BackupEnd, BackupStart, DatabaseRefused, DatabaseUnreachable
from pgtandem.postgres import queries, scram
from pgtandem.postgres.server_document import parse_server

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Error
    from psycopg.sql import Composable

    from pgtandem.model.examined import Examination

    Connection = AsyncConnection[tuple[Any, ...]]

_DROP_SLOT_SECONDS = 10.0
_END_SECONDS = 10.0
_RELOAD_SECONDS = 2.0
_POLL_SECONDS = 0.02
#: A checkpoint of much memory on a busy disk takes long.
_BACKUP_SECONDS = 3600.0
_OBSERVE_ATTEMPTS = 3


P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[Concatenate["PsycopgSession", P], Coroutine[Any, Any, T]]


class _Refusal(Exception):
    """A refusal that PostgreSQL itself would not have made; its text is the why."""


def _call(what: str, seconds: float | None = None) -> Callable[[Method[P, T]], Method[P, T]]:
    """Gives a method its deadline, and turns its errors into those of the port.

    `what` is what the server then "refused to" do, with the method's arguments by their names; `seconds` a deadline of
    its own.
    A server that hangs (a frozen host) does not end a cancelled query either, and psycopg would wait for that. So
    when the deadline passes, or the caller is cancelled, the socket is shut down: what waits on it ends at once.
    """

    def decorate(method: Method[P, T]) -> Method[P, T]:
        signature = inspect.signature(method)

        @wraps(method)
        async def guarded(self: "PsycopgSession", /, *args: P.args, **kwargs: P.kwargs) -> T:
            import psycopg

            async def attempt() -> T:
                try:
                    return await method(self, *args, **kwargs)
                except psycopg.Error:
                    with suppress(psycopg.Error):
                        await self._connection.rollback()
                    raise

            def refused(why: str) -> DatabaseRefused:
                words = signature.bind(self, *args, **kwargs).arguments
                return DatabaseRefused(self._node, what.format(**words), why)

            deadline_seconds = seconds or self._deadline_seconds
            async with self._turn:
                task = asyncio.create_task(attempt())
                try:
                    done, _ = await asyncio.wait({task}, timeout=deadline_seconds)
                finally:
                    # Late, or cancelled.
                    if not task.done():
                        await hang_up(self._connection, task)
                try:
                    return await task
                except _Refusal as refusal:
                    raise refused(str(refusal)) from None
                except psycopg.Error as error:
                    late = f"It did not answer within {deadline_seconds:g} seconds."
                    why = why_of(error) if done else late
                    if done and not _ends_the_session(self._connection, error):
                        raise refused(why) from None
                await self._connection.close()
                raise DatabaseUnreachable(self._node, why)

        return guarded

    return decorate


class PsycopgSession:
    """One connection; see the port Session."""

    def __init__(self, node: str, connection: "Connection", deadline_seconds: float) -> None:
        self._node = node
        self._connection = connection
        self._major = connection.info.server_version // 10000
        self._deadline_seconds = deadline_seconds
        # Steps that run side by side share the session; what one call does must not end up in another's transaction.
        self._turn = asyncio.Lock()

    @_call("open a session")
    async def prepare(self) -> None:
        """Sets what a session has for itself; to be called once, before anything else."""
        await self._connection.execute(queries.prepare_session(self._major))

    @_call("be observed")
    async def observe(self, replication_password: Secret | None, superuser_password: Secret | None = None) -> Server:
        from psycopg.errors import InternalError_, ObjectNotInPrerequisiteState

        query = queries.observe(self._major)
        for attempt in range(_OBSERVE_ATTEMPTS):
            try:
                settings, document = await _documents(self._connection, query)
                break
            except (ObjectNotInPrerequisiteState, InternalError_):
                # Promoted between two parts of the question, or the control file was read half written.
                if attempt + 1 == _OBSERVE_ATTEMPTS:
                    raise
                await self._connection.rollback()
        token = await _proof(self._connection) if document["has_proof"] else None
        passwords = {REPLICATION_ROLE: replication_password, SUPERUSER: superuser_password}
        return parse_server(settings, document, passwords, token)

    @_call("be examined")
    async def examine(self) -> "Examination":
        from pgtandem.postgres import examination

        (document,) = await _documents(self._connection, examination.examine(self._major))
        return examination.parse_examination(document)

    @_call("put the role {name}")
    async def put_replication_role(self, name: str, verifier: str) -> None:

        await self._put_role(name, verifier, {}, [queries.CORRECT_ROLE, queries.RESET_ROLE])

    @_call("set the password of {name}")
    async def set_password(self, name: str, verifier: str) -> None:
        await self._put_role(name, verifier, {}, [queries.SET_PASSWORD])

    @_call("end the connection of {application_name}")
    async def end_sender(self, application_name: str) -> None:
        await self._connection.execute(queries.END_SENDER, (application_name,))

    @_call("put the role {name}")
    async def put_rewind_role(self, name: str, verifier: str, seconds: float) -> None:
        from psycopg import sql

        (until,) = await _row(self._connection, queries.FROM_NOW, seconds) or ("",)
        changes = [queries.CORRECT_REWIND_ROLE, queries.RESET_ROLE, *queries.GRANT_REWIND]
        await self._put_role(name, verifier, {"until": sql.Literal(until)}, changes)

    async def _put_role(
        self, name: str, verifier: str, more: "Mapping[str, Composable]", changes: Sequence[str]
    ) -> None:
        from psycopg import sql

        if not scram.is_verifier(verifier):
            # The server would take it for the password itself.
            raise ValueError("not a SCRAM-SHA-256 verifier")
        words = {"role": sql.Identifier(name), "verifier": sql.Literal(verifier), **more}
        async with self._connection.transaction():
            await self._connection.execute(queries.keep_statements_out_of_the_log(self._major))
            there = (await self._connection.execute(queries.FIND_ROLE, (name,))).rowcount
            for change in changes if there else (queries.CREATE_ROLE, *changes):
                await self._connection.execute(sql.SQL(change).format(**words))

    @_call("drop the role {name}")
    async def drop_role(self, name: str) -> None:
        from psycopg import sql

        words = {"role": sql.Identifier(name)}
        if not (await self._connection.execute(queries.FIND_ROLE, (name,))).rowcount:
            return
        await self._connection.execute(sql.SQL(queries.CLOSE_ROLE).format(**words))
        give_up = asyncio.get_running_loop().time() + _END_SECONDS
        while (await self._connection.execute(queries.END_SESSIONS, (name,))).rowcount:
            if asyncio.get_running_loop().time() > give_up:
                raise _Refusal(f"Who is logged in as it did not go within {_END_SECONDS:g} seconds.")
            await asyncio.sleep(_POLL_SECONDS)
        async with self._connection.transaction():
            for change in queries.DROP_ROLE:
                await self._connection.execute(sql.SQL(change).format(**words))

    @_call("set the password of {name}")
    async def set_superuser_password(self, name: str, verifier: str) -> None:
        from psycopg import sql

        if not scram.is_verifier(verifier):
            raise ValueError("not a SCRAM-SHA-256 verifier")
        words = {"role": sql.Identifier(name), "verifier": sql.Literal(verifier)}
        async with self._connection.transaction():
            await self._connection.execute(queries.keep_statements_out_of_the_log(self._major))
            await self._connection.execute(sql.SQL(queries.SET_PASSWORD).format(**words))

    @_call("disable the role {name}")
    async def disable_role(self, name: str) -> None:
        from psycopg import sql

        found = await _row(self._connection, queries.IS_SUPERUSER, name)
        if found is None:
            return
        if found[0]:
            raise _Refusal("It is a superuser.")
        await self._connection.execute(sql.SQL(queries.DISABLE_ROLE).format(role=sql.Identifier(name)))

    @_call("create the slot {name}")
    async def create_slot(self, name: SlotName) -> None:
        from psycopg.errors import DuplicateObject

        found = await _row(self._connection, queries.find_slot(self._major), name)
        if found is not None:
            kind, active, keeps_wal = found
            if kind != "physical":
                raise _Refusal(f"A {kind} slot of that name is there.")
            if active or keeps_wal:
                return
            # Never used, or lost: nobody could stream from it any more, and it keeps nothing.
            await self._connection.execute(queries.DROP_SLOT, (name,))
        with suppress(DuplicateObject):
            await self._connection.execute(queries.CREATE_SLOT, (name,))

    @_call("keep WAL")
    async def keep_wal(self, name: str) -> None:
        await self._connection.execute(queries.KEEP_WAL, (name,))

    @_call("drop the slot {name}")
    async def drop_slot(self, name: SlotName) -> None:
        from psycopg.errors import ObjectInUse, UndefinedObject

        give_up = asyncio.get_running_loop().time() + _DROP_SLOT_SECONDS
        while True:
            # Its user may be back at once, so that one round of ending and dropping need not be enough.
            await self._connection.execute(queries.END_SLOT_USER, (name,))
            with suppress(ObjectInUse, UndefinedObject):
                await self._connection.execute(queries.DROP_SLOT, (name,))
            if await _row(self._connection, queries.find_slot(self._major), name) is None:
                return
            if asyncio.get_running_loop().time() > give_up:
                raise _Refusal(f"Who uses it did not let go of it within {_DROP_SLOT_SECONDS:g} seconds.")
            await asyncio.sleep(_POLL_SECONDS)

    @_call("reload its configuration")
    async def reload(self) -> None:
        """Returns when this session's own server process has read the files, or after 2 seconds: one that finds a
        mistake in them does not say so. Then the files are asked for what is wrong with them."""
        before = await _row(self._connection, queries.RELOAD)
        give_up = asyncio.get_running_loop().time() + _RELOAD_SECONDS
        while before and asyncio.get_running_loop().time() < give_up:
            now = await _row(self._connection, queries.LOAD_TIME)
            if now is None or now[0] != before[0]:
                break
            await asyncio.sleep(_POLL_SECONDS)
        mistake = await _row(self._connection, queries.MISTAKE_IN_FILES)
        if mistake is not None:
            raise _Refusal(f"{mistake[0]}.")

    @_call("reset the setting {name}")
    async def reset_setting(self, name: str) -> None:
        from psycopg import sql

        words = sql.Identifier(*name.split("."))
        if "." in name:
            await self._connection.execute(queries.MAKE_KNOWN, (name, name))
        await self._connection.execute(sql.SQL(queries.RESET_SETTING).format(name=words))

    @_call("make a checkpoint")
    async def checkpoint(self) -> None:
        await self._connection.execute(queries.CHECKPOINT)

    @_call("tell its position")
    async def position(self) -> tuple[bool, Lsn | None]:
        in_recovery, lsn = await _row(self._connection, queries.POSITION) or (False, None)
        return in_recovery, None if lsn is None else Lsn.parse(lsn)

    @_call("be promoted")
    async def promote(self) -> None:
        await self._connection.execute(queries.PROMOTE)

    @_call("wake the WAL summarizer")
    async def wake_summarizer(self) -> bool:
        return await _row(self._connection, queries.WAKE_SUMMARIZER) is not None

    @_call("go on with its replay")
    async def resume_replay(self) -> None:
        await self._connection.execute(queries.RESUME_REPLAY)

    @_call("switch to a new WAL segment")
    async def finish_segment(self) -> tuple[str, Lsn]:
        await self._connection.execute(queries.WRITE_SOMETHING)
        end, timeline, segment_bytes = await _row(self._connection, queries.SWITCH_SEGMENT) or ("", "", 0)
        lsn = Lsn.parse(end)
        return queries.finished_segment(lsn, Timeline(int(timeline, 16)), segment_bytes), lsn

    @_call("commit a transaction")
    async def commit_something(self) -> None:
        await self._connection.execute(queries.COMMIT_SOMETHING)

    @_call("tell of its archiver")
    async def archived(self) -> tuple[str | None, int]:
        last, failed = await _row(self._connection, queries.ARCHIVED) or (None, 0)
        return last, failed

    @_call("write the proof")
    async def write_proof(self, token: str) -> None:
        there = await _row(self._connection, f"SELECT {queries.HAS_PROOF}")
        async with self._connection.transaction():
            if there != (True,):
                await self._connection.execute(queries.CREATE_PROOF)
            await self._connection.execute(queries.WRITE_PROOF, (token,))

    @_call("show the proof")
    async def read_proof(self) -> str | None:
        there = await _row(self._connection, f"SELECT {queries.HAS_PROOF}")
        return await _proof(self._connection) if there == (True,) else None

    @_call("tell whether there is database {name}")
    async def has_database(self, name: str) -> bool:
        return await _row(self._connection, queries.HAS_DATABASE, name) is not None

    @_call("read a query")
    async def check_query(self, query: str) -> str | None:
        import psycopg

        await self._connection.execute(queries.begin_reading(self._major))
        try:
            # Only libpq's own function has the server read a query and not carry it out.
            text = query.encode(self._connection.info.encoding)
            result = await asyncio.to_thread(self._connection.pgconn.prepare, b"", text)
            if result.status != psycopg.pq.ExecStatus.FATAL_ERROR:
                return ""
            error = psycopg.errors.error_from_result(result, encoding=self._connection.info.encoding)
        finally:
            await self._connection.execute("ROLLBACK")
        if error.sqlstate == queries.SYNTAX_ERROR and error.diag.statement_position is None:
            return None  # several statements: a mistake in one would have its place
        return why_of(error) if queries.blames_the_query(error.sqlstate, was_read=True) else None

    @_call("start a base backup", _BACKUP_SECONDS)
    async def start_backup(self, label: str) -> BackupStart:
        await self._connection.execute(queries.PREPARE_BACKUP)
        row = await _row(self._connection, queries.start_backup(self._major), label)
        assert row is not None
        return BackupStart(Lsn.parse(row[0]), row[2], row[1])

    @_call("end the base backup", _BACKUP_SECONDS)
    async def stop_backup(self) -> BackupEnd:
        row = await _row(self._connection, queries.stop_backup(self._major))
        assert row is not None
        return BackupEnd(Lsn.parse(row[0]), row[1], row[2] or "")

    async def close(self) -> None:
        await self._connection.close()


async def hang_up(connection: "Connection", task: "asyncio.Task[Any]") -> None:
    """Shuts a session's socket down and waits until what used it has noticed."""
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # seen, so that asyncio does not complain that nobody did


def _ends_the_session(connection: "Connection", error: "Error") -> bool:
    """Whether the connection is gone, or the server is about to end it (57P01 and its kin)."""
    return connection.closed or error.sqlstate is None or error.sqlstate.startswith("57P")


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


def why_of(error: "Error", password: Secret | None = None) -> str:
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
