"""What every command begins with: the topology file, and the real world behind the ports."""

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar

from pgtandem.cli.invocation import FILE_NAME
from pgtandem.errors import PgtandemError
from pgtandem.model.topology import Topology
from pgtandem.ports import Host, World
from pgtandem.topology.load import load_topology

T = TypeVar("T")

#: For so long somebody whose writes wait waits for a login to a host that decides nothing.
_PATIENCE_SECONDS = 3.0


def topology_path(options: argparse.Namespace) -> str:
    """The topology file that the command line means: -f FILE, DIR/pgtandem.toml, or the one in this folder.

    A folder after -f means the file in it. Raises PgtandemError PT-1006.
    """
    directory = getattr(options, "directory", None)
    if options.file and directory:
        raise PgtandemError(
            "PT-1006",
            f'both a folder ("{directory}") and -f ("{options.file}") were given',
            next_step="name one of the two",
        )
    if options.file and not os.path.isdir(options.file):
        return _absolute(options.file)
    return _absolute(os.path.join(options.file or directory or ".", FILE_NAME))


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise PgtandemError(
            "PT-1006",
            "the folder that this shell is in was removed",
            next_step="cd to a folder that exists",
        ) from None


def read_topology(path: str) -> Topology:
    """Raises PgtandemError PT-1001 to PT-1004."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise PgtandemError(
            "PT-1001",
            f"there is no topology file {path}",
            next_step="pgtandem init   (writes one)   or   pgtandem up   (writes one and builds the cluster)",
        ) from None
    except (OSError, ValueError) as error:
        why = f"{error.strerror}." if isinstance(error, OSError) else "It is not UTF-8 text."
        raise PgtandemError("PT-1002", f"could not read {path}", why=why) from None
    return load_topology(text, folder=os.path.dirname(path), source=path)


def can_wait(topology: Topology, url: str, servers: Collection[str]) -> bool:
    """Whether a failover can do without the host: it has the archive and no server, and confirms no commit. What was
    not archived is handed in by the new primary, whether the archive could be asked before or not."""
    if url in servers or any(pgbouncer.host.url == url for pgbouncer in topology.pgbouncers):
        return False
    return topology.archive is not None and not topology.archive.stream


def open_world(
    path: str,
    topology: Topology,
    *,
    accept_new_host_keys: bool = False,
    keep_logins: bool = True,
    urgent: bool = False,
) -> World:
    """The real adapters; the workspace lies beside the topology file. No host is connected to yet.

    Logins over SSH stay for the next command for a while, with `keep_logins` and on hosts that the topology names.
    Where it is `urgent`, hosts that can wait are not waited for.

    Raises PgtandemError PT-1006 where the environment says something impossible of kept logins.
    """
    from pgtandem.adapters.certificates import X509Certificates
    from pgtandem.adapters.clock import SystemClock
    from pgtandem.adapters.database import PsycopgDatabase
    from pgtandem.adapters.hosts.local import LocalHost
    from pgtandem.adapters.workspace import FolderWorkspace

    workspace = FolderWorkspace(os.path.dirname(path))
    hosts: dict[str, Host] = {"local": LocalHost()}
    servers = [node.host.url for node in topology.nodes] + [built.host for built in workspace.built_nodes()]
    urls = servers + [host.url for host in topology.archive_hosts]
    urls += [pgbouncer.host.url for pgbouncer in topology.pgbouncers]
    former = {built.host for built in workspace.built_nodes()} - {node.host.url for node in topology.nodes}
    remote = [url for url in dict.fromkeys(urls) if url not in hosts]
    if remote:
        from pgtandem.adapters.hosts.ssh import SshHost
        from pgtandem.adapters.hosts.ssh_address import parse_ssh_url
        from pgtandem.cli.host_keys import ask_for_key
        from pgtandem.cli.logins import kept_logins

        ask, kept = ask_for_key(), kept_logins()
        for url in remote:
            # Where no server runs there need be no account postgres: the archive belongs to who logs in.
            account = "postgres" if url in servers else parse_ssh_url(url).user or "postgres"
            logins = kept if keep_logins and url not in former else kept.without_leaving()
            patience = _PATIENCE_SECONDS if urgent and can_wait(topology, url, servers) else None
            hosts[url] = SshHost(
                *(url, account),
                accept_new_host_keys=accept_new_host_keys,
                ask=ask,
                kept=logins,
                patience_seconds=patience,
            )
    database, certificates = PsycopgDatabase(), X509Certificates()
    return World(hosts=hosts, database=database, workspace=workspace, clock=SystemClock(), certificates=certificates)


def in_world(
    path: str,
    topology: Topology,
    work: Callable[[World], Awaitable[T]],
    options: argparse.Namespace | None = None,
    *,
    keep_logins: bool = True,
    urgent: bool = False,
) -> T:
    """Runs the work with the world open, and closes it whatever comes."""

    from pgtandem.adapters.database import load_driver_soon

    async def run() -> T:
        accept = bool(getattr(options, "accept_new_host_keys", False))
        world = open_world(path, topology, accept_new_host_keys=accept, keep_logins=keep_logins, urgent=urgent)
        load_driver_soon()
        try:
            return await work(world)
        finally:
            await world.close()

    return result_of(run())


def result_of(work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to. It is kept aside: at its end `asyncio.run` makes the text of an error that nobody sees,
    in which the finished task is shown with its whole result."""
    results: list[T] = []

    async def run() -> None:
        results.append(await work)

    asyncio.run(run())
    return results[0]
