"""A client that writes through everything that happens: ordinary libpq, the URI that `pgtandem uri` prints.

It inserts one row after the other, each with an id of its own, and remembers which were acknowledged and when. Whatever
breaks its connection, it connects again.
"""

import threading
import time
from itertools import pairwise
from types import TracebackType

import psycopg

from support.clusters import Cluster
from support.servers import wait_until

_PAUSE_SECONDS = 0.002
_RETRY_SECONDS = 0.003


class Writer:
    """Use it as a context manager: it writes from the beginning of the block to its end."""

    def __init__(self, cluster: Cluster, uri: str = "", primary: str = "") -> None:
        """Over the URI that pgtandem prints, unless another one is given; of two primaries to the one that is named."""
        self._cluster = cluster
        self._uri = uri or cluster.ok("uri", *(("--node", primary) if primary else ())).out.strip()
        primary = primary or next(name for name, (role, _) in cluster.states().items() if role == "primary")
        cluster.sql(primary, "CREATE TABLE IF NOT EXISTS written (id bigint PRIMARY KEY)")
        self._next = int(cluster.sql(primary, "SELECT coalesce(max(id), 0) + 1000000 FROM written"))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged: list[int] = []
        self.moments: list[float] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> "Writer":
        self._thread.start()
        self.goes_on(50)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(60)

    def goes_on(self, rows: int = 20, seconds: float = 60) -> None:
        """Waits until more rows are acknowledged."""
        wanted = len(self.acknowledged) + rows
        wait_until(
            lambda: len(self.acknowledged) >= wanted, f"{rows} more rows are acknowledged: {self.errors[-3:]}", seconds
        )

    def longest_gap(self, since: int = 0) -> float:
        """The longest time between two acknowledged rows, in seconds, from the so-manieth row on."""
        moments = self.moments[since:]
        return max((after - before for before, after in pairwise(moments)), default=0.0)

    def missing(self, node: str) -> list[int]:
        """The acknowledged rows that a node does not show."""
        acknowledged = list(self.acknowledged)  # before the rows are read: more come while they are
        with self._cluster.connect(node) as connection:
            there = {row[0] for row in connection.execute("SELECT id FROM written").fetchall()}
        return [number for number in acknowledged if number not in there]

    def everything_is_on(self, *nodes: str) -> None:
        """Waits until the nodes show every acknowledged row."""
        for node in nodes:
            wait_until(lambda node=node: not self.missing(node), f"{node} has every acknowledged row", 30)

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if "canceling wait for synchronous replication" in (notice.message_primary or ""):
            self.warnings.append(str(notice.message_primary))

    def _run(self) -> None:
        connection: psycopg.Connection[tuple[object, ...]] | None = None
        while not self._end.is_set():
            self._next += 1
            try:
                if connection is None:
                    connection = psycopg.connect(self._uri, autocommit=True, prepare_threshold=None)
                    connection.add_notice_handler(self._notice)
                warned = len(self.warnings)
                connection.execute("INSERT INTO written VALUES (%s)", [self._next])
                if len(self.warnings) == warned:
                    # A commit whose wait was cancelled is answered with a warning: it was not confirmed.
                    self.acknowledged.append(self._next)
                    self.moments.append(time.monotonic())
                self._end.wait(_PAUSE_SECONDS)
            except psycopg.Error as error:
                self.errors.append(" ".join(str(error).split())[:200])
                if connection is not None:
                    connection.close()
                connection = None
                self._end.wait(_RETRY_SECONDS)
        if connection is not None:
            connection.close()
