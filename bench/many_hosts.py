"""status and plan over fifty hosts beside one, where every host takes four seconds more (root only: test hosts).

What a distant or slow host costs is waiting, and that is done for all of them at once. What cannot be is the work of
fifty logins, which with test hosts this machine does for both ends. It is measured

- logging in, where each login takes four seconds more: with the key exchange that the installed OpenSSH prefers (its
  post-quantum one takes 70 ms of a core at each end, no target), and with the plain elliptic curve, which takes next to
  nothing: there fifty hosts have to take about as long as one;
- logging in to hosts that differ, as hosts do: the slowest takes four seconds more, each other one less than the one
  before, the key exchange is the preferred one; beside the slowest alone;
- over the logins that the command before has left, where the first shell of each host takes four seconds more: there
  fifty have to take about as long as one as well.

Beside each stands the processor time that went into fifty: here, and on the hosts. On test hosts both come from the
same cores; what a machine that is not its own fifty hosts would take is told by the first alone.
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine import BenchmarkFailed
from bench.pairs import Outcome, run_pairs

if TYPE_CHECKING:
    from support.remote import RemoteCluster

#: "About as long as the slowest one": at most this many times. Where all fifty are equally slow it was missed so far:
#: docs/benchmarks.md says by how much.
TARGET = 1.5

HOSTS = 50
_SLOW_SECONDS = 4
_KEEP_SECONDS = 120
_SLOW_LOGIN = f'ProxyCommand bash -c "sleep {_SLOW_SECONDS}; exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3"'
#: The first host, that of the cluster of one as well, takes the longest; the fiftieth hardly any longer than it has to.
_DIFFERENT_LOGINS = (
    (
        "ProxyCommand bash -c 'at=%h; at=${at##*.}; sleep $(( (HOSTS + 1 - at) * SLOW / HOSTS ))e-3; "
        "exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3'"
    )
    .replace("HOSTS", str(HOSTS))
    .replace("SLOW", str(_SLOW_SECONDS * 1000))
)
_CURVE = "KexAlgorithms curve25519-sha256"


def many_hosts(pairs: int) -> list[Outcome]:
    """Nothing is built on the hosts yet: `status` says so, and `plan` also tries all ways between them."""
    if os.geteuid() != 0:
        print("many hosts: left out, test hosts need root", file=sys.stderr)
        return []
    with _clusters() as (one, many):
        for cluster in (one, many):
            cluster.configure_ssh("Host *", _SLOW_LOGIN)
        outcomes = _measured("logging in, key exchange as OpenSSH prefers it", one, many, pairs, None)
        for cluster in (one, many):
            cluster.configure_ssh("Host *", _SLOW_LOGIN, _CURVE)
        outcomes += _measured("logging in, elliptic curve", one, many, pairs, TARGET)
        for cluster in (one, many):
            cluster.configure_ssh("Host *", _DIFFERENT_LOGINS)
        outcomes += _measured("logging in, hosts from fast to slow, beside the slowest", one, many, pairs, TARGET)
        for cluster in (one, many):
            cluster.configure_ssh("Host *")
            cluster.keep_seconds = _KEEP_SECONDS
        with _slow_shells(many):
            outcomes += _measured("over kept logins", one, many, pairs, TARGET)
    return outcomes


def _measured(
    kind: str, one: "RemoteCluster", many: "RemoteCluster", pairs: int, target: float | None
) -> list[Outcome]:
    outcomes = []
    for command in ("status", "plan"):
        spent: list[tuple[float, float]] = []
        name = f"{command} over {HOSTS} hosts{'' if 'beside' in kind else ', beside one'}; {kind}"
        ours, other = partial(_seconds, many, command, spent), partial(_seconds, one, command)
        outcomes.append(run_pairs(name, ours, other, pairs=pairs, target=target))
        here, there = (statistics.median(part) for part in zip(*spent[1:], strict=True))
        print(f"{name}: processor time of the {HOSTS}: {here:.2f} s here, {there:.2f} s on the hosts", flush=True)
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


@contextmanager
def _slow_shells(cluster: "RemoteCluster") -> Iterator[None]:
    """The shell of who logs in takes its time on every host, as one does that asks a directory service."""
    files = [cluster.hosts.srv(name) / "alice/.bashrc" for name in cluster.hosts.names]
    before = [file.read_text() for file in files]
    for file, text in zip(files, before, strict=True):
        file.write_text(f"sleep {_SLOW_SECONDS}\n{text}")
    try:
        yield
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)


def _seconds(cluster: "RemoteCluster", command: str, spent: list[tuple[float, float]] | None = None) -> float:
    """How long it took; what it took of the processors, here and on the hosts, is added to `spent`."""
    here, there = _spent_here(), _spent_there(cluster) if spent is not None else 0.0
    began = time.perf_counter()
    done = cluster.run(command)
    seconds = time.perf_counter() - began
    if done.exit_code != 2 or "db1" not in done.out:  # not built: a problem, or a plan that is not empty
        raise BenchmarkFailed(f"{command}: {done.said}")
    if spent is not None:
        spent.append((_spent_here() - here, _spent_there(cluster) - there))
    return seconds


def _spent_here() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _spent_there(cluster: "RemoteCluster") -> float:
    names: Sequence[str] = cluster.hosts.names
    return sum(cluster.hosts.processor_seconds(name) for name in names)
