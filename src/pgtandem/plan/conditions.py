"""What must hold before and after a step, and how a look at the world judges it.

Each kind of condition is one small function of the node's observed facts and the condition's argument. The answer is
True, False, or Unknown with the reason; an unknown never counts as true.
"""

from collections.abc import Callable, Mapping

from pgtandem.model.facts import Absent, Known, Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import STREAM_NAME, NodeName, PgbouncerName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.plan import Condition
from pgtandem.model.pooling import PgbouncerConsole
from pgtandem.model.server import Server
from pgtandem.plan.candidates import received_lsn

Verdict = bool | Unknown

#: The kinds that are read from a PgBouncer's console.
POOLING = ("console_answers", "resumed")

#: The kinds that are read from the upstream, which their argument names.
STREAMING = ("streams_from", "streams_or_delays", "streams_encrypted")

#: The kind that is read from two standbys, the one of the condition and the one that its argument names.
COMPARING = "has_received_all_of"

#: The kinds that are read from the archive's backups; their argument is a label.
BACKUPS = ("backup_taken", "backup_kept", "backup_gone")


def judge(condition: Condition, observed: Observed) -> Verdict:
    """Whether a condition holds. Raises KeyError for a kind that does not exist: a defect that the tests find."""
    if condition.kind in POOLING:
        return _console(condition, observed)
    node = observed.nodes.get(condition.node)
    if node is None:
        former = {entry.name: entry.observed for entry in observed.former}
        node = former.get(condition.node, ObservedNode())
    if condition.kind == "streams_or_delays" and node.running is not None and node.running.delaying:
        return True
    if condition.kind in STREAMING:
        return _streams_from(condition, observed)
    if condition.kind == COMPARING:
        return _has_received_all_of(condition, observed)
    if condition.kind == "archive_ready":
        return isinstance(observed.archive, Known) or (
            observed.archive if isinstance(observed.archive, Unknown) else False
        )
    if condition.kind == "wal_way_open":
        return _wal_way_open(condition, observed)
    if condition.kind in BACKUPS:
        return _backup_is(condition, observed)
    return _KINDS[condition.kind](node, condition.argument)


def _console(condition: Condition, observed: Observed) -> Verdict:
    """The argument are databases, with blanks between them."""
    seen = observed.pgbouncers.get(PgbouncerName(condition.node))
    if seen is None or not isinstance(seen.console, Known):
        return seen.console if seen and isinstance(seen.console, Unknown) else Unknown("it was not asked")
    return _CONSOLE_KINDS[condition.kind](seen.console.value, tuple(condition.argument.split()))


def _none_paused(console: PgbouncerConsole, names: tuple[str, ...]) -> bool:
    return not any(name in console.databases and console.databases[name].paused for name in names)


_CONSOLE_KINDS: Mapping[str, Callable[[PgbouncerConsole, tuple[str, ...]], bool]] = {
    "console_answers": lambda console, names: True,
    "resumed": _none_paused,
}


def _data_absent(node: ObservedNode, _: str) -> Verdict:
    return node.data if isinstance(node.data, Unknown) else isinstance(node.data, Absent)


def _data_is_ours(node: ObservedNode, argument: str) -> Verdict:
    if isinstance(node.data, Unknown):
        return node.data
    data = node.directory
    return data is not None and data.marker is not None and data.marker.node == argument and node.control is not None


def _stopped(node: ObservedNode, _: str) -> Verdict:
    return node.postmaster if isinstance(node.postmaster, Unknown) else isinstance(node.postmaster, Absent)


def _port_free(node: ObservedNode, _: str) -> Verdict:
    return node.port_holder if isinstance(node.port_holder, Unknown) else isinstance(node.port_holder, Absent)


def _registered(node: ObservedNode, _: str) -> Verdict:
    if isinstance(node.registration, Unknown):
        return node.registration
    return isinstance(node.registration, Known) and node.registration.value.ours


def _not_registered(node: ObservedNode, argument: str) -> Verdict:
    registered = _registered(node, argument)
    return registered if isinstance(registered, Unknown) else not registered


def _nothing_replaced(node: ObservedNode, _: str) -> Verdict:
    return node.reachable if isinstance(node.reachable, Unknown) else not node.replaced


def _server(test: Callable[[Server, str], bool]) -> Callable[[ObservedNode, str], Verdict]:
    def judged(node: ObservedNode, argument: str) -> Verdict:
        if isinstance(node.server, Unknown):
            return node.server
        return node.running is not None and test(node.running, argument)

    return judged


def _setting_is(server: Server, argument: str) -> bool:
    name, _, value = argument.partition("=")
    setting = server.settings.get(name)
    return setting is not None and setting.value == value and not setting.pending_restart


def _replayed(server: Server, argument: str) -> bool:
    return server.replay_lsn is not None and server.replay_lsn >= Lsn.parse(argument)


def _role_ready(server: Server, argument: str) -> bool:
    role = server.roles.get(argument)
    return bool(role and role.login and role.replication and not role.superuser and role.password_matches)


def _superuser_ready(server: Server, argument: str) -> bool:
    role = server.roles.get(argument)
    return role is not None and role.password_matches is True


def _slot_usable(server: Server, argument: str) -> bool:
    slot = server.slots.get(argument)
    return slot is not None and slot.wal_status != "lost"


def _adoptable(node: ObservedNode, _: str) -> Verdict:
    return node.data if isinstance(node.data, Unknown) else node.directory is not None and node.directory.adoptable


def _scram_password(server: Server, argument: str) -> bool:
    role = server.roles.get(argument)
    return role is not None and role.password_kind == "scram-sha-256"


def _role_disabled(server: Server, argument: str) -> bool:
    role = server.roles.get(argument)
    return role is None or not (role.login or role.replication)


def _records_replaced(node: ObservedNode, argument: str) -> Verdict:
    data = node.directory
    if data is None:
        return node.data if isinstance(node.data, Unknown) else False
    return not data.replaced_records and not (argument == "scram" and data.md5_records)


def _control_at_most(node: ObservedNode, argument: str) -> Verdict:
    name, _, value = argument.partition("=")
    control = node.control
    return control is not None and int(control.settings.get(name, "0")) <= int(value)


def _streams_from(condition: Condition, observed: Observed) -> Verdict:
    """The argument is the upstream; both sides must agree, as far as the standby can be asked."""
    upstream = observed.nodes.get(condition.argument)  # type: ignore[call-overload]
    if upstream is None or isinstance(upstream.server, Unknown):
        return Unknown(f"{condition.argument} could not be asked")
    server = upstream.running
    return server is not None and any(
        sender.application_name == condition.node
        and sender.state == "streaming"
        and (sender.encrypted is True or condition.kind != "streams_encrypted")
        for sender in server.senders
    )


def _has_received_all_of(condition: Condition, observed: Observed) -> Verdict:
    found = []
    for name in (condition.node, NodeName(condition.argument)):
        node = observed.nodes.get(name, ObservedNode())
        if isinstance(node.server, Unknown):
            return node.server
        received = received_lsn(node)
        if received is None:
            return Unknown(f"how far {name} has WAL is not known")
        found.append(received)
    return found[0] >= found[1]


def _archive_streams(server: Server, _: str) -> bool:
    """Whether the receiver of the archive's stream gets WAL from this server."""
    return any(sender.application_name == STREAM_NAME and sender.state == "streaming" for sender in server.senders)


def _follows_only(server: Server, argument: str) -> bool:
    """The argument is the address and the port of the one that it may stream from."""
    receiver = server.receiver
    return receiver is None or f"{receiver.sender_host} {receiver.sender_port}" == argument


def _serves_certificate(node: ObservedNode, _: str) -> Verdict:
    """Whether a server shows the certificate in its file to who connects."""
    if not isinstance(node.tls, Known):
        return node.tls if isinstance(node.tls, Unknown) else False
    here, there = node.tls.value.certificate, node.tls.value.served
    if not isinstance(here, Known) or not isinstance(there, Known):
        return there if isinstance(there, Unknown) else False
    return here.value.fingerprint == there.value.fingerprint


def _wal_way_open(condition: Condition, observed: Observed) -> Verdict:
    """The argument is the host's name in the node's ssh configuration, and what the node is allowed there."""
    source, _, rights = condition.argument.partition(" ")
    for way in observed.ways.get(condition.node, ()):
        if way.source == source:
            return way.answer if isinstance(way.answer, Unknown) else way.answer == Known(rights)
    return Unknown("it was not tried")


def _backup_is(condition: Condition, observed: Observed) -> Verdict:
    if isinstance(observed.backups, Unknown):
        return observed.backups
    found = observed.backups.value.get(condition.argument) if isinstance(observed.backups, Known) else None
    if condition.kind == "backup_gone":
        return found is None
    return found is not None and (found.kept or condition.kind == "backup_taken")


_KINDS: Mapping[str, Callable[[ObservedNode, str], Verdict]] = {
    "data_absent": _data_absent,
    "data_is_ours": _data_is_ours,
    "stopped": _stopped,
    "port_free": _port_free,
    "registered": _registered,
    "not_registered": _not_registered,
    "nothing_replaced": _nothing_replaced,
    "answers": _server(lambda server, _: True),
    "is_primary": _server(lambda server, _: not server.in_recovery),
    "is_standby": _server(lambda server, _: server.in_recovery),
    "setting_is": _server(_setting_is),
    "follows_only": _server(_follows_only),
    "archive_streams": _server(_archive_streams),
    "role_ready": _server(_role_ready),
    "runs_version": _server(lambda server, argument: server.version_number >= int(argument)),
    "superuser_ready": _server(_superuser_ready),
    "role_gone": _server(lambda server, argument: argument not in server.roles),
    "slot_usable": _server(_slot_usable),
    "slot_gone": _server(lambda server, argument: argument not in server.slots),
    "nothing_pending": _server(lambda server, _: not any(s.pending_restart for s in server.settings.values())),
    "control_at_most": _control_at_most,
    "adoptable": _adoptable,
    "scram_password": _server(_scram_password),
    "role_disabled": _server(_role_disabled),
    "records_replaced": _records_replaced,
    "serves_certificate": _serves_certificate,
}
