"""What a planned change of the primary looks at before anything is done, beside the candidate's own table of rules.

Everything that stands in the way is told at once: a refusal costs nobody anything, a pause that fails half way does.
"""

from collections.abc import Iterator

from pgtandem.errors import Problem
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.server import Server
from pgtandem.model.topology import Topology

#: More segments than this that wait for the archive would make the shutdown, and so the pause of writes, long.
MOST_WAITING_SEGMENTS = 4

#: What the names of pgtandem's own base backups and copies begin with (application_name).
_OWN = "pgtandem "


def primary_objections(observed: Observed, primary: NodeName) -> Iterator[Problem]:
    """What keeps a primary that runs from being stopped, and from coming back as a standby."""
    seen = observed.nodes[primary]
    server = seen.running
    if server is None:
        return
    yield from _archive(primary, server)
    yield from _backups(observed, primary)
    yield from unreadable_records(primary, server)


def unreadable_records(name: NodeName, server: Server) -> Iterator[Problem]:
    """A server goes on with a pg_hba.conf that it cannot read, takes no change of it, and does not start with it."""
    for rule in server.hba:
        if rule.broken:
            yield Problem(
                name,
                f"line {rule.line} of pg_hba.conf on {name} cannot be read: {rule.error}",
                "It goes on with the rules that it read before, and would not start with this file.",
                "correct that line, then pgtandem apply",
            )
            return


def _archive(primary: NodeName, server: Server) -> Iterator[Problem]:
    archiver = server.archiver
    if archiver is not None and (archiver.failing or (archiver.waiting_segments or 0) > MOST_WAITING_SEGMENTS):
        state = "fails" if archiver.failing else "is behind"
        yield Problem(
            primary,
            f"the WAL archive of {primary} {state}: {archiver.waiting_segments} segments wait",
            "The shutdown waits until every segment is archived.",
            "mend the archive, or wait until it has caught up (pgtandem status)",
        )


def _backups(observed: Observed, primary: NodeName) -> Iterator[Problem]:
    """Those that are streamed, from any node: the shutdown ends one of the primary, the promotion spoils one of a
    standby. And one that somebody began by hand and did not end, as far as it shows (the exclusive kind, up to 14).

    One of pgtandem's own is ended first, with the command that takes it; who was killed meanwhile needs none of it."""
    for name, seen in observed.nodes.items():
        senders = seen.running.senders if seen.running is not None else ()
        if any(each.state == "backup" and not each.application_name.startswith(_OWN) for each in senders):
            yield Problem(
                name,
                f"a base backup of {name} is running",
                "The shutdown would break it off." if name == primary else "The promotion could spoil it.",
                "wait until it has ended",
            )
    data = observed.nodes[primary].directory
    if data is not None and data.backup_label:
        yield Problem(
            primary,
            f"a base backup of {primary} was begun by hand and not ended",
            "Its file backup_label is there: after a restart the server would begin from an old checkpoint.",
            "SELECT pg_stop_backup()",
        )


def rewind_notes(topology: Topology, observed: Observed) -> Iterator[str]:
    """Where pg_rewind could not bring a node back later. A planned change needs none; the next failover may."""
    why = {name: reason for name in topology.names if (reason := no_rewind(observed.nodes[name]))}
    for reason in dict.fromkeys(why.values()):
        names = ", ".join(name for name in why if why[name] == reason)
        yield f"pg_rewind would not work on {names}: {reason}."


def no_rewind(node: ObservedNode) -> str:
    """Why pg_rewind would not work on a node (manual, pg_rewind), "" where it would, as far as that is known."""
    settings = node.running.settings if node.running else {}
    pages = settings.get("full_page_writes")
    if pages is not None and pages.value == "off":
        return "full_page_writes is off"
    hints = settings.get("wal_log_hints")
    if node.control is not None and not node.control.checksums and (hints is None or hints.value != "on"):
        return "no data checksums and wal_log_hints is off"
    return ""
