"""Servers on which many transactions have passed, or much time: what nobody waits for in a test."""

import struct
from pathlib import Path

from support.servers import RealServer

_MICROSECONDS_PER_HOUR = 3600 * 1_000_000
_TRANSACTIONS_PER_FILE = 1 << 20  # of pg_xact (manual, pg_resetwal -x)


def pass_transactions(server: RealServer, count: int) -> None:
    """Takes a stopped server's counter forward, as pg_resetwal is made for, in place of that many transactions."""
    number = -(-count // _TRANSACTIONS_PER_FILE)
    server.run("pg_resetwal", "-D", str(server.data), "-x", str(number * _TRANSACTIONS_PER_FILE))


def spend_transactions(server: RealServer, count: int) -> None:
    """Really has so many transactions, each a subtransaction that writes a row of a temporary table."""
    with server.connect() as connection:
        connection.execute("CREATE TEMP TABLE spent (i int)")
        for _ in range(-(-count // 100_000)):
            connection.execute(
                "DO $$ BEGIN TRUNCATE spent; FOR i IN 1..100000 LOOP "
                "BEGIN INSERT INTO spent VALUES (i); EXCEPTION WHEN division_by_zero THEN END; END LOOP; END $$"
            )


def age_prepared_transaction(server: RealServer, hours: int) -> None:
    """Takes the time in the file of a stopped server's only prepared transaction back, in place of waiting: the header
    has it after the magic number, length, transaction and database, and a CRC-32C ends the file."""
    (path,) = (server.data / "pg_twophase").iterdir()
    content = bytearray(path.read_bytes())
    (prepared,) = struct.unpack_from("<q", content, 16)
    struct.pack_into("<q", content, 16, prepared - hours * _MICROSECONDS_PER_HOUR)
    struct.pack_into("<I", content, len(content) - 4, crc32c(content[:-4]))
    _overwrite(path, content)


def _overwrite(path: Path, content: bytes) -> None:
    """In place: owner and mode stay."""
    path.write_bytes(content)


def crc32c(content: bytes) -> int:
    """Castagnoli's, which PostgreSQL has in its files."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
