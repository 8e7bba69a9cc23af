"""The end of a server's log, wherever the server writes it."""

import posixpath

from pgtandem.model.facts import Known
from pgtandem.model.observed import ObservedNode
from pgtandem.model.topology import Node, Topology
from pgtandem.observe.paths import log_file
from pgtandem.ports import CommandTimeout, Host, HostFailure, HostUnreachable, World

_DEBIAN = "/var/log/postgresql"
_SECONDS = 10


async def observe_log(
    topology: Topology, world: World, node: Node, seen: ObservedNode, lines: int = 200
) -> tuple[str, tuple[str, ...]]:
    """The path and the last lines. Where there are none, the path is "" and the one line says why."""
    host = world.host(node.host)
    why = "there is no log file"
    try:
        for path in await _candidates(topology, host, node, seen):
            done = await host.run(["tail", "-n", str(lines), "--", path], deadline_seconds=_SECONDS)
            if not done.exit_code:
                return path, tuple(line.expandtabs(4) for line in done.text.splitlines())
            why = done.complaint
    except (HostFailure, HostUnreachable, CommandTimeout) as failure:
        why = f"{failure.what}: {failure.why}"
    return "", (why,)


async def _candidates(topology: Topology, host: Host, node: Node, seen: ObservedNode) -> list[str]:
    """Where the log may be, the likeliest first. With the logging collector the server itself says which file it writes
    (manual, 20.8.1)."""
    found = []
    current = await host.read_file(posixpath.join(node.data_directory, "current_logfiles"))
    for line in (current or b"").decode(errors="replace").splitlines():
        kind, _, path = line.partition(" ")
        if kind == "stderr" and path:
            found.append(posixpath.join(node.data_directory, path))
    if isinstance(seen.registration, Known):
        name = posixpath.basename(seen.registration.value.directory)
        found.append(posixpath.join(_DEBIAN, f"postgresql-{topology.postgresql}-{name}.log"))
    return [*found, log_file(node.data_directory)]
