"""The admin console of a real PgBouncer, over psycopg 3: the port Console.

The console speaks PostgreSQL's protocol, but only its simple queries, and knows no parameters: names are quoted here.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from pgtandem.adapters.session import hang_up, why_of
from pgtandem.model.pooling import PgbouncerConsole, PooledDatabase
from pgtandem.ports.database import DatabaseRefused, DatabaseUnreachable

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    Connection = AsyncConnection[tuple[Any, ...]]

#: A console answers at once; only PAUSE waits for clients.
_ANSWER_SECONDS = 10.0


class PgbouncerSession:
    """One connection; see the port Console."""

    def __init__(self, title: str, connection: "Connection") -> None:
        self._title = title
        self._connection = connection
        self._turn = asyncio.Lock()

    async def show(self) -> PgbouncerConsole:
        version = await self._call("tell its version", "SHOW VERSION")
        settings = {row["key"]: row["value"] for row in await self._call("show its settings", "SHOW CONFIG")}
        databases = await self._call("show its databases", "SHOW DATABASES")
        return PgbouncerConsole(
            version=str(version[0]["version"]).removeprefix("PgBouncer ") if version else "",
            pool_mode=str(settings.get("pool_mode", "")),
            databases={
                row["name"]: PooledDatabase(
                    row["name"], row["host"] or "", int(row["port"]), row["database"], bool(int(row["paused"]))
                )
                for row in databases
            },
        )

    async def pause(self, database: str) -> None:
        await self._call(f"pause {database}", f"PAUSE {_quoted(database)}", seconds=None)

    async def resume(self, database: str) -> None:
        try:
            await self._call(f"resume {database}", f"RESUME {_quoted(database)}")
        except DatabaseRefused as refused:
            if "is not paused" not in refused.why:
                raise

    async def reload(self) -> None:
        await self._call("read its files again", "RELOAD")

    async def connect_at_once(self) -> None:
        await self._call("connect again at once", "SET server_login_retry = '0'")

    async def close(self) -> None:
        await self._connection.close()

    async def _call(self, what: str, command: str, seconds: float | None = _ANSWER_SECONDS) -> list[dict[str, Any]]:
        """The rows of one command, by their columns' names, which differ between versions in number and order."""
        import psycopg

        async with self._turn:
            task = asyncio.create_task(_rows(self._connection, command))
            try:
                done, _ = await asyncio.wait({task}, timeout=seconds)
            finally:
                if not task.done():
                    await hang_up(self._connection, task)
                    await self._connection.close()
            try:
                return await task
            except psycopg.Error as error:
                late = f"It did not answer within {seconds:g} seconds." if seconds else ""
                why = why_of(error) if done else late
                if done and not self._connection.closed and error.sqlstate is not None:
                    raise DatabaseRefused(self._title, what, why) from None
            await self._connection.close()
            raise DatabaseUnreachable(self._title, why)


async def _rows(connection: "Connection", command: str) -> list[dict[str, Any]]:
    cursor = await connection.execute(command.encode())
    if cursor.description is None:
        return []
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
