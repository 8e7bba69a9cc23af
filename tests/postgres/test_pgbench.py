"""What pgbench of several versions prints."""

import pytest

from pgtandem.postgres.pgbench import BenchRun, parse_run

OLD = """starting vacuum...end.
transaction type: <builtin: simple update>
scaling factor: 1
query mode: simple
number of clients: 2
number of threads: 1
duration: 1 s
number of transactions actually processed: 1234
latency average = 1.622 ms
latency stddev = 0.801 ms
tps = 1230.111111 (including connections establishing)
tps = 1233.456789 (excluding connections establishing)
"""
NEW = """pgbench (18.4)
transaction type: <builtin: simple update>
scaling factor: 4
number of clients: 8
number of threads: 4
maximum number of tries: 1
duration: 2 s
number of transactions actually processed: 4711
number of failed transactions: 0 (0.000%)
latency average = 3.397 ms
latency stddev = 3.411 ms
initial connection time = 21.0 ms
tps = 2347.123456 (without initial connection time)
"""


def test_the_rate_without_connecting_counts() -> None:
    assert parse_run(OLD) == BenchRun(1234, 1233.456789, 1.622, 0.801)
    assert parse_run(NEW) == BenchRun(4711, 2347.123456, 3.397, 3.411)


def test_without_progress_there_is_no_deviation() -> None:
    assert parse_run(NEW.replace("latency stddev = 3.411 ms\n", "")) == BenchRun(4711, 2347.123456, 3.397, None)


@pytest.mark.parametrize("text", ["", "pgbench: error: connection failed", NEW.partition("latency")[0]])
def test_what_is_no_result_is_none(text: str) -> None:
    assert parse_run(text) is None
