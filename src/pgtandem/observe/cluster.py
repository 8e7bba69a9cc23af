"""One look at everything: all nodes side by side, the archive, and nodes that were built earlier."""

import asyncio
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backups
from pgtandem.model.facts import ABSENT, Absent, Fact, Known, Unknown
from pgtandem.model.names import NodeName, PgbouncerName, Secret
from pgtandem.model.observed import (
    NOT_LOOKED,
    ArchiveFolder,
    ControlData,
    DataDirectory,
    DiskSpace,
    FormerNode,
    KeysOnHost,
    LocalWal,
    Marker,
    Observed,
    ObservedHost,
    ObservedNode,
    Obstacle,
    Postmaster,
    Programs,
    System,
    WalWay,
)
from pgtandem.model.pooling import ObservedPgbouncer
from pgtandem.model.server import Server
from pgtandem.model.topology import HostAddress, Node, Topology
from pgtandem.observe.archive_folder import observe_archive_folder
from pgtandem.observe.archived import hosts_without_compressor
from pgtandem.observe.backups import observe_backups
from pgtandem.observe.beyond import observe_beyond
from pgtandem.observe.cut_off_drills import observe_cut_off_drills
from pgtandem.observe.cut_off_restores import observe_cut_off_restores
from pgtandem.observe.directory import observe_directory, observe_marker, observe_postmaster
from pgtandem.observe.hosts import observe_host
from pgtandem.observe.layout import observe_layout
from pgtandem.observe.merges import observe_merges
from pgtandem.observe.parts import EVERYTHING, Part, Parts
from pgtandem.observe.passwords import observe_passwords
from pgtandem.observe.paths import is_leftover, is_replaced
from pgtandem.observe.pgbouncers import observe_pgbouncers
from pgtandem.observe.places import blocked_places, claimed_places, held_by, mounted_places, waiting_for_archive
from pgtandem.observe.programs import Versions, observe_programs
from pgtandem.observe.server_log import observe_log
from pgtandem.observe.stream import observe_stream
from pgtandem.observe.system import observe_system
from pgtandem.observe.tls import observe_authority, observe_tls, open_session
from pgtandem.observe.wal import observe_archived, observe_local_wal, observe_newer
from pgtandem.observe.wal_ways import observe_keys, observe_ways
from pgtandem.plan.roles import claims_primary, is_fenced
from pgtandem.ports import (
    REPLICATION_SECRET,
    SUPERUSER_SECRET,
    DatabaseRefused,
    DatabaseUnreachable,
    Host,
    HostFailure,
    HostUnreachable,
    World,
    former_of,
    next_of,
)
from pgtandem.postgres.server_log import said_by_the_archive_command

_LOOPBACK = "127.0.0.1"


class Observer:
    """Looks at the nodes of one topology, again and again. What cannot change within a command is asked once."""

    def __init__(self, topology: Topology, world: World, *, try_paths: bool = False, urgent: bool = False) -> None:
        """With `try_paths` every host also tries whether it reaches every node: for plans. Where it is `urgent`, other
        servers of the hosts, of which only remarks are made, are not listed."""
        self.topology = topology
        self.world = world
        self._try_paths = try_paths
        self._neighbours = not urgent
        self._hosts: dict[str, ObservedHost] | None = None
        self._programs: dict[str, Fact[Programs]] = {}
        self._asking_for_programs: dict[str, asyncio.Lock] = {}
        self._versions = Versions(world.workspace.versions())
        self._systems: dict[str, System] = {}
        self._asking_for_systems: dict[str, asyncio.Lock] = {}

    async def cluster(self) -> Observed:
        """Everything."""
        names = self.topology.names
        nodes = asyncio.gather(*(self.node(name) for name in names))
        (seen_nodes, archive, former, hosts), (pgbouncers, ways, keys, backups) = await asyncio.gather(
            asyncio.gather(nodes, self.archive(), self._former(), self._all_hosts()),
            asyncio.gather(self.pgbouncers(), self.ways(), self._keys(), self.backups()),
        )
        obstacle, authority = await self._before_archive(archive), observe_authority(self.topology, self.world)
        seen = dict(zip(names, await self._places(seen_nodes), strict=True))
        astray = [name for name in names if _astray(seen, name)]
        failing = [name for name in names if self._neighbours and _archiving_fails(seen[name])]
        counting = [*astray, *(name for name in names if _counts_from_nothing(seen[name]))]
        looks, archive, beyond = await asyncio.gather(
            asyncio.gather(*(self._local_wal(name, seen[name]) for name in astray)),
            self._with_segments(archive, seen[counting[0]] if counting else None),
            observe_beyond(self.topology, self.world, seen),
        )
        seen |= {name: replace(seen[name], wal=wal) for name, wal in zip(astray, looks, strict=True)}
        seen |= {name: replace(seen[name], beyond=fact) for name, fact in beyond.items()}
        seen |= {name: replace(seen[name], archive_said=await self._archive_said(name, seen[name])) for name in failing}
        archive = await self._with_newer(archive, seen)
        stream = await observe_stream(self.topology, self.world, seen, archive, self._replication_password())
        passwords, now = observe_passwords(self.world.workspace), self.world.clock.now()
        return Observed(
            *(seen, archive, former, obstacle, hosts, authority, now, ways, keys),
            backups=backups,
            passwords=passwords,
            pgbouncers=pgbouncers,
            cannot_compress=await self._cannot_compress(),
            stream=stream,
        )

    async def _cannot_compress(self) -> tuple[str, ...]:
        return await hosts_without_compressor(self.topology, self.world) if self._try_paths else ()

    async def _places(self, nodes: Sequence[ObservedNode]) -> list[ObservedNode]:
        """What stands where nodes without data would get folders outside their data directory."""
        tablespaces = {place: None for seen in nodes if seen.directory for place in seen.directory.tablespaces}

        async def looked(node: Node, seen: ObservedNode) -> ObservedNode:
            if self._try_paths and tablespaces and isinstance(seen.reachable, Known):
                host = self.world.host(node.host)
                disks = {place: await _disk(host, place) for place in tablespaces}
                known = {place: disk.value for place, disk in disks.items() if isinstance(disk, Known)}
                seen = replace(seen, tablespace_disks=known)
            if self._try_paths and seen.directory and seen.directory.outside:
                places = dict.fromkeys(seen.directory.outside.values())
                seen = replace(seen, mounted=await mounted_places(self.world.host(node.host), places))
            if self.topology.archives and seen.running is None and seen.control and not seen.control.was_standby:
                waiting = await waiting_for_archive(self.world.host(node.host), node.data_directory)
                seen = replace(seen, unarchived=waiting)
            wanted = [*([node.wal_directory] if node.wal_directory else []), *tablespaces]
            if not isinstance(seen.data, Absent) or not wanted:
                return seen
            blocked = await blocked_places(self.world.host(node.host), wanted, seen.claimed)
            return replace(seen, blocked=blocked)

        return list(await asyncio.gather(*map(looked, self.topology.nodes, nodes)))

    async def nodes(self, wanted: Mapping[NodeName, Parts]) -> Observed:
        """Only these nodes and parts, and no archive: what a step needs to be judged. The rest is Unknown."""
        known = [name for name in wanted if name in self.topology.names]
        nodes = await asyncio.gather(*(self._look(self.topology.node(name), wanted[name]) for name in known))
        former = await self._former() if len(known) < len(wanted) else ()
        return Observed(dict(zip(known, nodes, strict=True)), ABSENT, former)

    async def node(self, name: NodeName) -> ObservedNode:
        return await self._look(self.topology.node(name))

    def remember_versions(self) -> None:
        """So that the next command need not ask the same programs. For who holds the lock."""
        news = self._versions.news
        if news:
            self.world.workspace.remember_versions(news)

    def _replication_password(self) -> Secret | None:
        return self.world.workspace.secret(REPLICATION_SECRET)

    def forget_programs(self) -> None:
        """After programs were copied, or an account was made."""
        self._programs.clear()
        self._systems.clear()

    async def archive(self) -> Fact[ArchiveFolder]:
        return await observe_archive_folder(self.topology, self.world)

    async def backups(self) -> Fact[Backups]:
        """The base backups in the archive. Where that has several clusters, those of the data that the nodes have: of
        another one nothing is ever removed or continued, even where it has the same name."""
        fact = await observe_backups(self.topology, self.world)
        if isinstance(fact, Known) and len(fact.value.systems) > 1:
            seen = await self.nodes({name: frozenset({Part.DATA}) for name in self.topology.names})
            if mine := frozenset(seen.system_identifiers().values()):
                return await observe_backups(self.topology, self.world, mine)
        return fact

    async def backups_to_restore(self) -> Fact[Backups]:
        """The same; and where there is none of that data, as after a cluster was built anew under its old name, what
        there is of any cluster of this name."""
        fact = await self.backups()
        if isinstance(fact, Known) and not fact.value.kept:
            others = await observe_backups(self.topology, self.world)
            if isinstance(others, Known) and others.value.kept:
                return Known(Backups(others.value.kept))
        return fact

    async def pgbouncers(self) -> Mapping[PgbouncerName, ObservedPgbouncer]:
        return await observe_pgbouncers(self.topology, self.world)

    async def ways(self) -> Mapping[NodeName, tuple[WalWay, ...]]:
        """Asked by real connections, so only for plans."""
        return await observe_ways(self.topology, self.world) if self._try_paths else {}

    async def _keys(self) -> Mapping[str, KeysOnHost]:
        """Only where there may be keys: on hosts of which there are several."""
        hosts = {node.host.url for node in self.topology.nodes} | {host.url for host in self.topology.archive_hosts}
        hosts |= {built.host for built in self.world.workspace.built_nodes()}
        return await observe_keys(self.topology, self.world, hosts) if self._try_paths and len(hosts) > 1 else {}

    async def _before_archive(self, archive: Fact[ArchiveFolder]) -> Fact[Obstacle]:
        wanted = self.topology.archive
        if wanted is None or (isinstance(archive, Known) and not archive.value.elsewhere):
            return ABSENT
        hosts = [self.world.host(host) for host in self.topology.archive_hosts]
        found = await asyncio.gather(*(_obstacle(host, wanted.directory) for host in hosts))
        return next((fact for fact in found if isinstance(fact, Known)), found[0])

    async def _all_hosts(self) -> Mapping[str, ObservedHost]:
        """Looked at once in a command, and not at all where there is only one."""
        if self._hosts is None:
            addresses = list(dict.fromkeys(node.host for node in self.topology.nodes))
            looks = []
            if len(addresses) > 1:
                for address in addresses:
                    others = [node for node in self.topology.nodes if node.host != address and self._try_paths]
                    looks.append(observe_host(self.world.host(address), self.world.clock, others, self._behind))
            seen = await asyncio.gather(*looks)
            self._hosts = {address.url: host for address, host in zip(addresses, seen, strict=False)}
        return self._hosts

    def _behind(self, node: Node) -> Host:
        return self.world.host(node.host)

    async def _local_wal(self, name: NodeName, seen: ObservedNode) -> Fact[LocalWal]:
        node, control = self.topology.node(name), seen.control
        assert control is not None
        return await observe_local_wal(self.world.host(node.host), node.data_directory, control)

    async def _archive_said(self, name: NodeName, seen: ObservedNode) -> str:
        path, lines = await observe_log(self.topology, self.world, self.topology.node(name), seen)
        return said_by_the_archive_command(lines) if path else ""

    async def _with_segments(self, found: Fact[ArchiveFolder], seen: ObservedNode | None) -> Fact[ArchiveFolder]:
        """Counted for one of the nodes, in whose name all segments are."""
        archive, control = self.topology.archive, seen.control if seen else None
        if archive is None or control is None or not isinstance(found, Known):
            return found
        system, size = control.system_identifier, control.wal_segment_bytes
        hosts = [self.world.host(host) for host in self.topology.archive_hosts]
        segments = await observe_archived(hosts, archive, system, size)
        return Known(replace(found.value, segments=segments))

    async def _with_newer(
        self, found: Fact[ArchiveFolder], seen: Mapping[NodeName, ObservedNode]
    ) -> Fact[ArchiveFolder]:
        archive = self.topology.archive
        tops: list[Server | ControlData] = [
            node.running for node in seen.values() if node.running is not None and not node.running.in_recovery
        ]
        # Without one, those that a start makes a primary: standbys beside it are not to start before it is seen.
        tops = tops or [
            node.control
            for node in seen.values()
            if node.control is not None and (claims_primary(node) or is_fenced(node))
        ]
        if archive is None or not tops or not isinstance(found, Known):
            return found
        lowest = min(tops, key=lambda top: top.timeline)
        system = lowest.system_identifier
        if system not in (*found.value.systems, *found.value.elsewhere):
            return found
        hosts = [self.world.host(host) for host in self.topology.archive_hosts]
        newer = await observe_newer(hosts, archive, system, int(lowest.timeline))
        return newer if isinstance(newer, Unknown) else Known(replace(found.value, newer=newer))

    async def _look(self, node: Node, parts: Parts = EVERYTHING) -> ObservedNode:
        host = self.world.host(node.host)
        try:
            account = await host.account()
            if not isinstance(account, Known):
                return await self._without_account(node, host, account)
            password = self.world.workspace.secret(REPLICATION_SECRET)
            around = Part.SURROUNDINGS in parts
            # Side by side: two wait for programs, one for the server.
            (programs, data), (postmaster, server, port_holder), system = await asyncio.gather(
                self._on_disk(host, node, parts, password),
                self._in_memory(host, node, parts, password),
                self._system_of(host) if around else _no_system(),
            )
            registration, service = (
                await observe_layout(host, node, system, self.topology) if around else (ABSENT, ABSENT)
            )
            seen = isinstance(data, Known) or not around
            beside = await host.list_directory(posixpath.dirname(node.data_directory)) or () if around else ()
            merges = await observe_merges(
                host, beside, node.data_directory, self.topology.cluster, node.name, there=not isinstance(data, Absent)
            )
            leftovers = (*_leftovers(beside, node.data_directory), *merges.unused)
            return ObservedNode(
                reachable=Known(True),
                account=account,
                programs=programs,
                data=data,
                postmaster=postmaster,
                server=server,
                port_holder=port_holder,
                disk=await _disk(host, node.data_directory) if around else NOT_LOOKED,
                wal_disk=await _disk(host, node.wal_directory) if around and node.wal_directory else ABSENT,
                replaced=(*await _replaced(host, beside, node, self.topology.cluster), *merges.abandoned),
                merges=merges.pending,
                restores=await observe_cut_off_restores(host, beside, node, data, self.world.workspace),
                drills=await observe_cut_off_drills(host, beside, node, self.world.workspace),
                leftovers=leftovers,
                leftover_bytes=await held_by(host, leftovers),
                claimed=await claimed_places(host, leftovers),
                obstacle=ABSENT if seen else await _obstacle(host, posixpath.dirname(node.data_directory)),
                system=system,
                registration=registration,
                service=service,
                tls=await observe_tls(self.topology, self.world, node, host, postmaster)
                if Part.TLS in parts
                else NOT_LOOKED,
            )
        except HostUnreachable as failure:
            return _out_of_reach(failure)
        except HostFailure as failure:
            before = await _obstacle(host, posixpath.dirname(node.data_directory))
            return replace(_out_of_reach(failure), obstacle=before)

    async def _without_account(self, node: Node, host: Host, account: Fact[str]) -> ObservedNode:
        """No account to run as yet: then there is no server either, and the programs cannot be tried."""
        entries = await host.list_directory(node.data_directory)
        data = Unknown("there is no account to look at it as") if entries else ABSENT
        return ObservedNode(
            reachable=Known(True),
            account=account,
            programs=await self._programs_on(host),
            data=data,
            postmaster=ABSENT,
            server=ABSENT,
            port_holder=await self._port_holder(host, node, ABSENT),
            disk=await _disk(host, node.data_directory),
            obstacle=ABSENT if entries else await _obstacle(host, posixpath.dirname(node.data_directory)),
            system=await self._system_of(host),
        )

    async def _on_disk(
        self, host: Host, node: Node, parts: Parts, password: Secret | None
    ) -> tuple[Fact[Programs], Fact[DataDirectory]]:
        if Part.DATA not in parts:
            return NOT_LOOKED, NOT_LOOKED
        programs = await self._programs_on(host)
        directory = programs.value.directory if isinstance(programs, Known) and programs.value.usable else ""
        return programs, await observe_directory(host, node.data_directory, directory, self.topology, password)

    async def _in_memory(
        self, host: Host, node: Node, parts: Parts, password: Secret | None
    ) -> tuple[Fact[Postmaster], Fact[Server], Fact[str]]:
        postmaster = await observe_postmaster(host, node.data_directory)
        holder = await self._port_holder(host, node, postmaster) if Part.PORT in parts else NOT_LOOKED
        if isinstance(holder, Known):
            # It may be the node's own server, that somebody started only now: an interrupted run's pg_ctl, say.
            postmaster = await observe_postmaster(host, node.data_directory)
            if isinstance(postmaster, Known) and postmaster.value.port in (0, node.port):
                holder = ABSENT
        server = await self._server(node, postmaster, password) if Part.SERVER in parts else NOT_LOOKED
        return postmaster, server, holder

    async def _programs_on(self, host: Host) -> Fact[Programs]:
        async with self._asking_for_programs.setdefault(host.name, asyncio.Lock()):
            if host.name not in self._programs:
                self._programs[host.name] = await observe_programs(host, self.topology, self._versions)
            return self._programs[host.name]

    async def _system_of(self, host: Host) -> System:
        async with self._asking_for_systems.setdefault(host.name, asyncio.Lock()):
            if host.name not in self._systems:
                self._systems[host.name] = await observe_system(
                    host, self.topology, self._programs_on(host), listed=self._neighbours
                )
            return self._systems[host.name]

    async def _server(self, node: Node, postmaster: Fact[Postmaster], password: Secret | None) -> Fact[Server]:
        if not isinstance(postmaster, Known):
            return postmaster
        port, socket = postmaster.value.port or node.port, postmaster.value.socket
        try:
            return Known(await self._ask(node, port, socket, password))
        except DatabaseUnreachable:
            # The session may be one to a server that has been restarted since: once more, with a new one.
            await self.world.drop_session(node, port)
        except DatabaseRefused as refused:
            return Unknown(refused.why)
        except HostFailure as failure:
            return Unknown(failure.why, failure.next_step)
        try:
            return Known(await self._ask(node, port, socket, password))
        except (DatabaseUnreachable, DatabaseRefused, HostFailure) as failure:
            await self.world.drop_session(node, port)
            return Unknown(failure.why, failure.next_step)

    async def _ask(self, node: Node, port: int, socket: str, password: Secret | None) -> Server:
        workspace = self.world.workspace
        # Only while it is changed somebody asks whether every node has it, and comparing takes its time.
        changing = any(workspace.secret(of(SUPERUSER_SECRET)) for of in (next_of, former_of))
        superuser = workspace.secret(SUPERUSER_SECRET) if changing else None
        session = await open_session(self.topology, self.world, node, port, socket)
        return await session.observe(password, superuser)

    async def _port_holder(self, host: Host, node: Node, postmaster: Fact[Postmaster]) -> Fact[str]:
        if isinstance(postmaster, Known) and postmaster.value.port in (0, node.port):
            return ABSENT
        # Over SSH its server is asked by its host's loopback address, where it listens too.
        for address in dict.fromkeys((node.address, *(() if node.host.is_local else (_LOOPBACK,)))):
            if holder := await host.port_holder(address, node.port):
                return Known(holder)
        return ABSENT

    async def _former(self) -> tuple[FormerNode, ...]:
        """Nodes that the workspace remembers and the topology does not have (or has elsewhere)."""
        gone = [
            built
            for built in self.world.workspace.built_nodes()
            if built.name not in self.topology.names and built.host in self.world.hosts
        ]
        nodes = [Node(NodeName(b.name), b.port, b.data_directory, HostAddress(b.host), b.address) for b in gone]
        looks = await asyncio.gather(*(self._look(node) for node in nodes))
        return tuple(
            FormerNode(node.name, node.data_directory, node.port, seen, node.host)
            for node, seen in zip(nodes, looks, strict=True)
            if not _somebody_elses(node, seen, self.topology)
        )


def _astray(seen: Mapping[NodeName, ObservedNode], name: NodeName) -> bool:
    """Whether a node has the data of a standby, and no server says that it streams."""
    node = seen[name]
    data = node.directory
    if data is None or node.control is None or not data.ours or not data.standby_signal:
        return False
    return not any(
        sender.application_name == name and sender.state == "streaming"
        for other in seen.values()
        for sender in (other.running.senders if other.running else ())
    )


def _archiving_fails(seen: ObservedNode) -> bool:
    return bool(seen.running and seen.running.archiver and seen.running.archiver.failing)


def _counts_from_nothing(seen: ObservedNode) -> bool:
    """Whether a primary has archived nothing since its statistics began: they are lost when a server crashes."""
    server = seen.running
    return server is not None and not server.in_recovery and not (server.archiver and server.archiver.archived_count)


def _somebody_elses(node: Node, seen: ObservedNode, topology: Topology) -> bool:
    """A folder that was a node's once, and is another's or nobody's now, is left alone."""
    data = seen.directory
    if data is None:
        return False
    return data.marker is None or (data.marker.cluster, data.marker.node) != (topology.cluster, node.name)


async def _no_system() -> System:
    return System()


def _out_of_reach(failure: PgtandemError) -> ObservedNode:
    reason = Unknown(failure.why or failure.what, failure.next_step)
    if isinstance(failure, HostUnreachable):
        return ObservedNode(reason, reason, reason, reason, reason, reason, reason, reason)
    return ObservedNode(Known(True), reason, reason, reason, reason, reason, reason, reason)


async def _disk(host: Host, path: str) -> Fact[DiskSpace]:
    try:
        return Known(await host.disk_space(path))
    except HostFailure as failure:
        return Unknown(f"{failure.what}: {failure.why}")


async def _obstacle(host: Host, path: str) -> Fact[Obstacle]:
    try:
        found = await host.obstacle(path)
    except (HostUnreachable, HostFailure) as failure:
        return Unknown(f"{failure.what}: {failure.why}")
    return ABSENT if found is None else Known(found)


def _leftovers(names: Sequence[str], path: str) -> tuple[str, ...]:
    return tuple(posixpath.join(posixpath.dirname(path), name) for name in names if is_leftover(name, path))


async def _replaced(host: Host, names: Sequence[str], node: Node, cluster: str) -> tuple[str, ...]:
    """Data directories of this node, by their marker, that a new copy took the place of."""
    parent = posixpath.dirname(node.data_directory)
    paths = [posixpath.join(parent, name) for name in names if is_replaced(name, node.data_directory)]
    markers = [await observe_marker(host, path) for path in paths]
    return tuple(path for path, marker in zip(paths, markers, strict=True) if marker == Marker(cluster, node.name))
