"""What holds between nodes: upstreams, ports, directories, and how many standbys can confirm."""

import ipaddress

from pgtandem.model.names import NodeName
from pgtandem.model.topology import Archive, Durability, Method, Node, Replication
from pgtandem.topology.nodes import Nodes
from pgtandem.topology.places import is_below
from pgtandem.topology.problems import Problems, did_you_mean, listed


def check_upstreams(problems: Problems, nodes: Nodes) -> None:
    """The first node has no upstream; every other one is a node of the file, not itself, not in a loop."""
    for node in nodes.read:
        path = ("nodes", node.name, "upstream")
        if node.upstream is None:
            continue
        if node.name == nodes.declared[0]:
            what = f'the first node "{node.name}" starts as the primary and follows nobody'
            problems.add(path, what, "", "remove the line, or put another node first")
        elif node.upstream == node.name:
            problems.add(path, f'node "{node.name}" is its own upstream', "", "name another node, or remove the line")
        elif node.upstream not in nodes.declared:
            hint = did_you_mean(node.upstream, nodes.declared)
            known = f"the nodes are {listed(nodes.declared)}"
            problems.add(path, f'unknown node "{node.upstream}"', "", hint or known)
    _check_loops(problems, nodes)


def check_delays(problems: Problems, nodes: Nodes) -> None:
    """The first node does not wait before it replays: it replays nothing."""
    for node in nodes.read:
        if node.apply_delay is not None and node.name == nodes.declared[0]:
            what = f'the first node "{node.name}" starts as the primary and replays nothing'
            why = "A delayed standby never becomes the primary, and the primary no delayed standby."
            problems.add(("nodes", node.name, "apply_delay"), what, why, "remove the line, or put another node first")


def _check_loops(problems: Problems, nodes: Nodes) -> None:
    upstreams = {node.name: node.upstream for node in nodes.read if not problems.has("nodes", node.name, "upstream")}
    done: set[NodeName] = set()
    for name in upstreams:
        chain: list[NodeName] = []
        at: NodeName | None = name
        while at is not None and at not in done:
            done.add(at)
            chain.append(at)
            at = upstreams.get(at)
        if at is not None and at in chain:
            _report_loop(problems, nodes, chain[chain.index(at) :])


def _report_loop(problems: Problems, nodes: Nodes, loop: list[NodeName]) -> None:
    """One problem per loop, told from its first node of the file on."""
    first = min(loop, key=nodes.declared.index)
    start = loop.index(first)
    names = [*loop[start:], *loop[:start], first]
    why = "None of these nodes would ever get a change from the primary."
    what = f"a loop of upstreams: {' -> '.join(names)}"
    problems.add(("nodes", first, "upstream"), what, why, "remove one of these lines")


def check_addresses(problems: Problems, nodes: Nodes) -> None:
    """No loopback address where a node on another host would have to connect to it."""
    sound = [node for node in nodes.read if _sound(problems, node, "host") and _sound(problems, node, "address")]
    if len({node.host for node in sound}) < 2:
        return
    for node in sound:
        if _is_loopback(node.address):
            what = f'the nodes on other hosts cannot connect to "{node.name}" at {node.address}'
            why = "That address leads every host to itself."
            problems.add(("nodes", node.name, "address"), what, why, 'for example address = "10.0.0.1"')


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address in ("localhost", "localhost.")


def check_ports(problems: Problems, nodes: Nodes) -> None:
    """No port twice on one host."""
    sound = [node for node in nodes.read if _sound(problems, node, "host") and _sound(problems, node, "port")]
    taken = {(node.host, node.port) for node in sound}
    holders: dict[tuple[object, int], Node] = {}
    for node in sound:
        holder = holders.setdefault((node.host, node.port), node)
        if holder is node:
            continue
        free = next((port for port in range(node.port, 65536) if (node.host, port) not in taken), 0)
        taken.add((node.host, free))
        what = f'port {node.port} belongs to node "{holder.name}" on the same host'
        problems.add(("nodes", node.name, "port"), what, "", f"port = {free}" if free else "")


def check_directories(problems: Problems, nodes: Nodes, archive: Archive | None, folder: str) -> None:
    """No directory twice on one host, none inside another, and the topology file in no data directory."""
    sound = [n for n in nodes.read if _sound(problems, n, "host") and _sound(problems, n, "data_directory")]
    for number, node in enumerate(sound):
        own = node.data_directory
        path = ("nodes", node.name, "data_directory")
        if node.host.is_local and (own == folder or is_below(folder, own)):
            what = f'data directory "{own}" holds the topology file\'s own folder "{folder}"'
            problems.add(path, what, "A data directory is empty before it is made.", "name a directory of its own")
            continue
        for other in sound[:number]:
            relation = _relation(own, other.data_directory)
            if relation and other.host == node.host:
                theirs = f'the one of node "{other.name}", "{other.data_directory}"'
                what = f'data directory "{own}" {relation} {theirs}'
                problems.add(path, what, "", "give every node a directory of its own")
                break
    _check_wal_directories(problems, sound, archive)
    if archive is None or problems.has("archive", "host") or problems.has("archive", "directory"):
        return
    for node in sound:
        relation = _relation(archive.directory, node.data_directory)
        if relation and archive.host in (None, node.host):
            what = f'WAL archive "{archive.directory}" {relation} the data directory of node "{node.name}"'
            why = "What becomes of one of them must never touch the other."
            problems.add(("archive", "directory"), what, why, "give the archive a directory of its own")
            return


def _check_wal_directories(problems: Problems, nodes: list[Node], archive: Archive | None) -> None:
    """Each is apart from every other directory of its host."""
    taken = [(node.host, node.data_directory, f'the data directory of node "{node.name}"') for node in nodes]
    if archive is not None:
        hosts = [archive.host] if archive.host else [node.host for node in nodes]
        taken += [(host, archive.directory, "the WAL archive") for host in hosts]
    for node in nodes:
        own = node.wal_directory
        if own is None or not _sound(problems, node, "wal_directory"):
            continue
        for host, directory, whose in taken:
            if host == node.host and (relation := _relation(own, directory)):
                what = f'WAL directory "{own}" {relation} {whose}, "{directory}"'
                why = "It is made and removed with its node alone."
                problems.add(("nodes", node.name, "wal_directory"), what, why, "name a directory of its own")
                break
        taken.append((node.host, own, f'the WAL directory of node "{node.name}"'))


def _relation(one: str, other: str) -> str:
    if one == other:
        return "is the same as"
    if is_below(one, other):
        return "is inside"
    return "contains" if is_below(other, one) else ""


def check_archive_confirms(problems: Problems, replication: Replication, archive: Archive | None) -> None:
    """What is streamed to the archive is never replayed there."""
    if archive is None or not archive.synchronous or replication.synchronous.method is Method.NONE:
        return
    if replication.durability is Durability.REMOTE_APPLY:
        problems.add(
            ("archive", "synchronous"),
            'the archive cannot confirm commits with durability "remote_apply"',
            "They wait until they are replayed, and the archive only keeps WAL.",
            'durability = "on" under [replication], or synchronous = false here',
        )


def check_confirming(problems: Problems, nodes: Nodes, replication: Replication, archive: Archive | None) -> None:
    """No more standbys must confirm than follow the primary directly and without a delay; the archive's stream counts
    where it may."""
    if replication.synchronous.method is Method.NONE or len(nodes.read) < len(nodes.declared):
        return
    standbys = nodes.read[1:]
    if not nodes.read or any(not _sound(problems, node, "upstream") for node in standbys):
        return
    following = [node for node in standbys if node.upstream in (None, nodes.declared[0])]
    direct = sum(node.apply_delay is None for node in following)
    streamed = archive is not None and archive.stream and archive.synchronous
    needed = replication.synchronous.count
    if needed <= direct + streamed:
        return
    if direct < len(following):
        _report_delayed(problems, replication, following, direct + streamed)
        return
    have = {0: "no standby follows", 1: "only 1 standby follows"}.get(direct, f"only {direct} standbys follow")
    why = (
        "Every commit would wait without end."
        if direct == len(standbys)
        else ("Every commit would wait without end: a cascading standby cannot confirm (manual, 26.2.7).")
    )
    able = direct + streamed
    lower = f'synchronous = "{replication.synchronous.method.value} {able}"' if able else 'synchronous = "none"'
    beside = ", beside the archive" if streamed else ""
    what = f'"{replication.synchronous}" needs {needed}, but {have} the primary directly{beside}'
    problems.add(("replication", "synchronous"), what, why, lower)


def _report_delayed(problems: Problems, replication: Replication, following: list[Node], able: int) -> None:
    """Too few of those that follow the primary directly are without a delay."""
    delayed = listed(f'"{node.name}"' for node in following if node.apply_delay is not None)
    what = f'"{replication.synchronous}" needs {replication.synchronous.count}, and {delayed} cannot confirm: delayed'
    if replication.durability is Durability.REMOTE_APPLY:
        why = 'With durability "remote_apply" every commit would wait for the delay.'
    else:
        why = "A delayed standby is never promoted, so what it alone has confirmed could be lost."
    lower = f'synchronous = "{replication.synchronous.method.value} {able}"' if able else 'synchronous = "none"'
    problems.add(("replication", "synchronous"), what, why, f"{lower}, or take apply_delay away")


def _sound(problems: Problems, node: Node, key: str) -> bool:
    return not problems.has("nodes", node.name, key)
