"""The ways that WAL takes between hosts, looked at with the very ssh that the servers' scripts use."""

import asyncio
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Fact, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import KeysOnHost, WalWay
from pgtandem.model.ssh_home import SshHome
from pgtandem.model.topology import HostAddress, Node, Topology
from pgtandem.openssh.authorized_keys import granted_nodes, is_let_in_to_another
from pgtandem.openssh.client import CONFIG_FILE, KEY_FILE, PUBLIC_KEY_FILE, addresses_in
from pgtandem.plan.wal_sources import (
    SERVE_SCRIPT,
    Source,
    client_files,
    cluster_folder,
    grant_of,
    node_folder,
    sources_of,
)
from pgtandem.ports import Host, HostUnreachable, World
from pgtandem.postgres.archive_scripts import SYSTEM_FILE
from pgtandem.postgres.wal_serve import MARK, SERVE_TEXT
from pgtandem.topology.places import host_name

#: Prints the account, its home, its authorized_keys (what a link leads to), and the host keys of this host.
WHOSE_HOME = """
u=$(id -un) || exit 1
case $u in '' | *[!A-Za-z0-9_.-]*) h=$(getent passwd "$u" | cut -d: -f6) ;; *) eval "h=~$u" ;; esac
k=$h/.ssh/authorized_keys
printf '%s\\n%s\\n%s\\n' "$u" "$h" "$(readlink -f "$k" || printf %s "$k")"
cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null || ssh-keyscan -T 5 127.0.0.1 2>/dev/null
"""

#: A connection of its own: one that is kept open says nothing about the keys as they are now.
HELLO = 'cd "$1" && exec ssh -F ssh_config -S none -- "$2" hello'


async def ssh_home(host: Host) -> SshHome:
    """Raises HostUnreachable, HostFailure and CommandTimeout."""
    done = await host.look(["sh", "-c", WHOSE_HOME])
    account, home, authorized, *keys = [*done.text.splitlines(), "", "", ""]
    return SshHome(account, home, authorized, tuple(sorted(set(filter(None, map(_host_key, keys))))))


def _host_key(line: str) -> str:
    """Type and key, of a line of a .pub file or of ssh-keyscan."""
    words = line.split()
    at = next((n for n, word in enumerate(words[:2]) if word.startswith(("ssh-", "ecdsa-", "sk-"))), None)
    return " ".join(words[at : at + 2]) if at is not None and len(words) > at + 1 else ""


async def system_of(topology: Topology, world: World) -> str:
    """The cluster's system identifier, "" while no node has data, as far as hosts can be asked."""
    if topology.adoption is not None:
        return topology.adoption.system_identifier
    for node in topology.nodes:
        try:
            text = await world.host(node.host).read_file(posixpath.join(node.data_directory, SYSTEM_FILE))
        except HostUnreachable:
            continue
        if text and text.strip().isdigit():
            return text.decode().strip()
    return ""


async def observe_keys(topology: Topology, world: World, urls: Iterable[str]) -> Mapping[str, KeysOnHost]:
    """On each of these hosts: which nodes' keys are let in, and which were made there. Hosts that cannot be asked
    are left out: the nodes there say why. Nothing of another cluster, whatever its name; and nothing as long as no
    node's data tells which cluster this is."""
    urls = sorted(url for url in urls if url in world.hosts)
    try:
        system = await system_of(topology, world)
    except PgtandemError:
        return {}
    looks = await asyncio.gather(*(_on(world.hosts[url]) for url in urls), return_exceptions=True)
    failures = [look for look in looks if isinstance(look, BaseException) and not isinstance(look, PgtandemError)]
    if failures:
        raise failures[0]
    there = {url: look for url, look in zip(urls, looks, strict=True) if isinstance(look, _SeenOnHost)}
    texts = [look.authorized for look in there.values()]
    own = _addresses(topology, world)
    found = {}
    for url, look in there.items():
        names = await world.hosts[url].list_directory(posixpath.join(look.home.path, cluster_folder(topology))) or ()
        made = tuple(
            [
                name
                for name in names
                if await _is_made_for(world.hosts[url], look.home, topology, name, system, texts, own)
            ]
        )
        found[url] = KeysOnHost(granted_nodes(look.authorized, topology.cluster, system), made)
    return {url: keys for url, keys in found.items() if keys.granted or keys.made}


@dataclass(frozen=True, slots=True)
class _SeenOnHost:
    home: SshHome
    authorized: bytes


async def _on(host: Host) -> _SeenOnHost | None:
    if not isinstance(await host.account(), Known):
        return None
    home = await ssh_home(host)
    return _SeenOnHost(home, await host.read_file(home.authorized_keys) or b"")


def _addresses(topology: Topology, world: World) -> frozenset[str]:
    """Where the hosts of this cluster are, by whatever name."""
    hosts = [*(node.host for node in topology.nodes), *topology.archive_hosts]
    built = world.workspace.built_nodes()
    hosts += [HostAddress(node.host) for node in built]
    addresses = [*(node.address for node in topology.nodes), *(node.address for node in built), *map(host_name, hosts)]
    return frozenset(addresses)


async def _is_made_for(
    host: Host,
    home: SshHome,
    topology: Topology,
    name: str,
    system: str,
    authorized: Sequence[bytes],
    own: frozenset[str],
) -> bool:
    """Whether a folder in that of the cluster's name has a key of this cluster's. An earlier pgtandem put no system
    identifier into its name: such a key may be another cluster's, or one that two of them share. `authorized` are the
    files authorized_keys of the hosts, and `own` the addresses of the cluster's hosts."""
    if name == SERVE_SCRIPT or not system:
        return False
    if "." in name:
        return name.endswith(f".{system}")
    folder = posixpath.join(home.path, cluster_folder(topology), name)
    public_key = await read_public_key(host, folder)
    config = (await host.read_file(posixpath.join(folder, CONFIG_FILE)) or b"").decode(errors="replace")
    if not public_key or any(is_let_in_to_another(text, public_key, system) for text in authorized):
        return False
    return addresses_in(config) <= own


async def own_folder(host: Host, home: SshHome, topology: Topology, world: World, name: str, system: str) -> str:
    """The folder of a node's key: one that an earlier pgtandem made for it as long as nobody else can have it, too;
    else, whether it is there or not, one that is this cluster's alone."""
    folder = posixpath.join(home.path, node_folder(topology, name, system))
    earlier = posixpath.join(home.path, node_folder(topology, name, ""))
    if await host.list_directory(folder) is not None or not await read_public_key(host, earlier):
        return folder
    texts = []
    for url in {source.host.url for node in topology.nodes for source in sources_of(topology, node)}:
        serving = world.hosts[url]
        texts.append(await serving.read_file((await ssh_home(serving)).authorized_keys) or b"")
    ours = await _is_made_for(host, home, topology, name, system, texts, _addresses(topology, world))
    return earlier if ours else folder


async def used_folder(host: Host, topology: Topology, name: str, system: str) -> str:
    """The folder that a node's scripts take its key from."""
    home = await ssh_home(host)
    folder = posixpath.join(home.path, node_folder(topology, name, system))
    if await host.list_directory(folder) is not None:
        return folder
    return posixpath.join(home.path, node_folder(topology, name, ""))


async def observe_ways(topology: Topology, world: World) -> Mapping[NodeName, tuple[WalWay, ...]]:
    """For every node that needs other hosts for its WAL: each of these ways."""
    nodes = [node for node in topology.nodes if sources_of(topology, node)]
    if not nodes:
        return {}
    urls = sorted({node.host.url for node in nodes} | {s.host.url for n in nodes for s in sources_of(topology, n)})
    try:
        system = await system_of(topology, world)
    except PgtandemError as failure:
        return {node.name: _all_unknown(topology, node, failure) for node in nodes}
    looks = await asyncio.gather(*(ssh_home(world.hosts[url]) for url in urls), return_exceptions=True)
    homes = {url: look for url, look in zip(urls, looks, strict=True) if isinstance(look, SshHome)}
    failures = {url: look for url, look in zip(urls, looks, strict=True) if isinstance(look, BaseException)}
    ways = await asyncio.gather(
        *(_ways_if_all_answer(topology, world, node, system, homes, failures) for node in nodes)
    )
    return dict(zip((node.name for node in nodes), ways, strict=True))


async def _ways_if_all_answer(
    topology: Topology,
    world: World,
    node: Node,
    system: str,
    homes: Mapping[str, SshHome],
    failures: Mapping[str, BaseException],
) -> tuple[WalWay, ...]:
    """A node's files name every host that it asks, so one that cannot be looked at leaves them all unknown."""
    try:
        for url in (node.host.url, *(source.host.url for source in sources_of(topology, node))):
            if url in failures:
                raise failures[url]
        return await _ways_of(topology, world, node, system, homes)
    except PgtandemError as failure:
        return _all_unknown(topology, node, failure)


def _all_unknown(topology: Topology, node: Node, failure: PgtandemError) -> tuple[WalWay, ...]:
    reason = Unknown(failure.why or failure.what)
    return tuple(WalWay(source.name, reason) for source in sources_of(topology, node))


async def _ways_of(
    topology: Topology, world: World, node: Node, system: str, homes: Mapping[str, SshHome]
) -> tuple[WalWay, ...]:
    host, sources = world.host(node.host), sources_of(topology, node)
    folder = await own_folder(host, homes[node.host.url], topology, world, node.name, system)
    public_key = await read_public_key(host, folder)
    if not public_key or not system:
        reason = Unknown("there is no key yet" if not public_key else "there is no data yet")
        return tuple(WalWay(source.name, reason) for source in sources)
    for name, text in client_files(sources, homes).items():
        if await host.read_file(posixpath.join(folder, name)) != text.encode():
            return tuple(WalWay(source.name, Unknown(f"{name} is not as it should be")) for source in sources)

    async def answer(source: Source) -> Fact[str]:
        serving, home = world.host(source.host), homes[source.host.url]
        line = grant_of(topology, node.name, source, public_key, system).render()
        script = posixpath.join(home.path, cluster_folder(topology), SERVE_SCRIPT)
        if line not in (await serving.read_file(home.authorized_keys) or b"").split(b"\n"):
            return Unknown("its key is not let in there as it should be")
        if await serving.read_file(script) != SERVE_TEXT.encode():
            return Unknown(f"{script} is not as it should be")
        return await _hello(host, folder, source)

    answers = await asyncio.gather(*(answer(source) for source in sources))
    return tuple(WalWay(source.name, fact) for source, fact in zip(sources, answers, strict=True))


async def read_public_key(host: Host, folder: str) -> str:
    """Type and key; "" where there is none, or its private half is missing."""
    if await host.read_file(posixpath.join(folder, KEY_FILE)) is None:
        return ""
    public = await host.read_file(posixpath.join(folder, PUBLIC_KEY_FILE)) or b""
    return " ".join(public.decode("ascii", "replace").split()[:2])


async def _hello(host: Host, folder: str, source: Source) -> Fact[str]:
    done = await host.run(["sh", "-c", HELLO, "sh", folder, source.name], deadline_seconds=30)
    _, mark, answer = done.text.partition(MARK + "\n")
    if mark and answer.strip() == "missing":
        return Unknown("the archive's folder is not there")
    if mark and done.exit_code == 0:
        return Known(answer.strip())
    said = done.complaint.splitlines()
    return Unknown(f"ssh from {host.name} to {source.address} says: {said[-1] if said else 'nothing'}")
