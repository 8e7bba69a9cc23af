"""What hosts are like to each other: their clocks, their C libraries, and who reaches whom."""

import re
from collections.abc import Sequence

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Fact, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ObservedHost
from pgtandem.model.topology import Node
from pgtandem.ports import Clock, Host

#: How long a connection may take before it counts as dropped on the way: a lost SYN is sent again after 1 and 3 s.
_TRY_SECONDS = 4

# A connection that is refused has reached the host. bash connects without another program, and sends nothing: a server
# that listens logs nothing of it. Where there is no bash, nothing is tried.
_SCRIPT = """
date +%s.%N
getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 2 | tr '\\n' ' '
seconds=$1; shift
command -v bash >/dev/null && command -v timeout >/dev/null || exit 0
attempt() { timeout "$seconds" bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>&1; }
while [ $# -gt 2 ]; do
  (
    said=$(attempt "$2" "$3") && code=0 || code=$?
    # Right after a boot the way may be found a moment later.
    case $said in *'No route'*) sleep 1; said=$(attempt "$2" "$3") && code=0 || code=$? ;; esac
    printf '\\n%s %s %s' "$1" $code "$(printf %s "$said" | tail -n 1)"
  ) &
  shift 3
done
wait
"""


async def observe_host(host: Host, clock: Clock, targets: Sequence[Node]) -> ObservedHost:
    """One look; `targets` are the nodes on other hosts that this one tries to reach. Unknown where it cannot be asked:
    the nodes there tell why."""
    arguments = [word for node in targets for word in (node.name, node.address, str(node.port))]
    try:
        await host.account()  # connects: what that takes says nothing about its clock
        began = clock.now()
        done = await host.run(["sh", "-c", _SCRIPT, "sh", str(_TRY_SECONDS), *arguments], deadline_seconds=30)
    except PgtandemError as failure:
        reason = Unknown(failure.why or failure.what)
        return ObservedHost(reason, reason)
    date, _, rest = done.text.partition("\n")
    libc, _, paths = rest.partition("\n")
    return ObservedHost(
        clock_ahead_seconds=_ahead(date, began, clock.now()),
        libc=Known(" ".join(libc.split())) if libc.strip() else Unknown("the host does not tell its C library"),
        blocked=_blocked(paths, targets),
    )


def _ahead(date: str, began: float, ended: float) -> Fact[float]:
    """0 where its time may have been ours at some moment of the look."""
    try:
        there = float(date)
    except ValueError:
        return Unknown(f"its clock shows {date[:40]!r}")
    return Known(there - ended if there > ended else min(there - began, 0.0))


def _blocked(text: str, targets: Sequence[Node]) -> dict[NodeName, str]:
    """Each line: the node's name, the exit code, what was said."""
    blocked: dict[NodeName, str] = {}
    for node in targets:
        found = re.search(rf"^{re.escape(node.name)} (\d+) ?(.*)$", text, re.MULTILINE)
        if found is None or found[1] == "0" or "refused" in found[2]:
            continue
        timed_out = found[1] == "124" or "timed out" in found[2]
        blocked[node.name] = f"no answer within {_TRY_SECONDS} seconds" if timed_out else found[2].rpartition(": ")[2]
    return blocked
