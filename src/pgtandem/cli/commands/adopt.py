"""pgtandem adopt: writes the topology of a cluster that somebody else built, or whose topology file is lost. It changes
nothing on any host."""

import argparse
import os
import sys
from dataclasses import replace

from pgtandem.cli.adopted_text import adopted_text
from pgtandem.cli.dsn import Dsn, parse_dsn
from pgtandem.cli.invocation import short, spelled
from pgtandem.cli.new_topology import name_of, write_text
from pgtandem.cli.terminal import can_ask
from pgtandem.cli.workbench import in_world, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.found import Found
from pgtandem.model.names import SUPERUSER, NodeName, Secret
from pgtandem.model.topology import LOCAL, Archive, HostAddress, Node, Topology
from pgtandem.observe.found import (
    Wanted,
    archive_is_shared,
    find_servers,
    folder_kept_for,
    needs_password,
    replication_password,
)
from pgtandem.ports import REPLICATION_SECRET, SUPERUSER_SECRET, BuiltNode, World
from pgtandem.topology.infer import Inferred, infer_topology, without_refused
from pgtandem.topology.load import load_topology
from pgtandem.topology.places import host_name
from pgtandem.topology.rebuilt import known_as


def run(options: argparse.Namespace) -> int:
    path = topology_path(options)
    if os.path.lexists(path):
        raise PgtandemError(
            "PT-1005", f"{path} is there already", why="It is not overwritten.", next_step="edit it, or move it away"
        )
    folder = os.path.dirname(path)
    dsns = [parse_dsn(text) for text in options.dsn]
    wanted = _wanted(options.hosts, dsns)
    password = _given_password(options, dsns)

    async def look(world: World) -> tuple[list[Found], Secret | None, Secret | None]:
        # Where only the file was lost, the folder beside it still knows the password.
        known = password or world.workspace.secret(SUPERUSER_SECRET)
        found = await find_servers(world, wanted, known)
        if known is None and await needs_password(world, found):
            known = _ask()
            # What was typed is tried at once: a wrong one would only be noticed when servers are changed.
            await find_servers(world, wanted, known)
        return found, known, await replication_password(world, found)

    async def shared(world: World) -> bool:
        hosts = list(dict.fromkeys(node.host for node in inferred.topology.nodes))
        return archive is not None and await archive_is_shared(world, hosts, archive.directory)

    os.makedirs(folder, exist_ok=True)
    provisional = _provisional(wanted)
    found, known, replicating = in_world(path, provisional, look, options)
    built = known_as(found)
    if built is not None and options.name not in (None, built):
        why = "pgtandem built them, and each data directory says so."
        raise PgtandemError("PT-1006", f"the servers are of cluster {built}, not {options.name}", why=why)
    cluster = built or options.name or name_of(folder)
    found = _with_wal_folder(path, provisional, found, cluster, options)
    inferred = infer_topology(cluster, found)
    archive = inferred.topology.archive
    if archive is not None and archive.host is None and built is None and in_world(path, provisional, shared, options):
        inferred = infer_topology(cluster, found, shared_archive=True)
    inferred, text = _readable(inferred, folder)
    _store(folder, known, replicating, inferred.topology, found)
    write_text(path, text)
    _tell(inferred, found, path)
    return 0


def _with_wal_folder(
    path: str, provisional: Topology, found: list[Found], cluster: str, options: argparse.Namespace
) -> list[Found]:
    """The same servers, with the folder of their archive on a host of its own: only that host knows it."""
    host = next((each.wal_host for each in found if each.wal_host is not None), None)
    if host is None or host in {each.host for each in found}:
        return found

    async def look(world: World) -> str:
        return await folder_kept_for(world.host(host), cluster, found[0].server.system_identifier)

    folder = in_world(path, replace(provisional, archive=Archive("/", host)), look, options)
    return [replace(each, wal_folder=folder) if each.wal_host == host else each for each in found]


def _wanted(hosts: list[str], dsns: list[Dsn]) -> list[Wanted]:
    """What the command line names: hosts with what follows them, and the hosts of DSNs; without any, this machine."""
    wanted = [_host(text) for text in hosts]
    for dsn in dsns:
        if dsn.local:
            host = LOCAL
        else:
            named = [each.host for each in wanted if host_name(each.host) == dsn.host]
            host = named[0] if named else HostAddress(f"ssh://postgres@{dsn.url_host}")
        if Wanted(host) in wanted:
            wanted.remove(Wanted(host))  # the DSN says which of its servers
        if not any(each.host == host and each.port in (None, dsn.port) for each in wanted):
            wanted.append(Wanted(host, dsn.port))
    return wanted or [Wanted(LOCAL)]


def _host(text: str) -> Wanted:
    url, *rest = text.split(",")
    wanted = Wanted(HostAddress(url))
    if not wanted.host.is_local and not host_name(wanted.host):
        what = f'--host "{url}" is not "local" or of the form ssh://[user@]address[:port]'
        raise PgtandemError("PT-1006", what, next_step="for example --host ssh://postgres@10.0.0.1")
    for word in rest:
        key, _, value = word.partition("=")
        if key == "port" and value.isdigit():
            wanted = replace(wanted, port=int(value))
        elif key == "data_directory" and value.startswith("/"):
            wanted = replace(wanted, data_directory=value.rstrip("/"))
        else:
            what = f'--host does not know what to do with "{word}"'
            raise PgtandemError("PT-1006", what, next_step="--host URL,port=N   or   --host URL,data_directory=/PATH")
    return wanted


def _given_password(options: argparse.Namespace, dsns: list[Dsn]) -> Secret | None:
    """From the DSNs, typed, or from PGPASSWORD, which no list of processes shows."""
    given = {dsn.password.reveal() for dsn in dsns if dsn.password is not None}
    others = sorted({dsn.user for dsn in dsns} - {SUPERUSER, ""})
    if others:
        what = f"a DSN is for {others[0]}, and pgtandem connects as the superuser {SUPERUSER}"
        raise PgtandemError("PT-1006", what, next_step=f"postgres://{SUPERUSER}@HOST:PORT")
    if len(given) > 1:
        why = "Standbys have the passwords of their primary."
        raise PgtandemError("PT-1006", "the DSNs have different passwords", why=why)
    if options.ask_password:
        return _ask()
    if given:
        return Secret(given.pop())
    variable = os.environ.get("PGPASSWORD")
    return Secret(variable) if variable else None


def _ask() -> Secret:
    if not can_ask():
        raise PgtandemError(
            "PT-1007",
            f"the superuser {SUPERUSER} has a password, and there is no terminal to ask for it",
            why="pgtandem connects with it, and never sets another one in its place.",
            next_step="in the variable PGPASSWORD, or in a DSN after --dsn",
        )
    import getpass

    return Secret(getpass.getpass(f"Password of the superuser {SUPERUSER}: "))


def _provisional(wanted: list[Wanted]) -> Topology:
    """Only its hosts count."""
    nodes = tuple(Node(NodeName(f"n{number}"), 5432, "/", each.host) for number, each in enumerate(wanted))
    return Topology("found", 18, nodes)


def _readable(inferred: Inferred, folder: str) -> tuple[Inferred, str]:
    """The text, without the parameters that a topology file refuses: servers go on reading them where they stand."""
    text = adopted_text(inferred, folder)
    try:
        load_topology(text, folder=folder, source="what was found")
    except PgtandemError as error:
        refused = [problem.where for problem in error.problems if "parameters" in problem.where]
        if not refused:
            raise
        names = ", ".join(sorted({place.rpartition(".")[2] for place in refused}))
        remark = f"{names} stay where they are, and are not in this file: {error.problems[0].what}"
        inferred = Inferred(without_refused(inferred.topology, refused), (*inferred.remarks, remark))
        text = adopted_text(inferred, folder)
        load_topology(text, folder=folder, source="what was found")
    return inferred, text


def _store(
    folder: str, known: Secret | None, replicating: Secret | None, topology: Topology, found: list[Found]
) -> None:
    """The passwords, and which nodes pgtandem has built: who leaves the file must still be found."""
    from pgtandem.adapters.workspace import FolderWorkspace

    workspace = FolderWorkspace(folder)
    for name, secret in ((SUPERUSER_SECRET, known), (REPLICATION_SECRET, replicating)):
        if secret is not None and workspace.secret(name) != secret:
            workspace.store_secret(name, secret)
    built = {(each.host.url, each.data_directory) for each in found if each.marker is not None}
    for node in topology.nodes:
        if (node.host.url, node.data_directory) in built:
            workspace.remember_node(BuiltNode(node.name, node.host.url, node.address, node.port, node.data_directory))


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _tell(inferred: Inferred, found: list[Found], path: str) -> None:
    topology = inferred.topology
    by_place = {(each.host.url, each.data_directory): each for each in found}
    print(f"cluster {topology.cluster}: PostgreSQL {topology.postgresql}, {_count(len(topology.nodes))}")
    for node in topology.nodes:
        server = by_place[node.host.url, node.data_directory].server
        role = "standby" if server.in_recovery else "primary"
        where = "this machine" if node.host.is_local else node.host.url
        print(f"  {node.name}  {role} on {where}, port {node.port}, {node.data_directory}")
    for remark in inferred.remarks:
        print(f"note:  {remark}")
    print(f"wrote {short(path)}; nothing was changed on any host")
    print(spelled("next:  read it, then   pgtandem doctor   and   pgtandem plan", path))
    sys.stdout.flush()
