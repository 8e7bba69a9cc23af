"""What hosts are like to each other: their clocks, their C libraries, and who reaches whom."""

import asyncio
import re
from collections.abc import Callable, Sequence

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Fact, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ObservedHost
from pgtandem.model.topology import Node
from pgtandem.ports import Clock, Host, HostUnreachable

#: How long a connection may take before it counts as dropped on the way: a lost SYN is sent again after 1 and 3 s.
_TRY_SECONDS = 4

#: How long the round over all ports may take at most. It goes on as long as it makes progress.
_ROUND_SECONDS = 15

# A connection that is refused has reached the host. bash connects without another program, and sends nothing: a server
# that listens logs nothing of it. Where there is no bash, nothing is tried.
#
# Where nothing is in the way a connection takes no time: one process tries them all, one after the other, in place of
# two processes for each of the 2450 ways between fifty hosts. Another one watches it, by an empty line for each way: it
# would read their words byte by byte. A way that is silent for two seconds is left for later, and after the third of
# them all that follow are.
_ROUND = r"""
exec 5>&1
round() {
  while [ $# -gt 2 ]; do
    { :; } 3<>"/dev/tcp/$2/$3" && code=0 || code=$?
    printf '%s %s\n' "$1" "$code"
    echo >&6
    shift 3
  done
}
for hung in 1 2 3; do
  exec 4< <(round "$@" 6>&1 >&5 2>&1)
  while read -r -t 2 <&4; do
    shift 3
    [ $# -gt 2 ] || exit 0
  done
  kill "$!"
  shift 3
  [ $# -gt 2 ] || exit 0
done 2>/dev/null
"""
# Right after a boot a way that is "no route" may be there a moment later.
_AT_ONCE = r"""
attempt() { said=$( { exec 3<>"/dev/tcp/$2/$3"; } 2>&1 ); }
while [ $# -gt 2 ]; do
  (
    attempt "$@" && code=0 || code=$?
    case $said in *'No route'*) sleep 1; attempt "$@" && code=0 || code=$? ;; esac
    printf '\n%s %s %s\n' "$1" "$code" "${said##*$'\n'}"
  ) &
  shift 3
done
wait
"""
WHAT_A_HOST_IS = """
date +%s.%N
getconf GNU_LIBC_VERSION 2>/dev/null || { ldd --version 2>&1 | head -n 2 | tr '\\n' ' '; echo; }
try=$1 seconds=$2; shift 2
[ $# -gt 0 ] && command -v bash >/dev/null && command -v timeout >/dev/null || exit 0
echo tried
timeout "$seconds" bash -c "$try" bash "$@" 2>&1 || :
"""


_TRIED = "tried\n"


async def observe_host(
    host: Host, clock: Clock, targets: Sequence[Node], behind: Callable[[Node], Host]
) -> ObservedHost:
    """One look; `targets` are the nodes that this one tries to reach, `behind` tells their hosts. Unknown where it
    cannot be asked: the nodes there tell why."""
    try:
        await host.account()  # connects: what that takes says nothing about its clock
        began = clock.now()
        date, libc, tried = await _ask(host, targets)
        ended = clock.now()
        reached = _reached(tried)
        left = [node for node in targets if node.name not in reached] if tried.startswith(_TRIED) else []
        # What is between this host and one that answers nobody does not matter today, and takes long to tell.
        silent = await _silent([behind(node) for node in left])
        blocked = {node.name: "its host does not answer" for node in left if behind(node) in silent}
        left = [node for node in left if node.name not in blocked]
        # A host under load may be late once. What stands in the way does so again.
        if left and (late := _blocked(await _try_at_once(host, left), left)):
            left = [node for node in left if node.name in late]
            blocked |= _blocked(await _try_at_once(host, left), left)
    except PgtandemError as failure:
        reason = Unknown(failure.why or failure.what)
        return ObservedHost(reason, reason)
    return ObservedHost(
        clock_ahead_seconds=_ahead(date, began, ended),
        libc=Known(" ".join(libc.split())) if libc.strip() else Unknown("the host does not tell its C library"),
        blocked=blocked,
    )


async def _silent(hosts: Sequence[Host]) -> list[Host]:
    """Those that do not answer us either."""
    different = list(dict.fromkeys(hosts))
    answers = await asyncio.gather(*(_answers(host) for host in different))
    return [host for host, answer in zip(different, answers, strict=True) if not answer]


async def _answers(host: Host) -> bool:
    try:
        await host.account()
    except HostUnreachable:
        return False
    return True


async def _ask(host: Host, targets: Sequence[Node]) -> tuple[str, str, str]:
    """The host's time, its C library, and what became of a round over its ways."""
    done = await host.look(["sh", "-c", WHAT_A_HOST_IS, "sh", _ROUND, str(_ROUND_SECONDS), *_named(targets)])
    date, _, rest = done.text.partition("\n")
    libc, _, tried = rest.partition("\n")
    return date, libc, tried


async def _try_at_once(host: Host, targets: Sequence[Node]) -> str:
    done = await host.run(["sh", "-c", WHAT_A_HOST_IS, "sh", _AT_ONCE, str(_TRY_SECONDS), *_named(targets)])
    return done.text.partition("\n")[2].partition("\n")[2]


def _named(targets: Sequence[Node]) -> list[str]:
    return [word for node in targets for word in (node.name, node.address, str(node.port))]


def _reached(tried: str) -> set[str]:
    """The nodes to which a round found the way open: by a line with the node's name and a code, after bash's own words
    where that is not 0."""
    reached: set[str] = set()
    refused = False
    for line in tried.splitlines():
        name, _, code = line.partition(" ")
        if code.isdigit():
            if code == "0" or refused:
                reached.add(name)
            refused = False
        else:
            refused = refused or line.endswith(": Connection refused")
    return reached


def _ahead(date: str, began: float, ended: float) -> Fact[float]:
    """0 where its time may have been ours at some moment of the look."""
    try:
        there = float(date)
    except ValueError:
        return Unknown(f"its clock shows {date[:40]!r}")
    return Known(there - ended if there > ended else min(there - began, 0.0))


def _blocked(text: str, targets: Sequence[Node]) -> dict[NodeName, str]:
    """What came to no end, or to another than that a connection was made or refused. `text` has a line for each that
    came to an end: the node's name, the exit code, what was said."""
    said = text.removeprefix(_TRIED)
    blocked: dict[NodeName, str] = {}
    for node in targets:
        found = re.search(rf"^{re.escape(node.name)} (\d+) ?(.*)$", said, re.MULTILINE)
        if found is None or "timed out" in found[2]:
            blocked[node.name] = f"no answer within {_TRY_SECONDS} seconds"
        elif found[1] != "0" and "refused" not in found[2]:
            blocked[node.name] = found[2].rpartition(": ")[2]
    return blocked
