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
# that listens logs nothing of it. Where there is no bash, nothing is tried. Right after a boot a way that is "no route"
# may be there a moment later.
_TRY = r"""
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
_SCRIPT = """
date +%s.%N
getconf GNU_LIBC_VERSION 2>/dev/null || { ldd --version 2>&1 | head -n 2 | tr '\\n' ' '; echo; }
try=$1 seconds=$2; shift 2
[ $# -gt 0 ] && command -v bash >/dev/null && command -v timeout >/dev/null || exit 0
echo tried
timeout "$seconds" bash -c "$try" bash "$@" || :
"""


async def observe_host(host: Host, clock: Clock, targets: Sequence[Node]) -> ObservedHost:
    """One look; `targets` are the nodes on other hosts that this one tries to reach. Unknown where it cannot be asked:
    the nodes there tell why."""
    try:
        await host.account()  # connects: what that takes says nothing about its clock
        began = clock.now()
        date, libc, paths = await _ask(host, targets)
        ended = clock.now()
        blocked = _blocked(paths, targets)
        if blocked:
            # A host under load may be late once. What stands in the way does so again.
            again = [node for node in targets if node.name in blocked]
            blocked = _blocked((await _ask(host, again))[2], again)
    except PgtandemError as failure:
        reason = Unknown(failure.why or failure.what)
        return ObservedHost(reason, reason)
    return ObservedHost(
        clock_ahead_seconds=_ahead(date, began, ended),
        libc=Known(" ".join(libc.split())) if libc.strip() else Unknown("the host does not tell its C library"),
        blocked=blocked,
    )


async def _ask(host: Host, targets: Sequence[Node]) -> tuple[str, str, str]:
    """The host's time, its C library, and what became of the tries."""
    arguments = [word for node in targets for word in (node.name, node.address, str(node.port))]
    argv = ["sh", "-c", _SCRIPT, "sh", _TRY, str(_TRY_SECONDS), *arguments]
    done = await (host.run(argv, deadline_seconds=60) if targets else host.look(argv))
    date, _, rest = done.text.partition("\n")
    libc, _, paths = rest.partition("\n")
    return date, libc, paths


def _ahead(date: str, began: float, ended: float) -> Fact[float]:
    """0 where its time may have been ours at some moment of the look."""
    try:
        there = float(date)
    except ValueError:
        return Unknown(f"its clock shows {date[:40]!r}")
    return Known(there - ended if there > ended else min(there - began, 0.0))


def _blocked(text: str, targets: Sequence[Node]) -> dict[NodeName, str]:
    """After the word "tried" a line for each that came to an end: the node's name, the exit code, what was said."""
    tried, _, said = text.partition("\n")
    if tried != "tried":
        return {}
    blocked: dict[NodeName, str] = {}
    for node in targets:
        found = re.search(rf"^{re.escape(node.name)} (\d+) ?(.*)$", said, re.MULTILINE)
        if found is None or "timed out" in found[2]:
            blocked[node.name] = f"no answer within {_TRY_SECONDS} seconds"
        elif found[1] != "0" and "refused" not in found[2]:
            blocked[node.name] = found[2].rpartition(": ")[2]
    return blocked
