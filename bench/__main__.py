"""python -m bench [NAME ...]: runs the benchmarks and prints their table; exit code 1 when a target is missed."""

import argparse
import os
import sys

from bench.benchmarks import BENCHMARKS
from bench.machine import BenchmarkFailed
from bench.pairs import Outcome
from bench.table import table_lines

#: Short programs are measured more often: they cost little and vary much.
_PAIRS = {
    "archiving": 5,
    "build": 12,
    "catching-up": 5,
    "copy": 5,
    "copy-small-files": 5,
    "copy-between-hosts": 5,
    "start-up": 40,
    "status": 30,
    "switchover": 12,
    "confirmed-switchover": 5,
    "wal-between-hosts": 5,
    "pooled": 12,
    "failover": 10,
    "many-hosts": 3,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The measured claims, in pairs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHMARKS)} (all)")
    parser.add_argument("-n", "--pairs", type=int, metavar="N", help="pairs per benchmark, after one to warm up")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if options.pairs is not None and options.pairs < 1:
        parser.error("at least one pair is needed")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; least / median / greatest of each", flush=True)
    outcomes: list[Outcome] = []
    for name in options.names or BENCHMARKS:
        try:
            outcomes += BENCHMARKS[name](options.pairs or _PAIRS[name])
        except BenchmarkFailed as failure:
            print(f"benchmark {name} failed: {failure}", file=sys.stderr)
            return 1
    print("\n".join(table_lines(outcomes)))
    print(f"load afterwards {os.getloadavg()[0]:.1f}")
    return 1 if any(outcome.missed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
