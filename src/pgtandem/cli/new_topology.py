"""A first topology file: free ports, a folder that the servers can use, comments."""

import contextlib
import glob
import os
import re
import shlex
import socket
import stat
import unicodedata
from dataclasses import dataclass, replace

from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.topology import (
    Archive,
    Binaries,
    Durability,
    HostAddress,
    Method,
    Node,
    Replication,
    Synchronous,
    Topology,
)
from pgtandem.postgres.conf import parse_settings
from pgtandem.topology.load import load_topology
from pgtandem.topology.places import host_name
from pgtandem.topology.render import render_topology

#: How many standbys there are where nobody says.
DEFAULT_STANDBYS = 1

_SHARED_HOME = "/var/lib/pgtandem"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line said."""

    name: str | None = None
    standbys: int | None = None
    hosts: tuple[str, ...] = ()
    postgresql: int = 18
    binaries: str | None = None
    first_port: int | None = None
    durability: str = "on"
    synchronous: str = "none"
    archive: bool = True


def write_topology(path: str, wishes: Wishes) -> None:
    """Writes a new topology file. Raises PgtandemError PT-1006 for wishes that contradict each other, PT-1005 when
    there is one, PT-1008 when the folder cannot be written."""
    folder = os.path.dirname(path)
    if os.path.lexists(path):
        raise PgtandemError(
            "PT-1005", f"{path} is there already", why="It is not overwritten.", next_step="edit it, or move it away"
        )
    topology = _topology(folder, wishes)
    text = render_topology(topology, folder=folder)
    try:
        load_topology(text, folder=folder, source="what was asked for")
    except PgtandemError as error:
        raise _as_options(error) from None
    write_text(path, text)


def write_text(path: str, text: str) -> None:
    """Writes a file that is not there yet. Raises PgtandemError PT-1008."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        _write_new(path, text)
    except (FileExistsError, NotADirectoryError):
        raise PgtandemError("PT-1008", f"could not write {path}", why=f"{folder} is not a folder.") from None
    except (OSError, UnicodeEncodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "Its name is not UTF-8"
        raise PgtandemError("PT-1008", f"could not write {path}", why=f"{why}.") from None


def _write_new(path: str, text: str) -> None:
    """A file that is there whole, or not at all."""
    content = text.encode()
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        raise
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


#: Keys of the topology file that options of init are about.
_OPTIONS = {
    "cluster.name": "--name",
    "cluster.postgresql": "--postgresql",
    "cluster.binaries": "--binaries",
    "replication.durability": "--durability",
    "replication.synchronous": "--synchronous",
}


def _as_options(error: PgtandemError) -> PgtandemError:
    """Problems of a file that was never written, told as those of the options."""
    problems = tuple(
        replace(problem, where=_OPTIONS.get(problem.where, problem.where), next_step=_option_texts(problem.next_step))
        for problem in error.problems
    )
    return PgtandemError("PT-1006", error.what, why=error.why, next_step=error.next_step, problems=problems)


def _option_texts(text: str) -> str:
    """'synchronous = "none"' as --synchronous none"""

    def as_option(match: re.Match[str]) -> str:
        value = match.group(2) or match.group(3)
        return f"--{match.group(1)} {shlex.quote(value)}"

    return re.sub(r'\b(name|postgresql|binaries|durability|synchronous) = (?:"([^"]*)"|(\d+))', as_option, text)


def _topology(folder: str, wishes: Wishes) -> Topology:
    if wishes.hosts:
        return _on_hosts(folder, wishes)
    standbys = DEFAULT_STANDBYS if wishes.standbys is None else wishes.standbys
    if not 0 <= standbys <= 50:
        raise PgtandemError("PT-1006", f"--standbys is a number from 0 to 50, not {standbys}")
    if wishes.first_port is not None and not 1024 <= wishes.first_port <= 65535:
        raise PgtandemError("PT-1006", f"--port is a number from 1024 to 65535, not {wishes.first_port}")
    cluster = wishes.name or name_of(folder)
    home = _data_home(folder, cluster)
    ports = _free_ports(wishes.first_port or 5432, 1 + standbys)
    names = [NodeName(f"db{number}") for number in range(1, 2 + standbys)]
    binaries, bin_directory = _binaries(wishes.binaries)
    return Topology(
        cluster=cluster,
        postgresql=wishes.postgresql,
        nodes=tuple(Node(name, port, f"{home}/data/{name}") for name, port in zip(names, ports, strict=True)),
        replication=Replication(_durability(wishes.durability), _synchronous(wishes.synchronous)),
        archive=Archive(f"{home}/archive") if wishes.archive else None,
        binaries=binaries,
        bin_directory=bin_directory,
    )


def _on_hosts(folder: str, wishes: Wishes) -> Topology:
    """A node per host, each at the same port and in the same folder."""
    if wishes.standbys is not None:
        raise PgtandemError(
            "PT-1006", "--standbys and --host cannot be given together", next_step="one --host per node"
        )
    cluster = wishes.name or name_of(folder)
    hosts = [HostAddress(url) for url in wishes.hosts]
    for host in hosts:
        if not host_name(host):
            what = f'--host "{host.url}" is not of the form ssh://[user@]address[:port]'
            raise PgtandemError("PT-1006", what, next_step="for example --host ssh://postgres@10.0.0.1")
    binaries, bin_directory = _binaries(wishes.binaries)
    directory = f"/var/lib/postgresql/{wishes.postgresql}/{cluster}"
    port = wishes.first_port or 5432
    return Topology(
        cluster=cluster,
        postgresql=wishes.postgresql,
        nodes=tuple(
            Node(NodeName(f"db{number}"), port, directory, host, host_name(host))
            for number, host in enumerate(hosts, 1)
        ),
        replication=Replication(_durability(wishes.durability), _synchronous(wishes.synchronous)),
        binaries=binaries,
        bin_directory=bin_directory,
    )


def _durability(text: str) -> Durability:
    try:
        return Durability(text)
    except ValueError:
        levels = ", ".join(level.value for level in Durability)
        raise PgtandemError("PT-1006", f'--durability is one of {levels}, not "{text}"') from None


def _synchronous(text: str) -> Synchronous:
    match = re.fullmatch(r"(first|any) (\d+)", text)
    if match:
        return Synchronous(Method(match.group(1)), int(match.group(2)))
    if text == "none":
        return Synchronous(Method.NONE)
    raise PgtandemError("PT-1006", f'--synchronous is "none", "first N" or "any N", not "{text}"')


def _binaries(text: str | None) -> tuple[Binaries, str | None]:
    if text is None:
        return Binaries.AUTO, None
    if text in {kind.value for kind in Binaries}:
        return Binaries(text), None
    return Binaries.AUTO, os.path.abspath(text)


def name_of(folder: str) -> str:
    """A name of a cluster made from that of a folder."""
    letters = unicodedata.normalize("NFKD", os.path.basename(folder)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", letters).strip("-.")[:40]
    return name if re.match(r"[A-Za-z]", name) else f"cluster{'-' + name if name else ''}"[:40]


def _free_ports(first: int, count: int) -> list[int]:
    """The first ports from `first` on that nobody listens on, and that no cluster of the distribution has."""
    found: list[int] = []
    taken = _ports_of_installed_clusters()
    for port in range(first, 65536):
        if len(found) == count:
            break
        if port not in taken and _free(port):
            found.append(port)
    if len(found) < count:
        raise PgtandemError(
            "PT-1006", f"there are no {count} free ports from {first} on", next_step="--port with a lower number"
        )
    return found


def _ports_of_installed_clusters() -> set[int]:
    """What clusters that are stopped now will want again, as far as Debian's configuration can be read."""
    ports: set[int] = set()
    for path in glob.glob("/etc/postgresql/*/*/postgresql.conf"):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8", errors="replace") as file:
            ports.add(int(parse_settings(file.read()).get("port", "5432")))
    return ports


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _data_home(folder: str, cluster: str) -> str:
    """Below the topology file's folder; for root, where the servers' account could not get there, below /var/lib."""
    if os.geteuid() != 0:
        return folder
    at = folder
    while True:
        if os.path.isdir(at) and not os.stat(at).st_mode & stat.S_IXOTH:
            return f"{_SHARED_HOME}/{cluster}"
        if at == os.path.dirname(at):
            return folder
        at = os.path.dirname(at)
