"""A program that writes rows through a libpq URI until its stdin ends: URI FIRST-ID.

It prints one line per event: "A ID MOMENT" an acknowledged row (MOMENT as time.monotonic() tells it), "W ID" one whose
wait for a standby was cancelled, "E WORDS" an error. A statement that takes longer than two seconds is given up with
its connection, as a client with a deadline does: a frozen server closes nothing.
"""

import os
import select
import socket
import sys
import threading
import time

import psycopg

_DEADLINE_SECONDS = 2.0
_PAUSE_SECONDS = 0.002
_RETRY_SECONDS = 0.02


class _Watch:
    """Shuts a connection's socket down when a statement takes too long."""

    def __init__(self) -> None:
        self.due: float | None = None
        self.connection: psycopg.Connection[tuple[object, ...]] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(0.1)
            due, connection = self.due, self.connection
            if due is not None and connection is not None and time.monotonic() > due:
                self.due = None
                with socket.socket(fileno=os.dup(connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)


def main() -> None:
    uri, number = sys.argv[1], int(sys.argv[2])
    watch, warned = _Watch(), [0]
    connection: psycopg.Connection[tuple[object, ...]] | None = None

    def notice(diagnostic: psycopg.errors.Diagnostic) -> None:
        if "canceling wait for synchronous replication" in (diagnostic.message_primary or ""):
            warned[0] += 1

    while not select.select([sys.stdin], [], [], 0)[0]:
        number += 1
        try:
            if connection is None:
                connection = psycopg.connect(uri, autocommit=True, prepare_threshold=None)
                connection.add_notice_handler(notice)
            before = warned[0]
            watch.connection, watch.due = connection, time.monotonic() + _DEADLINE_SECONDS
            connection.execute("INSERT INTO written VALUES (%s)", [number])
            watch.due = None
            print(f"A {number} {time.monotonic()}" if warned[0] == before else f"W {number}", flush=True)
            time.sleep(_PAUSE_SECONDS)
        except psycopg.Error as error:
            watch.due = None
            print("E " + " ".join(str(error).split())[:200], flush=True)
            if connection is not None:
                connection.close()
            connection = None
            time.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    main()
