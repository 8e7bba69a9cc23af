"""What makes a plan impossible: each finding with its code; all of them are reported at once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pgtandem.errors import CODES, PgtandemError, Problem
from pgtandem.model.facts import Absent, Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import (
    ControlData,
    DataDirectory,
    Observed,
    ObservedNode,
    Obstacle,
    PostmasterState,
)
from pgtandem.model.topology import HostAddress, Topology
from pgtandem.plan.adopting import adoption_findings
from pgtandem.plan.between_hosts import library_findings, path_findings
from pgtandem.plan.catching_up import gaps
from pgtandem.plan.certificates import tls_findings
from pgtandem.plan.desired import Wish, neighbour_at_port
from pgtandem.plan.layout import taken_names
from pgtandem.plan.left_out import archive_left_out, left_out, out_of_reach
from pgtandem.plan.outside import immovable, outside_findings
from pgtandem.plan.parting import parting_findings
from pgtandem.plan.roles import claims_primary
from pgtandem.plan.room import copies_room
from pgtandem.postgres.places import install_hint
from pgtandem.postgres.versions import OLDEST, untested
from pgtandem.topology.places import host_name

Finding = tuple[str, Problem]

#: What to do about a fact that could not be found out.
MEND = "mend that, then run the same command again"


def refuse_unsafe(wish: Wish) -> None:
    """Raises PgtandemError with the code of the gravest finding and every finding as a problem."""
    raise_findings(list(_findings(wish)), wish.topology)


def refuse_foreign(topology: Topology, observed: Observed, *, adopts: bool = False) -> None:
    """Only what must hold before anybody's role is asked for: no data directory of somebody else's. One that may be
    taken over is somebody else's until that is done, but for the plan that does it (`adopts`)."""
    nodes = observed.nodes.items()
    findings = [finding for name, node in nodes for finding in _foreign_data(topology, name, node, adopts)]
    raise_findings(findings, topology)


def refuse_closed(topology: Topology, observed: Observed) -> None:
    """Folders that hide whether there is data: without them nobody can tell who the primary is."""
    if any(isinstance(node.obstacle, Known) and isinstance(node.data, Unknown) for node in observed.nodes.values()):
        raise_findings(list(_obstacles(topology, observed)), topology)


def refuse_unreadable(topology: Topology, observed: Observed) -> None:
    """Data directories that cannot be read as clusters: any of them may be the primary's."""
    if any(node.directory and node.control is None for node in observed.nodes.values()):
        raise_findings(
            [
                finding
                for name, node in observed.nodes.items()
                for finding in (*_programs(topology, name, node), *_unreadable_data(topology, name, node))
            ],
            topology,
        )


def raise_findings(findings: list[Finding], topology: Topology) -> None:
    if not findings:
        return
    findings = sorted(findings, key=lambda finding: finding[0])
    code, first = findings[0]
    if len(findings) == 1:
        raise PgtandemError(code, first.what, why=first.why, next_step=first.next_step, where=first.where)
    raise PgtandemError(
        code,
        f"cluster {topology.cluster} cannot be planned: {len(findings)} things stand in the way",
        problems=tuple(problem for _, problem in findings),
        why=CODES[code].meaning,
    )


def refuse_left_out(wish: Wish, waiting: str) -> None:
    """Nothing can be done for the others now; what nobody could look at is not known to be as it should."""
    rest = (
        f"This waits for it: {waiting}." if waiting else "All that could be looked at is what the topology file says."
    )
    findings = [finding for name in out_of_reach(wish) for finding in _unknown(name, wish.seen(name))]
    findings += unseen_archive(wish.topology, wish.observed)
    raise_findings([(code, replace(found, why=f"{found.why} {rest}")) for code, found in findings], wish.topology)


def _findings(wish: Wish) -> Iterator[Finding]:
    left, anew = left_out(wish), gaps(wish)
    for name in wish.topology.names:
        node = wish.seen(name)
        if name in left:
            continue
        yield from _unknown(name, node)
        if isinstance(node.reachable, Unknown):
            continue
        yield from _programs(wish.topology, name, node)
        if isinstance(node.data, Known):
            yield from _existing_data(wish, name, node)
        yield from outside_findings(wish, name, node)
        yield from taken_names(wish.topology, name, node)
        yield from adoption_findings(wish, name, node)
        yield from _port(wish, name, node)
        yield from copies_room(wish, name)
        if name in anew and anew[name].replaceable:
            yield from immovable(wish, name)
        yield from path_findings(wish, name)
        yield from library_findings(wish, name)
    yield from _obstacles(wish.topology, wish.observed)
    if not archive_left_out(wish):
        yield from unseen_archive(wish.topology, wish.observed)
    yield from _compressors(wish.topology, wish.observed)
    yield from tls_findings(wish)
    for former in wish.observed.former:
        if former.observed.running and not former.observed.running.in_recovery:
            yield (
                "PT-3013",
                Problem(
                    former.name,
                    f"{former.name} is a primary, and the topology file no longer has it",
                    "Its rows would be out of reach of the cluster.",
                    f"put [nodes.{former.name}] back, or stop that server yourself",
                ),
            )


def unseen_archive(topology: Topology, observed: Observed) -> Iterator[Finding]:
    """An archive that cannot be seen may be full of WAL: it is neither made anew nor left behind."""
    if topology.archive is None or isinstance(observed.archive_obstacle, Known):
        return
    if isinstance(observed.archive, Unknown):
        where = topology.archive.directory
        yield (
            "PT-3008",
            Problem("archive", f"could not look at the WAL archive {where}", observed.archive.sentence, MEND),
        )


def _compressors(topology: Topology, observed: Observed) -> Iterator[Finding]:
    """Programs that PostgreSQL's packages do not bring."""
    if topology.archive is None:
        return
    program = topology.archive.compression.value
    for url in observed.cannot_compress:
        yield (
            "PT-3070",
            Problem(
                "archive",
                f"{program} is not installed on {host_name(HostAddress(url)) or 'this machine'}",
                "The archive's compression needs it where WAL is archived, kept and fetched. pgtandem installs no "
                "packages on its own.",
                f"apt-get install {program}   or   dnf install {program}   or   another archive.compression",
            ),
        )


def _obstacles(topology: Topology, observed: Observed) -> Iterator[Finding]:
    """A finding per obstacle: the nodes of one host mostly have theirs in one folder."""
    found: dict[Obstacle, list[NodeName]] = {}
    for name, node in observed.nodes.items():
        if isinstance(node.obstacle, Known):
            found.setdefault(node.obstacle.value, []).append(name)
    for obstacle, names in found.items():
        many = len(names) > 1
        what = ", ".join(topology.node(name).data_directory for name in names)
        verb = "reached" if any(isinstance(observed.nodes[name].data, Unknown) for name in names) else "made"
        what = f"data director{'ies' if many else 'y'} {what} of {', '.join(names)} cannot be {verb}"
        yield "PT-3015", _in_the_way(names[0], what, f"nodes.{names[0]}.data_directory", obstacle)
    if topology.archive is not None and isinstance(observed.archive_obstacle, Known):
        what = f"WAL archive {topology.archive.directory} cannot be made"
        problem = _in_the_way("archive", what, "archive.directory", observed.archive_obstacle.value)
        yield "PT-3015", _archived_before(observed, problem)


def _archived_before(observed: Observed, problem: Problem) -> Problem:
    """A folder that is made where a disk is not mounted takes WAL to the disk below, and looks right."""
    for name in observed.primaries():
        server = observed.nodes[name].running
        if server is not None and server.archiver is not None and server.archiver.archived_count:
            return replace(
                problem,
                why=f"{problem.why} {name} has archived before: if this folder was there, its disk is not mounted.",
                next_step=f"mount it again; only where that is not so: {problem.next_step}",
            )
    return problem


def _in_the_way(where: str, what: str, key: str, obstacle: Obstacle) -> Problem:
    elsewhere = f"name another folder as {key}"
    return Problem(where, what, obstacle.why, f"{obstacle.remedy}   or {elsewhere}" if obstacle.remedy else elsewhere)


def _unknown(name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    if isinstance(node.obstacle, Known):
        return  # that is why nothing could be seen
    if isinstance(node.reachable, Unknown):
        yield "PT-3008", Problem(name, f"could not look at {name}", node.reachable.sentence, _next(node.reachable))
        return
    for fact, what in (
        (node.account, "account"),
        (node.data, "data directory"),
        (node.postmaster, "server process"),
    ):
        if isinstance(fact, Unknown):
            yield "PT-3008", Problem(name, f"could not look at the {what} of {name}", fact.sentence, MEND)
    running = node.postmaster
    if (
        isinstance(running, Known)
        and isinstance(node.server, Unknown)
        and running.value.state in (PostmasterState.READY, PostmasterState.STANDBY)
    ):
        yield "PT-3008", Problem(name, f"could not ask the server of {name}", node.server.sentence, _next(node.server))


def _next(fact: Unknown) -> str:
    return fact.next_step or MEND


def _programs(topology: Topology, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    major, system = topology.postgresql, node.system
    if isinstance(node.programs, Absent) and system.named_version:
        yield "PT-3005", _of_another_major(topology, name, system.named_version)
    elif isinstance(node.programs, Absent) and topology.bin_directory is not None:
        yield (
            "PT-3005",
            Problem(
                name,
                f"there is no PostgreSQL {major} in {topology.bin_directory}, where {name} is to run",
                "cluster.binaries names that folder; it must hold postgres, initdb and the other server programs.",
                'name another folder as cluster.binaries, or write binaries = "auto"',
            ),
        )
    elif isinstance(node.programs, Absent):
        others = f"{_listed(system.majors)} is installed there, {major} is asked for. " if system.majors else ""
        yield (
            "PT-3005",
            Problem(
                name,
                f"PostgreSQL {major} is not installed where {name} is to run",
                f"{others}pgtandem installs no packages on its own.",
                install_hint(system, major),
            ),
        )
    elif isinstance(node.programs, Known) and node.programs.value.missing:
        missing = node.programs.value.missing
        yield (
            "PT-3005",
            Problem(
                name,
                f"PostgreSQL {major} lacks {_listed(missing)} where {name} is to run",
                f"Looked for in {node.programs.value.directory}. pgtandem installs no packages on its own.",
                install_hint(system, major, missing),
            ),
        )
    elif isinstance(node.programs, Unknown):
        yield (
            "PT-3008",
            Problem(
                name, f"could not find the PostgreSQL programs for {name}", node.programs.sentence, _next(node.programs)
            ),
        )


def _of_another_major(topology: Topology, name: NodeName, version: str) -> Problem:
    """The folder that the topology file names has programs, but others than the file asks for."""
    found, folder = re.match(r"\d+", version), "name another folder as cluster.binaries"
    there = int(found.group()) if found else 0
    what = f"{topology.bin_directory} has PostgreSQL {version} where {name} is to run, not {topology.postgresql}"
    if there < OLDEST:
        why = f"PostgreSQL {version} is older than {OLDEST}, the oldest that pgtandem knows."
        return Problem(name, what, why, folder)
    why = f"{untested(there)}." if untested(there) else ""
    also = " and allow_untested_postgresql = true" if why else ""
    return Problem(name, what, why, f"{folder}, or write postgresql = {there}{also} under [cluster]")


def _foreign_data(topology: Topology, name: NodeName, node: ObservedNode, adopts: bool) -> Iterator[Finding]:
    data = node.directory
    if data is None:
        return
    where = topology.node(name).data_directory
    if data.adoptable and not adopts:
        yield (
            "PT-3003",
            Problem(
                name,
                f"data directory {where} of {name} is not taken over yet",
                "pgtandem only changes what carries its marker. The topology file gives leave to take it over.",
                "pgtandem plan   (shows what that means), then pgtandem apply",
            ),
        )
    if data.adoptable:
        return
    if data.marker is None:
        found = ", ".join(data.entries[:6]) + (", ..." if len(data.entries) > 6 else "")
        if isinstance(data.major, Known):
            what = f"data directory {where} of {name} holds a PostgreSQL {data.major.value} cluster"
            what += " that pgtandem did not make"
        else:
            what = f"data directory {where} of {name} is not empty"
        yield (
            "PT-3003",
            Problem(
                name,
                what,
                f"Found there: {found}. pgtandem never overwrites what it did not make."
                + (_not_the_one(topology, data) if topology.adoption else ""),
                f"name another folder as nodes.{name}.data_directory, or move this one away"
                + (
                    ""
                    if topology.adoption or not isinstance(data.major, Known)
                    else "; or take it over: pgtandem adopt"
                ),
            ),
        )
    elif (data.marker.cluster, data.marker.node) != (topology.cluster, name):
        yield (
            "PT-3003",
            Problem(
                name,
                f'data directory {where} of {name} belongs to node "{data.marker.node}" of cluster '
                f'"{data.marker.cluster}"',
                "pgtandem made it, but for another node.",
                f"name another folder as nodes.{name}.data_directory, or move this one away",
            ),
        )


def _not_the_one(topology: Topology, data: DataDirectory) -> str:
    assert topology.adoption is not None
    wanted = topology.adoption.system_identifier
    if isinstance(data.control, Known):
        return f" Its system identifier is {data.control.value.system_identifier}; [adopt] allows {wanted}."
    return f" [adopt] allows the cluster {wanted}, and which one this is cannot be read."


def _existing_data(wish: Wish, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    unreadable = list(_unreadable_data(wish.topology, name, node))
    if unreadable:
        yield from unreadable
    elif name != wish.primary and node.control is not None:  # without programs, which is told, there is none
        yield from _existing_standby(wish, name, node, node.control)


def _unreadable_data(topology: Topology, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    """What the programs of the topology's major version cannot read."""
    data = node.directory
    if data is None:
        return
    where = topology.node(name).data_directory
    if isinstance(data.major, Known) and data.major.value != topology.postgresql:
        yield (
            "PT-3006",
            Problem(
                name,
                f"data directory {where} of {name} is of PostgreSQL {data.major.value}, not {topology.postgresql}",
                "A major version is changed by pg_upgrade, not by starting another server on the data.",
                f"write postgresql = {data.major.value} under [cluster]",
            ),
        )
        return
    if node.control is None and not isinstance(node.programs, Absent):
        reason = data.control if isinstance(data.control, Unknown) else Unknown("its control file is missing")
        copied = f", or move it away so that {name} is copied anew" if data.standby_signal else " from a backup"
        yield (
            "PT-3014",
            Problem(
                name,
                f"data directory {where} of {name} cannot be read as a cluster",
                reason.sentence,
                f"restore it{copied}",
            ),
        )


def _existing_standby(wish: Wish, name: NodeName, node: ObservedNode, control: ControlData) -> Iterator[Finding]:
    primary, where = wish.seen(wish.primary), wish.node(name).data_directory
    anew = f"stop {name}, move {where} away and run pgtandem apply: it is copied anew"
    if primary.control and control.system_identifier != primary.control.system_identifier:
        yield (
            "PT-3004",
            Problem(
                name,
                f"{name} belongs to another cluster than {wish.primary}",
                f"Their system identifiers are {control.system_identifier} and {primary.control.system_identifier}.",
                anew,
            ),
        )
        return
    if claims_primary(node):
        yield (
            "PT-3013",
            Problem(
                name,
                f"{name} was a primary (timeline {control.timeline}) and {wish.primary} is one now",
                f"It may hold rows that {wish.primary} does not have, so it is not made a standby as it is.",
                f"pgtandem rejoin {name}",
            ),
        )
        return
    timeline = primary.running.timeline if primary.running else None
    if timeline is not None and control.timeline > timeline:
        yield (
            "PT-3012",
            Problem(
                name,
                f"{name} is on timeline {control.timeline}, {wish.primary} on {timeline}",
                "It followed another primary in between and cannot follow this one.",
                f"pgtandem rejoin {name}",
            ),
        )
    yield from parting_findings(wish, name, node)
    gap = gaps(wish).get(name)
    if gap and not gap.replaceable:
        yield (
            "PT-3010",
            Problem(
                name,
                f"{name} needs WAL segment {gap.segment}, which it can get from nowhere",
                f"{gap.why} {name} may have WAL that {wish.primary} does not have, so its data is not replaced.",
                anew,
            ),
        )


def _port(wish: Wish, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    # Another node of ours that is there has another port in the topology, so it moves first.
    if isinstance(node.port_holder, Known) and neighbour_at_port(wish, name) is None:
        port = wish.node(name).port
        yield (
            "PT-3007",
            Problem(
                name,
                f"port {port} of {name} is in use by {node.port_holder.value}",
                "A server does not start where another program listens.",
                f"write another port as nodes.{name}.port, or end that program",
            ),
        )


def _listed(things: Sequence[object]) -> str:
    words = [str(thing) for thing in things]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
