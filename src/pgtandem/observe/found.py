"""Servers that no topology file names: which ones run on a host, and what they and their files say."""

import asyncio
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.found import Found
from pgtandem.model.names import REPLICATION_ROLE, SUPERUSER, NodeName, Secret
from pgtandem.model.observed import Postmaster
from pgtandem.model.topology import HostAddress, Topology
from pgtandem.observe.directory import observe_marker, observe_postmaster
from pgtandem.observe.programs import observe_programs
from pgtandem.observe.wal_ways import ssh_home
from pgtandem.openssh.authorized_keys import granted_nodes, served_folder
from pgtandem.openssh.client import CONFIG_FILE, find_peer
from pgtandem.plan.desired import PASSFILE
from pgtandem.plan.wal_sources import ARCHIVE_HOST, FOLDER
from pgtandem.ports import Access, DatabaseRefused, DatabaseUnreachable, Host, HostFailure, Session, World
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.conninfo import parse_passfile
from pgtandem.postgres.hba import find_block
from pgtandem.postgres.wal_over_ssh import HOSTS_FILE

#: Every server process of the account that is the first of its server: process id, program, data directory. A server's
#: current folder is its data directory.
_RUNNING = r"""
for process in /proc/[0-9]*; do
  program=$(readlink "$process/exe" 2>/dev/null) || continue
  case ${program% (deleted)} in */postgres | */postmaster) ;; *) continue ;; esac
  data=$(readlink "$process/cwd" 2>/dev/null) || continue
  [ -r "$data/postmaster.pid" ] || continue
  read -r pid <"$data/postmaster.pid"
  [ "/proc/$pid" = "$process" ] && printf '%s\t%s\n' "$program" "$data"
done
exit 0
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which servers of a host are meant: all that run, or the one at a port, or in a data directory."""

    host: HostAddress
    port: int | None = None
    data_directory: str | None = None

    @property
    def words(self) -> str:
        at = f" at port {self.port}" if self.port else ""
        return at + (f" in {self.data_directory}" if self.data_directory else "")


async def find_servers(world: World, wanted: Sequence[Wanted], password: Secret | None) -> list[Found]:
    """Every server that is meant, each once. Raises PgtandemError PT-1006 where there is none, PT-2004 where one does
    not let pgtandem in, and whatever keeps a host from being asked."""
    lists = await asyncio.gather(*(_on_host(world, each, password) for each in wanted))
    found = {(one.host.url, one.data_directory): one for servers in lists for one in servers}
    return list(found.values())


async def _on_host(world: World, wanted: Wanted, password: Secret | None) -> list[Found]:
    host = world.host(wanted.host)
    account = await host.account()
    if not isinstance(account, Known):
        why = "There is no account that servers would run as."
        raise PgtandemError("PT-1006", f"no PostgreSQL server runs on {host.name}", why=why)
    said = await host.run(["sh", "-c", _RUNNING], deadline_seconds=60)
    rows = [line.split("\t") for line in said.text.splitlines() if "\t" in line]
    running = []
    for program, data in rows:
        postmaster = await observe_postmaster(host, data)
        if not isinstance(postmaster, Known):
            continue
        if wanted.port in (None, postmaster.value.port) and wanted.data_directory in (None, data):
            running.append((posixpath.dirname(program.removesuffix(" (deleted)")), data, postmaster.value))
    if not running:
        raise PgtandemError(
            "PT-1006",
            f"no PostgreSQL server of account {account.value} runs on {host.name}{wanted.words}",
            why="Only a server that runs can tell what it is and how it is set up.",
            next_step="start it as it was started until now, or name another port or data directory",
        )
    host_name = (await host.run(["uname", "-n"], deadline_seconds=20)).text.strip()
    return list(
        await asyncio.gather(
            *(
                _look(world, host, wanted.host, host_name, programs, data, postmaster, password)
                for programs, data, postmaster in running
            )
        )
    )


async def _look(
    world: World,
    host: Host,
    address: HostAddress,
    host_name: str,
    programs: str,
    data: str,
    postmaster: Postmaster,
    password: Secret | None,
) -> Found:
    session = await _session(world, host, data, postmaster, password)
    try:
        server = await session.observe(None)
    finally:
        await session.close()
    recovery = await _text(host, data, RECOVERY_FILE)
    found = Found(
        host=address,
        host_name=host_name,
        port=postmaster.port,
        data_directory=data,
        programs=programs,
        server=server,
        recovery=parse_settings(recovery),
        entries=await host.list_directory(data) or (),
        wal_directory=await host.read_link(posixpath.join(data, "pg_wal")) or "",
        marker=await observe_marker(host, data),
    )
    return found if found.marker is None else await _of_its_files(host, found)


async def _of_its_files(host: Host, found: Found) -> Found:
    """What pgtandem wrote into the data directory of a server that it built."""
    data = found.data_directory
    settings, records, passfile = [await _text(host, data, name) for name in (SETTINGS_FILE, "pg_hba.conf", PASSFILE)]
    usual = await observe_programs(host, Topology("", found.server.major, ()))
    return replace(
        found,
        written=parse_settings(settings),
        hba_block=find_block(records),
        peers=tuple((address, port) for address, port, _, _ in parse_passfile(passfile)),
        wal_host=await _pushes_to(host, found),
        usual_programs=isinstance(usual, Known) and await _is_same(host, usual.value.directory, found.programs),
    )


async def _is_same(host: Host, folder: str, other: str) -> bool:
    """Whether two paths lead to one folder."""
    done = await host.run(["test", folder, "-ef", other], deadline_seconds=20)
    return done.exit_code == 0


async def replication_password(world: World, found: Sequence[Found]) -> Secret | None:
    """The password of pgtandem's replication role, from the password file of a node that pgtandem built."""
    for each in found:
        if each.marker is not None:
            for _, _, user, secret in parse_passfile(await _text(world.host(each.host), each.data_directory, PASSFILE)):
                if user == REPLICATION_ROLE and secret.reveal():
                    return secret
    return None


async def _pushes_to(host: Host, found: Found) -> HostAddress | None:
    """The host with nothing but the archive, by the ssh configuration of the node; None where there is no such host."""
    place, *hosts = (await _text(host, found.data_directory, HOSTS_FILE)).splitlines() or [""]
    if hosts != [ARCHIVE_HOST]:
        return None
    home = (await ssh_home(host)).path
    for folder in (f"{place}.{found.server.system_identifier}", place):
        text = await _text(host, posixpath.join(home, FOLDER, folder), CONFIG_FILE)
        if peer := find_peer(text, ARCHIVE_HOST):
            address, port, account = peer
            shown = f"[{address}]" if ":" in address else address
            return HostAddress(f"ssh://{account}@{shown}" + (f":{port}" if port != 22 else ""))
    return None


async def folder_kept_for(host: Host, cluster: str, system: str) -> str:
    """Where the archive of a cluster is on the host of its own, by the keys that are let in there; "" for nowhere."""
    authorized = await host.read_file((await ssh_home(host)).authorized_keys) or b""
    for line in authorized.split(b"\n"):
        if granted_nodes(line, cluster, system):
            return served_folder(line).rpartition("/")[0]
    return ""


async def _text(host: Host, folder: str, name: str) -> str:
    return (await host.read_file(posixpath.join(folder, name)) or b"").decode(errors="replace")


async def _session(world: World, host: Host, data: str, postmaster: Postmaster, password: Secret | None) -> Session:
    """Over TCP with a password that was given, else through the server's Unix socket, as its account."""
    name, reasons = NodeName(data), []
    if password is not None:
        try:
            way, port = await host.forward("127.0.0.1", postmaster.port)
            return await world.database.connect(Access(name, way, port, SUPERUSER, password))
        except (DatabaseUnreachable, DatabaseRefused, HostFailure) as failure:
            if "password authentication failed" in failure.why:
                raise _not_let_in(host, data, [failure.why]) from None
            reasons.append(f"Over TCP: {failure.why}")
    if postmaster.socket:
        try:
            folder = await host.socket(postmaster.socket, postmaster.port)
            return await world.database.connect(Access(name, folder, postmaster.port, SUPERUSER, password))
        except (DatabaseUnreachable, DatabaseRefused, HostFailure) as failure:
            reasons.append(f"Through its socket in {postmaster.socket}: {failure.why}")
    raise _not_let_in(host, data, reasons)


def _not_let_in(host: Host, data: str, reasons: Sequence[str]) -> PgtandemError:
    return PgtandemError(
        "PT-2004",
        f"the server in {data} on {host.name} does not let {SUPERUSER} in",
        why=" ".join(reason if reason.endswith(".") else f"{reason}." for reason in reasons)
        or "It has no Unix socket, and no password was given.",
        next_step=f"give the password of its superuser {SUPERUSER}: --ask-password, or a DSN with it after --dsn; one "
        f'that is lost is set anew as docs/commands.md says under "adopt"',
    )


async def needs_password(world: World, found: Sequence[Found]) -> bool:
    """Whether the superuser has a password that pgtandem was not told: it never sets another one in its place."""
    return any(
        role.password_kind != "none"
        for each in found
        if not each.server.in_recovery
        for role in [each.server.roles.get(SUPERUSER)]
        if role is not None
    )


async def archive_is_shared(world: World, hosts: Sequence[HostAddress], directory: str) -> bool:
    """Whether the folder can be on some of the hosts only."""
    for address in hosts:
        host = world.host(address)
        if await host.list_directory(directory) is None and await host.obstacle(directory) is not None:
            return True
    return False
