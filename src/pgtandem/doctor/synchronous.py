"""Synchronous replication: does a commit wait for whom it should, and for nobody who is not there?"""

from collections.abc import Iterator

from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.model.server import Sender, Server
from pgtandem.postgres.sync_names import confirmations, listed_names

_NAMES, _COMMIT = "synchronous_standby_names", "synchronous_commit"
_WAIT_FOR_NOBODY = ("off", "local")


def _waiting_primaries(look: Look) -> Iterator[tuple[NodeName, Server, tuple[str, ...]]]:
    """The primaries that name synchronous standbys, with the names in lower case."""
    for name, server in look.primaries():
        listed = tuple(each.lower() for each in listed_names(look.value(name, _NAMES)))
        if listed:
            yield name, server, listed


def _listed_senders(server: Server, listed: tuple[str, ...]) -> Iterator[Sender]:
    return (sender for sender in server.senders if "*" in listed or sender.application_name.lower() in listed)


def _seen(look: Look, name: NodeName, what: str = "") -> Seen:
    return Seen(name, what or look.shown(name, _NAMES), look.where(name, _NAMES))


@rule(
    "SYN01",
    Severity.HIGH,
    "one failure of a standby stops all writes",
    why="Every commit waits for as many standbys as there are. The loss of one of them, or a restart for a patch, "
    "makes every write hang until it is back.",
    fix='one standby more, or synchronous = "any 1" of two, or "none", under [replication]',
)
def all_must_confirm(look: Look) -> Iterator[Seen]:
    for name, _, listed in _waiting_primaries(look):
        needed = confirmations(look.value(name, _NAMES))
        if look.value(name, _COMMIT) not in _WAIT_FOR_NOBODY and "*" not in listed and needed >= len(set(listed)):
            yield _seen(look, name, f"{needed} of {len(set(listed))} must confirm: {look.value(name, _NAMES)}")


@rule(
    "SYN02",
    Severity.CRITICAL,
    "a synchronous standby is named that does not exist",
    why="A name in the list that no standby connects with confirms nothing. If it is the only one, every commit waits "
    "for ever.",
    fix="pgtandem apply",
)
def unknown_name(look: Look) -> Iterator[Seen]:
    for name, server, listed in _waiting_primaries(look):
        connected = {sender.application_name.lower() for sender in server.senders}
        nodes = {node.lower() for node in look.topology.names}
        for each in listed:
            if each != "*" and each not in connected:
                why = "its node does not stream" if each in nodes else "no node has that name"
                if each == STREAM_NAME and look.topology.streams_to_archive:
                    why = "the archive's stream does not run"
                yield _seen(look, name, f"{each} in {_NAMES}: {why}")


@rule(
    "SYN03",
    Severity.HIGH,
    "synchronous standbys are named, and commits do not wait for them",
    why="With synchronous_commit = local or off nothing waits, whatever the list says. The pair looks synchronous and "
    "loses acknowledged commits with the primary.",
    fix='durability = "on" under [replication], or synchronous = "none"',
)
def waits_for_nobody(look: Look) -> Iterator[Seen]:
    for name, _, _ in _waiting_primaries(look):
        if look.value(name, _COMMIT) in _WAIT_FOR_NOBODY:
            yield Seen(name, look.shown(name, _COMMIT, _NAMES), look.where(name, _COMMIT))
        examination = look.examination(name)
        for setting in examination.role_settings if examination else ():
            if setting.name == _COMMIT and setting.value in _WAIT_FOR_NOBODY:
                whose = " in ".join(
                    part
                    for part in (
                        setting.role and f"role {setting.role}",
                        setting.database and f"database {setting.database}",
                    )
                    if part
                )
                what = f"{whose} has {_COMMIT} = {setting.value}"
                yield Seen(
                    name,
                    what,
                    fix="ALTER ROLE or ALTER DATABASE ... RESET synchronous_commit",
                    severity=Severity.MEDIUM,
                )


@rule(
    "SYN04",
    Severity.HIGH,
    "everybody who streams counts as a synchronous standby",
    why="* takes the first who comes: a pg_receivewal, a base backup, a standby somebody tries out. Commits are then "
    "confirmed by what cannot take over.",
    fix="pgtandem apply",
)
def anybody(look: Look) -> Iterator[Seen]:
    for name, _, listed in _waiting_primaries(look):
        if "*" in listed:
            yield _seen(look, name)


@rule(
    "SYN05",
    Severity.MEDIUM,
    "every synchronous standby is in the zone of the primary",
    why="A commit is confirmed by machines that share the primary's power, network or building. What takes the zone "
    "away takes the confirmed commits too.",
    fix='a standby in another zone, and its name in the list: zone = "..." under [nodes.NAME]',
    by_sql=False,
)
def same_zone(look: Look) -> Iterator[Seen]:
    zones = {node.name.lower(): node.zone for node in look.topology.nodes}
    for name, _, listed in _waiting_primaries(look):
        own = zones[name.lower()]
        others = {zones.get(each) for each in listed if each in zones}
        # The archive confirms too, and nobody said in which zone it is.
        if own is not None and others == {own} and STREAM_NAME not in listed:
            yield _seen(look, name, f"{name} and {', '.join(listed)} are all in zone {own}")


@rule(
    "SYN06",
    Severity.CRITICAL,
    "commits wait for a standby now",
    why="These sessions hang, and statement_timeout does not end them. Cancelling one answers success, although no "
    "standby has the commit.",
    fix='bring the standby back (pgtandem apply), or synchronous = "none" under [replication], then pgtandem apply',
)
def waiting_now(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        # What waits for a moment only is how synchronous replication works.
        if examination.waiting_commits and examination.waiting_seconds >= 1:
            count, seconds = examination.waiting_commits, examination.waiting_seconds
            who = "1 session waits" if count == 1 else f"{count} sessions wait"
            yield Seen(name, f"{who}, the first for {seconds:.0f} s")


@rule(
    "SYN08",
    Severity.CRITICAL,
    "commits wait until a standby has replayed, and it replays late by design",
    why="With remote_apply every commit waits for the standby's replay. That takes its whole delay, or as long as a "
    "query there may hold replay up.",
    fix='durability = "on" under [replication], then pgtandem apply',
)
def apply_waits(look: Look) -> Iterator[Seen]:
    for name, _, listed in _waiting_primaries(look):
        if look.value(name, _COMMIT) != "remote_apply":
            continue
        for other, _ in look.standbys():
            if not look.is_listed(other, listed):
                continue
            for setting, late in (("recovery_min_apply_delay", 0), ("max_standby_streaming_delay", -1)):
                value = look.number(other, setting)
                if value is not None and ((late == 0 and value > 0) or value == -1):
                    yield Seen(
                        other,
                        f"{look.shown(name, _COMMIT)} on {name}, {look.shown(other, setting)}",
                        look.where(other, setting),
                    )


@rule(
    "SYN09",
    Severity.HIGH,
    "a delayed standby may have to confirm commits or take over",
    why="A standby that replays late is there to look back. As a synchronous one it holds commits up with "
    "remote_apply, and promoted it first has to replay what it put off.",
    fix="take recovery_min_apply_delay out, or the node out of those that may confirm",
)
def delayed(look: Look) -> Iterator[Seen]:
    for name, _ in look.standbys():
        delay = look.recovery(name, "recovery_min_apply_delay")
        if delay in ("", "0"):
            continue
        listed = any(look.is_listed(name, names) for _, _, names in _waiting_primaries(look))
        wished = look.topology.node(name).apply_delay is not None
        only = len(list(look.standbys())) == 1 and not wished
        if listed or only:
            why = f"it is in {_NAMES}" if listed else "there is no other standby"
            yield Seen(
                name, f"recovery_min_apply_delay = {delay}, and {why}", look.where(name, "recovery_min_apply_delay")
            )


@rule(
    "SYN10",
    Severity.MEDIUM,
    "a synchronous standby is still catching up",
    why="It confirms nothing before it has caught up. Until then one more failure may stop writes.",
    fix="wait, and see its lag in pgtandem status",
)
def catching_up(look: Look) -> Iterator[Seen]:
    for name, server, listed in _waiting_primaries(look):
        for sender in _listed_senders(server, listed):
            if sender.state == "catchup":
                yield Seen(name, f"{sender.application_name} is in state catchup")
