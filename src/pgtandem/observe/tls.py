"""TLS as it is: the CA, each node's files, the certificate that its server shows, and what sessions may ask for."""

import posixpath

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.observed import Authority, Certificate, NodeTls, Postmaster, PostmasterState
from pgtandem.model.topology import Node, Topology
from pgtandem.plan.tls import managed
from pgtandem.ports import (
    AUTHORITY_SECRET,
    SUPERUSER_SECRET,
    DatabaseUnreachable,
    Encryption,
    Host,
    HostFailure,
    Session,
    World,
)
from pgtandem.postgres.certificates import CERTIFICATE_FILE, KEY_FILE, ROOT_FILE
from pgtandem.postgres.hba import NO_PLAIN, find_block


def observe_authority(topology: Topology, world: World) -> Fact[Authority]:
    """The CA that pgtandem made, or the one that the topology file names; Absent where it is not made yet."""
    if topology.tls is None:
        return ABSENT
    try:
        if topology.tls.ca is not None:
            text = world.workspace.read_given(topology.tls.ca)
        else:
            secret = world.workspace.secret(AUTHORITY_SECRET)
            if secret is None:
                return ABSENT
            text = secret.reveal()
        return Known(world.certificates.read_authority(text))
    except PgtandemError as error:
        return Unknown(f"{error.what}: {error.why}")
    except ValueError:
        return Unknown("There is no certificate in that file." if topology.tls.ca else "What is stored is no CA.")


async def observe_tls(
    topology: Topology, world: World, node: Node, host: Host, postmaster: Fact[Postmaster]
) -> Fact[NodeTls]:
    """Absent where the topology has no TLS, or no such node."""
    if topology.tls is None or node.name not in topology.names:
        return ABSENT
    authority = observe_authority(topology, world)
    known = authority.value.text if isinstance(authority, Known) else None
    directory = node.data_directory
    try:
        own = await host.list_directory(posixpath.join(directory, "pgtandem")) or ()
        root = await host.read_file(posixpath.join(directory, ROOT_FILE))
        path = node.certificate or posixpath.join(directory, CERTIFICATE_FILE)
        key = posixpath.basename(KEY_FILE) in own if managed(topology) else await _key_usable(host, node)
        return Known(
            NodeTls(
                certificate=await _in_file(world, host, path, known),
                key=key,
                trust=None if root is None else root.decode(errors="replace"),
                served=await _served(world, node, host, postmaster, known),
            )
        )
    except HostFailure as failure:
        return Unknown(f"{failure.what}: {failure.why}")


async def _in_file(world: World, host: Host, path: str, authority: str | None) -> Fact[Certificate]:
    try:
        content = await host.read_file(path)
        return ABSENT if content is None else Known(world.certificates.read(content, authority))
    except HostFailure as failure:
        return Unknown(failure.why)
    except ValueError:
        return Unknown("It is not a certificate.")


async def _served(
    world: World, node: Node, host: Host, postmaster: Fact[Postmaster], authority: str | None
) -> Fact[Certificate]:
    if not isinstance(postmaster, Known):
        return postmaster
    if postmaster.value.state not in (PostmasterState.READY, PostmasterState.STANDBY):
        return ABSENT
    try:
        address, port = await host.forward(node.address, postmaster.value.port or node.port)
        content = await world.database.served_certificate(node.name, address, port)
        return ABSENT if content is None else Known(world.certificates.read(content, authority))
    except DatabaseUnreachable as failure:
        return Unknown(failure.why)
    except ValueError:
        return Unknown("It is not a certificate.")


async def _key_usable(host: Host, node: Node) -> bool:
    """Whether PostgreSQL takes the private key (manual, 19.9): read by its account, and by nobody else."""
    path, account = node.certificate_key or "", await host.account()
    if (await host.run(["test", "-r", path], deadline_seconds=20)).exit_code:
        return False
    said = await host.run(["stat", "-L", "-c", "%a %U", path], deadline_seconds=20)
    mode, _, owner = said.text.strip().partition(" ")
    if not mode.isdigit():
        return False
    if isinstance(account, Known) and owner == account.value:
        return int(mode, 8) & 0o077 == 0
    return owner == "root" and int(mode, 8) & 0o027 == 0


async def open_session(topology: Topology, world: World, node: Node, port: int, socket: str = "") -> Session:
    """The session of a node's server, open already or new. Raises DatabaseUnreachable.

    With a cluster that is taken over, the superuser may have no password yet: then the Unix socket in the folder
    `socket` is tried."""
    if world.has_session(node, port):
        return await world.session(node, port)
    if topology.adoption is None or not socket:
        return await _over_tcp(topology, world, node, port)
    if world.workspace.secret(SUPERUSER_SECRET) is None:
        return await world.session_by_socket(node, port, socket)
    try:
        return await _over_tcp(topology, world, node, port)
    except DatabaseUnreachable as refused:
        try:
            return await world.session_by_socket(node, port, socket)
        except (DatabaseUnreachable, HostFailure):
            raise refused from None


async def _over_tcp(topology: Topology, world: World, node: Node, port: int) -> Session:
    if topology.tls is None:
        return await world.session(node, port)
    return await world.session(node, port, await _encryption(world, node))


async def open_own_session(
    topology: Topology, world: World, node: Node, port: int, database: str = "postgres"
) -> Session:
    """A new session of a node's server that nobody else uses; the caller closes it. Raises DatabaseUnreachable."""
    if topology.tls is None:
        return await world.own_session(node, port, database=database)
    return await world.own_session(node, port, await _encryption(world, node), database)


async def _encryption(world: World, node: Node) -> Encryption:
    """Where the node's own pg_hba.conf refuses connections without TLS, nobody may talk us into one: the file comes by
    the way that reaches the host, not from whoever answers at the port."""
    try:
        content = await world.host(node.host).read_file(posixpath.join(node.data_directory, "pg_hba.conf"))
    except HostFailure:
        return Encryption.REQUIRED
    block = find_block((content or b"").decode(errors="replace")) or ""
    return Encryption.REQUIRED if NO_PLAIN.render() in block else Encryption.PREFERRED
