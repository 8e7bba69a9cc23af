"""From servers that were found to the topology that describes them: the pure half of `pgtandem adopt`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.found import Found
from pgtandem.model.names import REPLICATION_ROLE, SLOT_PREFIX, STREAM_NAME, SUPERUSER, NodeName
from pgtandem.model.server import Sender
from pgtandem.model.topology import (
    Adoption,
    Archive,
    BackupPolicy,
    Binaries,
    Durability,
    ForeignArchive,
    Method,
    Node,
    Replication,
    Synchronous,
    Topology,
)
from pgtandem.postgres.amounts import spelled
from pgtandem.postgres.archive_commands import archive_directory, find_tool, tool_restore_command
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.managers import managed_by
from pgtandem.postgres.settings import setting_spec
from pgtandem.postgres.sync_names import confirmations, listed_names
from pgtandem.topology import rebuilt
from pgtandem.topology.found_parameters import parameters_of
from pgtandem.topology.places import host_name

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
#: Who streams and is no standby.
_TOOLS = ("pg_basebackup", "pg_receivewal", "pg_receivexlog", "pg_recvlogical")


@dataclass(frozen=True, slots=True)
class Inferred:
    """The topology, and what somebody should know who reads it, as sentences."""

    topology: Topology
    remarks: tuple[str, ...]


def infer_topology(cluster: str, found: Sequence[Found], shared_archive: bool = False) -> Inferred:
    """What the servers are together. With `shared_archive` the primary's archive folder cannot be made on every host.

    Raises PgtandemError PT-3001, PT-3002, PT-3004, PT-3006, PT-3032 or PT-3033 where they are no cluster that can be
    taken over, each with the reason.
    """
    _refuse(found)
    primary = next(each for each in found if not each.server.in_recovery)
    servers = rebuilt.in_order([primary, *(each for each in found if each is not primary)], primary)
    names = dict(zip(map(id, servers), _names(servers), strict=True))
    upstreams = {id(each): _upstream(each, servers, primary) for each in servers if each is not primary}
    shared, own, remarks = parameters_of(servers, primary)
    built = primary.marker is not None
    nodes = tuple(
        Node(
            name=names[id(each)],
            port=each.port,
            data_directory=each.data_directory,
            host=each.host,
            address=rebuilt.own_address(each) or _address(each, servers, upstreams),
            upstream=names[id(up)] if (up := upstreams.get(id(each))) is not None and up is not primary else None,
            apply_delay=_delay(each),
            parameters=own[number],
            wal_directory=each.wal_directory or None,
        )
        for number, each in enumerate(servers)
    )
    replication, about_commits = _replication(primary, sum(up is primary for up in upstreams.values()))
    about_commits += _confirmed_by_others(primary, servers)
    archive, foreign, about_archive = _archive(primary, servers, nodes, shared_archive)
    adoption, about_roles = _adoption(primary, servers, upstreams)
    tls, about_tls = rebuilt.own_tls(primary) if built else (None, [])
    remarks += about_tls
    if built:
        remarks.insert(0, rebuilt.FORGOTTEN)
        if missing := rebuilt.missing_nodes(servers, primary):
            remarks.insert(
                0,
                f"{primary.marker.node if primary.marker else ''} also knows a node at {', at '.join(missing)}, and no "
                "server there was named: without it in this file it is no part of the cluster, and its slot goes; "
                "start it and run this again with its host too",
            )
    folders = {"" if each.usual_programs else each.programs for each in servers}
    alike = len(folders) == 1
    topology = Topology(
        cluster=cluster,
        postgresql=primary.server.major,
        nodes=nodes,
        replication=replication,
        archive=archive,
        foreign_archive=foreign,
        parameters=shared,
        tls=tls,
        hba_lines=rebuilt.own_records(primary) if built else (),
        backup=BackupPolicy(incremental=built and primary.written.get("summarize_wal") == "on"),
        binaries=Binaries.AUTO if alike else Binaries.SYSTEM,
        bin_directory=(folders.pop() or None) if alike else None,
        adoption=adoption,
    )
    return Inferred(topology, (*about_commits, *about_archive, *about_roles, *remarks))


def describe_topology(cluster: str, found: Sequence[Found], names: Sequence[NodeName]) -> Topology:
    """What servers seem to be together, however wrong that is: for who looks at them and changes nothing. Their
    settings are taken for nobody's wish, and their archive is not looked for."""
    primary = next((each for each in found if not each.server.in_recovery), found[0])
    order = [primary, *(each for each in found if each is not primary)]
    called = {id(each): name for each, name in zip(found, names, strict=True)}
    upstreams = {id(each): _upstream(each, order, primary) for each in order if each is not primary}
    nodes = tuple(
        Node(
            called[id(each)],
            each.port,
            each.data_directory,
            each.host,
            _address(each, order, upstreams),
            upstream=called[id(up)] if (up := upstreams.get(id(each))) is not None and up is not primary else None,
        )
        for each in order
    )
    replication, _ = _replication(primary, sum(up is primary for up in upstreams.values()))
    return Topology(cluster, primary.server.major, nodes, replication)


def label(each: Found) -> str:
    """How messages call a server that has no name yet."""
    where = "this machine" if each.host.is_local else host_name(each.host)
    return f"the server in {each.data_directory} on {where}"


def _refuse(found: Sequence[Found]) -> None:
    problems: list[tuple[str, Problem]] = []
    for each in found:
        where, role = label(each), each.server.roles.get(SUPERUSER)
        manager = managed_by({key: setting.value for key, setting in each.server.settings.items()}, each.entries)
        if manager:
            why = "Two that change roles and settings undo each other's work, and may make two primaries."
            next_step = f"let {manager} keep it; or remove {manager} first, so that the servers run without it"
            problems.append(("PT-3032", Problem(where, f"{where} is in the care of {manager}", why, next_step)))
        if role is None or not role.superuser or not role.login:
            why = "pgtandem connects as that role, and pg_rewind does."
            next_step = f"CREATE ROLE {SUPERUSER} SUPERUSER LOGIN"
            what = f"{where} has no superuser {SUPERUSER} that may log in"
            problems.append(("PT-3033", Problem(where, what, why, next_step)))
    systems = {each.server.system_identifier: each for each in found}
    if len(systems) > 1:
        what = "the servers are not one cluster"
        each_of = "; ".join(f"{label(one)}: {system}" for system, one in systems.items())
        why = f"Their system identifiers differ. {each_of}."
        problems.append(("PT-3004", Problem("", what, why, "name the servers of one cluster only")))
    elif len(majors := {each.server.major for each in found}) > 1:
        problems.append(("PT-3006", Problem("", f"the servers are of several major versions: {sorted(majors)}")))
    primaries = [each for each in found if not each.server.in_recovery]
    if len(primaries) > 1 and len(systems) == 1:
        what = f"{' and '.join(map(label, primaries))} are both primaries"
        why = "They take different writes, and nothing tells which of them are to stay."
        problems.append(("PT-3001", Problem("", what, why, "stop the one that is wrong, then run this again")))
    if not primaries:
        streams = sorted({_streams_from(each) for each in found} - {""})
        hint = f"name its upstream too ({', '.join(streams)})" if streams else "name the primary too"
        what = f"{' and '.join(map(label, found))} {'is a standby' if len(found) == 1 else 'are standbys'}"
        problems.append(("PT-3002", Problem("", f"{what}, and the primary was not named", "", hint)))
    if len(problems) == 1:
        code, only = problems[0]
        raise PgtandemError(code, only.what, why=only.why, next_step=only.next_step)
    if problems:
        code = min(code for code, _ in problems)
        raise PgtandemError(
            code,
            f"{len(problems)} things keep these servers from being taken over",
            problems=tuple(problem for _, problem in problems),
        )


def _streams_from(each: Found) -> str:
    conninfo = _conninfo(each)
    host = conninfo.get("host") or conninfo.get("hostaddr", "")
    return f"{host}:{conninfo.get('port', '5432')}" if host else ""


def _conninfo(each: Found) -> dict[str, str]:
    try:
        return parse_conninfo(each.recovery_value("primary_conninfo"))
    except ValueError:
        return {}


def _application(each: Found) -> str:
    """What a standby calls itself to its upstream (manual, 20.6.2: cluster_name stands in from 12 on)."""
    name = _conninfo(each).get("application_name", "")
    return name or (each.value("cluster_name") if each.server.major >= 12 else "") or "walreceiver"


def _names(servers: Sequence[Found]) -> list[NodeName]:
    """The names that pgtandem gave them; else the hosts' own names where each node has another, else what standbys call
    themselves, else db1, db2, ..."""
    if any(each.marker is not None for each in servers):
        given = {each.marker.node for each in servers if each.marker is not None}
        free = (NodeName(name) for n in range(1, 2 * len(servers) + 1) if (name := f"db{n}") not in given)
        return [each.marker.node if each.marker is not None else next(free) for each in servers]
    hosts = [each.host_name.partition(".")[0].lower() for each in servers]
    standbys = [_application(each).lower() if each.server.in_recovery else "db1" for each in servers]
    for choices in (hosts, standbys):
        distinct = len({*choices}) == len(servers) and not {*choices} & {"walreceiver", "localhost", ""}
        if distinct and len(servers) > 1 and all(_NAME.fullmatch(name) for name in choices):
            return [NodeName(name) for name in choices]
    return [NodeName(f"db{number}") for number in range(1, len(servers) + 1)]


def _upstream(standby: Found, servers: Sequence[Found], primary: Found) -> Found:
    """Whom a standby streams from: by the host and port that it names, else by who has it among its senders."""
    conninfo, application = _conninfo(standby), _application(standby)
    addresses = {conninfo.get("host", ""), conninfo.get("hostaddr", "")} - {""}
    others = [each for each in servers if each is not standby]
    at_port = [each for each in others if str(each.port) == conninfo.get("port", "5432")]
    by_address = [each for each in at_port if {host_name(each.host), each.host_name} & addresses]
    if standby.host.is_local or not by_address:
        by_address = by_address or [each for each in at_port if each.host == standby.host]
    by_sender = [
        each for each in others if any(sender.application_name == application for sender in each.server.senders)
    ]
    for candidates in (by_address, by_sender):
        if len(candidates) == 1:
            return candidates[0]
    return primary


def _address(each: Found, servers: Sequence[Found], upstreams: dict[int, Found]) -> str:
    """What others connect to: the address that the standbys of this one use, or that it streams from itself."""
    if each.host.is_local:
        return "127.0.0.1"
    seen = [_conninfo(below).get("host", "") for below in servers if upstreams.get(id(below)) is each]
    upstream = upstreams.get(id(each))
    if upstream is not None:
        application = _application(each)
        seen += [s.client_address or "" for s in upstream.server.senders if s.application_name == application]
    own = host_name(each.host)
    usable = [address for address in seen if _is_address(address)]
    return own if _is_address(own) or not usable else usable[0]


def _is_address(text: str) -> bool:
    try:
        return not ip_address(text).is_loopback
    except ValueError:
        return False


def _delay(each: Found) -> str | None:
    shown = each.recovery_value("recovery_min_apply_delay")
    spec = setting_spec(max(each.server.major, 12), "recovery_min_apply_delay")
    if shown in ("", "0") or spec is None:
        return None
    return spelled(spec, shown) if shown.isdigit() else shown


def _replication(primary: Found, direct: int) -> tuple[Replication, list[str]]:
    names, shown = primary.value("synchronous_standby_names"), primary.value("synchronous_commit")
    built = primary.marker is not None
    direct += STREAM_NAME in listed_names(names) if built else 0
    level = Durability(shown) if shown in {each.value for each in Durability} else Durability.ON
    nobody = Replication(Durability.OFF if level is Durability.OFF else Durability.ON)
    if not names:
        return nobody, []
    if level in (Durability.OFF, Durability.LOCAL):
        return nobody, [
            f"synchronous_standby_names = {names!r} stands beside synchronous_commit = {shown}: commits waited for no "
            'standby, and that is what synchronous = "none" says; write "first 1" to make them wait (doctor SYN03)'
        ]
    method = Method.ANY if names.lower().lstrip().startswith("any") else Method.FIRST
    count = min(confirmations(names), direct)
    if count < 1:
        return nobody, [f"synchronous_standby_names = {names!r} names nobody that was found (doctor SYN02)"]
    remarks = []
    if "*" in listed_names(names):
        remarks.append("synchronous_standby_names counted everybody who streams; it names the nodes from now on")
    if built:
        return Replication(level, Synchronous(method, count)), remarks
    remarks.append(
        "while pgtandem takes the cluster over, commits wait for no standby, from its first plan until the standbys "
        "stream under their new names"
    )
    return Replication(level, Synchronous(method, count)), remarks


def _confirmed_by_others(primary: Found, servers: Sequence[Found]) -> list[str]:
    """Who streams, may confirm commits, and is no server: a pg_receivewal, as a rule. It is not taken over."""
    standbys = {_application(each).lower() for each in servers if each is not primary}
    others = [
        sender.application_name
        for sender in primary.server.senders
        if sender.sync_state in ("sync", "quorum", "potential") and sender.application_name.lower() not in standbys
        if sender.application_name != STREAM_NAME
    ]
    return [
        f"{name} may confirm commits and is no server that was found (a pg_receivewal?): commits no longer wait for "
        "it; stream = true and synchronous = true under [archive], with a host, let pgtandem's own stream do that"
        for name in dict.fromkeys(others)
    ]


def _archive(
    primary: Found, servers: Sequence[Found], nodes: Sequence[Node], shared: bool
) -> tuple[Archive | None, ForeignArchive | None, list[str]]:
    """The folder that segments go to, if that can be told; or the commands of the tool that keeps them."""
    if primary.marker is not None:
        archive, unknown = rebuilt.own_archive(servers, primary)
        if unknown is not None:
            raise PgtandemError(
                "PT-1006",
                f"the WAL archive is on {host_name(unknown)}, and where it is there could not be found out",
                why="No line in authorized_keys of that account lets a node of this cluster in.",
                next_step="look at that host; pgtandem apply, with the lost file, writes such lines",
            )
        if archive is not None:
            return archive, None, []
    command, mode = primary.value("archive_command"), primary.value("archive_mode")
    if mode not in ("on", "always"):
        return None, None, ["there is no WAL archive: [archive] makes one"]
    if tool := find_tool(command):
        return (None, *_kept_by(tool.name, command, servers))
    directory = archive_directory(command)
    if directory is None:
        said = command or primary.value("archive_library") or "nothing"
        return (
            None,
            None,
            [f"WAL is archived by {said!r}; pgtandem leaves that as it is, and [archive] would replace it"],
        )
    hosts = {node.host for node in nodes}
    host = nodes[0].host if len(hosts) == 1 or shared else None
    remark = (
        f"segments go to a folder of their own in {directory} from now on, named after the system identifier; those "
        "that are there already stay where they are, for restores from earlier base backups"
    )
    return Archive(directory, host), None, [remark]


def _kept_by(tool: str, command: str, servers: Sequence[Found]) -> tuple[ForeignArchive, list[str]]:
    """The restore_command is what the servers have; where they have none, what belongs to the archive_command."""
    own = tool_restore_command(command) or ""
    program = own.split()[0].rpartition("/")[2]
    theirs = next((said for each in servers if program in (said := each.recovery_value("restore_command"))), "")
    remarks = [f"{tool} keeps the WAL archive: its commands go on, and pgtandem's own archive and backups are not used"]
    if "%f" not in theirs or "%p" not in theirs:
        remarks.append(f"no server has a restore_command of {tool}; try the one that [archive] says: {own}")
        theirs = own
    return ForeignArchive(command, theirs), remarks


def _adoption(
    primary: Found, servers: Sequence[Found], upstreams: dict[int, Found]
) -> tuple[Adoption | None, list[str]]:
    """The roles and slots that standbys used: replaced where the standbys that were found are all who use them. None
    where pgtandem made everything itself."""
    if all(each.marker is not None and not each.marker.adopted for each in servers):
        return None, []
    used: list[Sender] = [
        sender
        for each in servers
        for sender in each.server.senders
        if sender.application_name not in (*_TOOLS, STREAM_NAME)
    ]
    below = len(upstreams)
    roles = dict.fromkeys(sender.user for sender in used if sender.user and sender.user != REPLICATION_ROLE)
    standbys = [each for each in servers if each.server.in_recovery]
    roles |= dict.fromkeys(user for each in standbys if (user := _conninfo(each).get("user")))
    roles.pop(REPLICATION_ROLE, None)
    top, remarks = primary.server.roles, []
    if len(used) > below:
        remarks.append(
            f"{len(used)} standbys stream and {below} were named: the others go on as they are, with the role "
            f"{', '.join(str(role) for role in roles)}; name them too, or see to them yourself"
        )
        roles = {}
    ordinary = [role for role in roles if role and role in top and not top[role].superuser]
    if supers := [str(role) for role in roles if role and role in top and top[role].superuser]:
        remarks.append(f"standbys streamed as the superuser {', '.join(supers)}, whose password their hosts had")
    slots = dict.fromkeys(slot for each in standbys if (slot := each.recovery_value("primary_slot_name")))
    others = tuple(slot for slot in slots if not slot.startswith(SLOT_PREFIX))
    return Adoption(primary.server.system_identifier, tuple(ordinary), others), remarks


def without_refused(topology: Topology, refused: Sequence[str]) -> Topology:
    """The topology without the parameters ("parameters.NAME", "nodes.NAME.parameters.NAME") that its reader refuses:
    they stay where they stand in the servers' own files."""
    gone = {place.rpartition(".")[2] for place in refused}

    def kept(parameters: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in parameters.items() if name not in gone}

    return replace(
        topology,
        parameters=kept(dict(topology.parameters)),
        nodes=tuple(replace(node, parameters=kept(dict(node.parameters))) for node in topology.nodes),
    )
