"""What pgbench prints (10 to 18), and the scratch database that it works in: SQL for psql, texts in, values out."""

import re

from pgtandem.model.value import dataclass

#: The database, and the comment by which it is known as one that may be dropped.
SCRATCH = "pgtandem_bench"
MARK = "scratch database of pgtandem bench; may be dropped"

#: Nothing that is made or removed waits for a standby, and nothing is cut off by a limit of the cluster's.
MAKING_OPTIONS = "-c synchronous_commit=local -c statement_timeout=0 -c lock_timeout=0"

#: Ours is one with the mark, or one that was cut off before it could get it: then nobody was ever let in.
_OURS = f"""datname = '{SCRATCH}'
  AND (coalesce(shobj_description(oid, 'pg_database'), '') = '{MARK}' OR NOT datallowconn)"""

#: Prints "ours", "foreign" or nothing.
LOOK = f"SELECT CASE WHEN {_OURS} THEN 'ours' ELSE 'foreign' END FROM pg_database WHERE datname = '{SCRATCH}';\n"

CREATE = f"""CREATE DATABASE {SCRATCH} TEMPLATE template0 ALLOW_CONNECTIONS false;
COMMENT ON DATABASE {SCRATCH} IS '{MARK}';
ALTER DATABASE {SCRATCH} ALLOW_CONNECTIONS true;
"""

#: Who waits for a standby there is ended as well. Nobody comes in any more, and it is dropped.
DROP = f"""SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS false', datname) FROM pg_database WHERE {_OURS} \\gexec
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{SCRATCH}'
  AND EXISTS (SELECT FROM pg_database WHERE {_OURS});
SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE {_OURS} \\gexec
"""


@dataclass(frozen=True, slots=True)
class BenchRun:
    """One run: transactions that were committed, per second, and how long one took (milliseconds)."""

    transactions: int
    tps: float
    latency_ms: float
    latency_stddev_ms: float | None


_TRANSACTIONS = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([\d.]+) ms", re.MULTILINE)
_STDDEV = re.compile(r"^latency stddev = ([\d.]+) ms", re.MULTILINE)
# Up to 13 there are two lines, with and without the time that connecting took.
_TPS = re.compile(r"^tps = ([\d.]+)(?: \((?:without|excluding).*)?", re.MULTILINE)


def parse_run(text: str) -> BenchRun | None:
    """None where the output is not that of a run which ended."""
    transactions, latency, stddev = _TRANSACTIONS.search(text), _LATENCY.search(text), _STDDEV.search(text)
    tps = _TPS.findall(text)
    if not transactions or not latency or not tps:
        return None
    return BenchRun(
        int(transactions[1]), float(tps[-1]), float(latency[1]), None if stddev is None else float(stddev[1])
    )
