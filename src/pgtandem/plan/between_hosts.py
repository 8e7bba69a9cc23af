"""What must hold between hosts before data is copied from one to the other: a way, and one order of texts."""

from collections.abc import Iterator

from pgtandem.errors import Problem
from pgtandem.model.facts import Absent, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.plan.desired import Wish, streams

#: Clocks further apart than this make times of different hosts incomparable: lag in seconds, recovery targets.
CLOCKS_APART_SECONDS = 2.0


def path_findings(wish: Wish, name: NodeName) -> Iterator[tuple[str, Problem]]:
    """A node that is to be copied, or to follow another, must reach it: told before anything is begun."""
    upstream = wish.upstream(name)
    host = wish.observed.hosts.get(wish.node(name).host.url)
    if upstream is None or host is None or streams(wish, name) or upstream not in host.blocked:
        return
    node, target = wish.node(name), wish.node(upstream)
    yield (
        "PT-3021",
        Problem(
            name,
            f"{name} cannot reach {upstream} at {target.address} port {target.port}",
            f"{_sentence(host.blocked[upstream])} Something between the hosts, mostly a firewall, stops it.",
            f"let TCP connections from {node.address} to {target.address} port {target.port} through",
        ),
    )


def library_findings(wish: Wish, name: NodeName) -> Iterator[tuple[str, Problem]]:
    """A copy has the indexes of its primary, and the C library of its own host decides whether they are in order
    (manual, 24.2)."""
    primary, seen = wish.primary, wish.seen(name)
    server = wish.seen(primary).running
    hosts = wish.observed.hosts
    here, there = (hosts.get(wish.node(node).host.url) for node in (name, primary))
    if not isinstance(seen.data, Absent) or here is None or there is None or server is None:
        return
    if not isinstance(here.libc, Known) or not isinstance(there.libc, Known) or here.libc == there.libc:
        return
    if server.libc_locales:
        yield (
            "PT-3022",
            Problem(
                name,
                f"the hosts of {primary} and {name} have different C libraries: "
                f"{there.libc.value} and {here.libc.value}",
                f"Databases of {primary} order texts by the library (locale {', '.join(server.libc_locales)}); another "
                "version may order them otherwise, and indexes would then miss rows on the copy.",
                "run the same release of the operating system on both, or use ICU or the locale C in the databases",
            ),
        )


def host_notes(topology: Topology, observed: Observed) -> list[str]:
    """What does not stand in the way today: clocks apart, ways that a change of roles would need."""
    notes = []
    apart = clocks_apart(topology, observed)
    if apart:
        notes.append(_sentence(apart))
    for node in topology.nodes:
        host = observed.hosts.get(node.host.url)
        for other, reason in (host.blocked if host else {}).items():
            if isinstance(observed.nodes[other].reachable, Unknown):
                continue  # nobody reaches it now
            notes.append(
                f"{node.name} cannot reach {other} ({reason}): it could not follow it after a change of roles."
            )
    return notes


def clocks_apart(topology: Topology, observed: Observed) -> str:
    """In words which clocks are apart, "" where all agree."""
    ahead = {
        node.name: observed.hosts[node.host.url].clock_ahead_seconds
        for node in topology.nodes
        if node.host.url in observed.hosts
    }
    known = {name: fact.value for name, fact in ahead.items() if isinstance(fact, Known)}
    if not known or max(known.values()) - min(known.values()) <= CLOCKS_APART_SECONDS:
        return ""
    first, last = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    seconds = known[first] - known[last]
    return f"the clock of {first} is {seconds:.0f} s ahead of that of {last}: set both by NTP (chrony)"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."
