"""status and plan over fifty hosts beside one, where every login takes four seconds more (root only: test hosts).

What a distant or slow host costs is waiting, and that is done for all of them at once. What cannot be is the work of
fifty logins, which with test hosts this machine does for both ends. It is measured with the key exchange that the
installed OpenSSH prefers (its post-quantum one takes 70 ms of a core at each end, no target), and with the plain
elliptic curve, which takes next to nothing: there fifty hosts have to take about as long as one.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine import BenchmarkFailed
from bench.pairs import Outcome, run_pairs

if TYPE_CHECKING:
    from support.remote import RemoteCluster

#: "About as long as the slowest one": at most this many times. Missed so far: docs/benchmarks.md says by how much.
TARGET = 1.5

HOSTS = 50
_LOGIN_SECONDS = 4
_KINDS = {
    "key exchange as OpenSSH prefers it": (None, ()),
    "elliptic curve": (TARGET, ("KexAlgorithms curve25519-sha256",)),
}


def many_hosts(pairs: int) -> list[Outcome]:
    """Nothing is built on the hosts yet: `status` says so, and `plan` also tries all ways between them."""
    if os.geteuid() != 0:
        print("many hosts: left out, test hosts need root", file=sys.stderr)
        return []
    with _clusters() as (one, many):
        outcomes = []
        for kind, (target, lines) in _KINDS.items():
            for cluster in (one, many):
                slow = f'ProxyCommand bash -c "sleep {_LOGIN_SECONDS}; exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3"'
                cluster.configure_ssh("Host *", slow, *lines)
            for command in ("status", "plan"):
                name = f"{command} over {HOSTS} hosts, beside one; {kind}"
                ours, other = partial(_seconds, many, command), partial(_seconds, one, command)
                outcomes.append(run_pairs(name, ours, other, pairs=pairs, target=target))
    return outcomes


@contextmanager
def _clusters() -> Iterator[tuple["RemoteCluster", "RemoteCluster"]]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.hosts import Hosts
    from support.remote import RemoteCluster

    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts(HOSTS))
        one = stack.enter_context(RemoteCluster(hosts, 1, login="alice"))
        many = stack.enter_context(RemoteCluster(hosts, HOSTS, login="alice"))
        for cluster in (one, many):
            cluster.know_hosts()
            cluster.write()
        yield one, many


def _seconds(cluster: "RemoteCluster", command: str) -> float:
    began = time.perf_counter()
    done = cluster.run(command)
    seconds = time.perf_counter() - began
    if done.exit_code != 2 or "db1" not in done.out:  # not built: a problem, or a plan that is not empty
        raise BenchmarkFailed(f"{command}: {done.said}")
    return seconds
