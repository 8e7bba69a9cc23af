"""Streaming itself: room for senders and slots, WAL that is kept or lost, who follows whom."""

from collections.abc import Iterator

from pgtandem.doctor.look import Look, in_parameters
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.facts import Unknown
from pgtandem.model.names import NodeName, SlotName, slot_name
from pgtandem.model.server import Slot
from pgtandem.postgres.versions import has_slot_cap, keeps_wal_level

_MEGABYTE = 1024 * 1024
_SMALL_KEPT_MEGABYTES = 1024


def _held(slot: Slot) -> str:
    return f"{(slot.held_bytes or 0) / _MEGABYTE:.0f} MB"


def _drop(look: Look, name: NodeName, slot: Slot) -> str:
    return look.psql(name, f"SELECT pg_drop_replication_slot('{slot.name}')")


@rule(
    "REP08",
    Severity.CRITICAL,
    "wal_level is minimal",
    why="WAL of that level cannot be streamed, archived or recovered from: no standby can follow, and a base backup is "
    "refused. Changing it needs a restart, and a new base backup afterwards.",
    fix=in_parameters("wal_level", "replica"),
)
def wal_level(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        level = look.value(name, "wal_level")
        if level and not keeps_wal_level(level):
            yield Seen(name, look.shown(name, "wal_level"), look.where(name, "wal_level"))


@rule(
    "REP09",
    Severity.HIGH,
    "there is no room for one more WAL sender",
    why="A base backup takes two senders for itself. Without them a lost standby cannot be replaced before the primary "
    "is restarted.",
    fix=in_parameters("max_wal_senders", "20"),
)
def senders(look: Look) -> Iterator[Seen]:
    standbys = len(look.topology.nodes) - 1
    for name, server in look.servers():
        room, used = look.number(name, "max_wal_senders"), max(len(server.senders), standbys)
        if room is not None and room < used + 2:
            what = f"max_wal_senders = {room}, {used} for standbys and 2 for a base backup"
            yield Seen(name, what, look.where(name, "max_wal_senders"))


@rule(
    "REP10",
    Severity.HIGH,
    "there is no room for one more replication slot",
    why="A node without room for the slots of all others cannot take over as the primary: its standbys would stream "
    "without slots, or not at all. Raising it needs a restart.",
    fix=in_parameters("max_replication_slots", "20"),
)
def slots_room(look: Look) -> Iterator[Seen]:
    standbys = len(look.topology.nodes) - 1
    for name, server in look.servers():
        room, used = look.number(name, "max_replication_slots"), len(server.slots)
        if room is not None and room < max(standbys, used + 1):
            what = f"max_replication_slots = {room}, {used} in use, {standbys} standbys"
            yield Seen(name, what, look.where(name, "max_replication_slots"))


@rule(
    "REP11",
    Severity.HIGH,
    "nothing keeps WAL for a standby that is away",
    why="Without a slot and without an archive only wal_keep_size is left. A standby that is away for longer than that "
    "lasts has to be copied anew.",
    fix='pgtandem apply (slots), and directory = "..." under [archive]',
)
def nothing_keeps_wal(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        sender = look.sender_of(name)
        if sender is None or server.receiver is None or server.receiver.slot or look.recovery(name, "restore_command"):
            continue
        upstream = sender[0]
        kept = look.number(upstream, "wal_keep_size")
        if kept is None:
            segment = look.number(upstream, "wal_segment_size") or 16 * _MEGABYTE
            kept = (look.number(upstream, "wal_keep_segments") or 0) * segment // _MEGABYTE
        if kept < _SMALL_KEPT_MEGABYTES:
            yield Seen(name, f"it streams from {upstream} without a slot, and {upstream} keeps {kept} MB")


@rule(
    "REP12",
    Severity.CRITICAL,
    "slots may fill the disk without a limit",
    why="A slot keeps WAL for as long as its standby is away, until the primary's disk is full and the primary stops. "
    "max_slot_wal_keep_size ends that earlier, at the price of the standby.",
    fix="pgtandem apply",
)
def no_cap(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        if not server.slots:
            continue
        if not has_slot_cap(server.major):
            what = f"PostgreSQL {server.major} has no limit for {len(server.slots)} slots"
            yield Seen(name, what, fix="watch the disk, or move to PostgreSQL 13 or later", severity=Severity.NOTE)
        elif look.number(name, "max_slot_wal_keep_size") == -1:
            yield Seen(name, look.shown(name, "max_slot_wal_keep_size"), look.where(name, "max_slot_wal_keep_size"))


def _idle(look: Look, name: NodeName, slot: Slot) -> bool:
    """Whether nobody uses a slot that keeps WAL. What a standby has synchronised from its primary is idle by design."""
    examination = look.examination(name)
    detail = examination.slots.get(slot.name) if examination else None
    return not slot.active and slot.restart_lsn is not None and not (detail and detail.synced)


@rule(
    "REP13",
    Severity.CRITICAL,
    "a slot that nobody uses keeps WAL",
    why="Everything that is written from now on stays in pg_wal for it, until the disk is full or the cap is reached. "
    "Forgotten slots are the most frequent way in which a primary runs out of disk.",
    fix="bring its user back, or drop it",
)
def idle_slot(look: Look) -> Iterator[Seen]:
    owners = {slot_name(name): name for name in look.topology.names}
    for name, server in look.primaries():
        capped = (look.number(name, "max_slot_wal_keep_size") or -1) >= 0
        for slot in server.slots.values():
            if not _idle(look, name, slot) or slot.wal_status == "lost":
                continue
            owner = owners.get(SlotName(slot.name))
            if owner and look.late_on_purpose(owner):
                continue
            fix = f"bring {owner} back: pgtandem apply" if owner else _drop(look, name, slot)
            if owner and isinstance(look.observed.nodes[owner].reachable, Unknown):
                fix = f"bring the host of {owner} back, or take [nodes.{owner}] out of the file: pgtandem apply"
            what = f"{slot.name} is not active and keeps {_held(slot)}"
            yield Seen(name, what, fix=fix, severity=Severity.HIGH if capped else None)


@rule(
    "REP14",
    Severity.HIGH,
    "a slot has lost the WAL that it was to keep",
    why="Its standby fell behind by more than the cap allows. It catches up from the archive, or has to be copied "
    "anew.",
    fix="pgtandem apply",
)
def lost_slot(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        for slot in server.slots.values():
            if slot.wal_status in ("lost", "unreserved"):
                yield Seen(name, f"{slot.name} is {slot.wal_status}")


@rule(
    "REP15",
    Severity.HIGH,
    "a slot on a standby keeps WAL there",
    why="Nothing moves such a slot on while the standby is one: its pg_wal grows until the disk is full. Slots of an "
    "earlier life as a primary are mostly forgotten there.",
    fix="drop it, or let its downstream stream",
)
def slot_on_standby(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        for slot in server.slots.values():
            if _idle(look, name, slot):
                yield Seen(name, f"{slot.name} is not active and keeps {_held(slot)}", fix=_drop(look, name, slot))


@rule(
    "REP16",
    Severity.HIGH,
    "a standby asks for a slot that its upstream does not have",
    why="The upstream refuses it every time, and the standby does not stream. Only its own log says so.",
    fix="pgtandem apply",
)
def missing_slot(look: Look) -> Iterator[Seen]:
    for name, _ in look.standbys():
        upstream, wanted = look.upstream(name), look.recovery(name, "primary_slot_name")
        server = look.observed.nodes[upstream].running if upstream else None
        if server and wanted and wanted not in server.slots:
            what = f"primary_slot_name = {wanted}, and {upstream} has no such slot"
            yield Seen(name, what, look.where(name, "primary_slot_name"))


@rule(
    "REP17",
    Severity.MEDIUM,
    "a standby streams without the slot that was made for it",
    why="The slot keeps WAL for nobody, and nothing keeps it for the standby. Both look right as long as nobody looks "
    "at both.",
    fix="pgtandem apply",
    by_sql=False,
)
def unused_slot(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        sender = look.sender_of(name)
        upstream = look.observed.nodes[sender[0]].running if sender else None
        slot = upstream.slots.get(slot_name(name)) if upstream else None
        if slot and not slot.active and server.receiver and not server.receiver.slot:
            yield Seen(name, f"it streams without a slot, and {slot.name} on {sender[0] if sender else ''} is idle")


@rule(
    "REP18",
    Severity.HIGH,
    "a logical slot does not survive a failover",
    why="The new primary does not have it: the subscriber stops, and what was written meanwhile is lost to it. From 17 "
    "on a slot can be made with failover = true and synchronised to standbys.",
    fix="from 17 on: the slot with failover = true, sync_replication_slots = on, hot_standby_feedback = on",
)
def logical_slot(look: Look) -> Iterator[Seen]:
    if len(look.topology.nodes) < 2:
        return
    for name, server, examination in look.examinations():
        if server.in_recovery:
            continue
        for slot in server.slots.values():
            detail = examination.slots.get(slot.name)
            if slot.kind == "logical" and not (detail and detail.failover):
                yield Seen(name, f"{slot.name} is logical and exists on {name} only")


@rule(
    "REP26",
    Severity.MEDIUM,
    "a standby streams from another node than the topology file says",
    why="The tree that is counted on is not the one that is there. What depends on which node, and who confirms "
    "commits, is then another question than it seems.",
    fix="pgtandem apply",
    by_sql=False,
)
def other_upstream(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        wanted, receiver = look.upstream(name), server.receiver
        if wanted is None or receiver is None or receiver.sender_port is None:
            continue
        node = look.topology.node(wanted)
        other_host = receiver.sender_host not in (node.address, None) and not look.one_machine
        if receiver.sender_port != node.port or other_host:
            what = f"it streams from {receiver.sender_host}:{receiver.sender_port}, not from {wanted}"
            yield Seen(name, what, look.where(name, "primary_conninfo"))


@rule(
    "REP27",
    Severity.MEDIUM,
    "a dead connection of replication is never noticed",
    why="With a timeout of 0 a sender or receiver waits for ever for a host that is gone without a word. A synchronous "
    "commit waits with it.",
    fix='wal_sender_timeout = "60s" and wal_receiver_timeout = "60s" under [parameters], then pgtandem apply',
)
def no_timeout(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        for setting in ("wal_sender_timeout", "wal_receiver_timeout"):
            if look.number(name, setting) == 0:
                yield Seen(name, look.shown(name, setting), look.where(name, setting), in_parameters(setting, "60s"))


@rule(
    "REP28",
    Severity.MEDIUM,
    "keepalives of the connection to the upstream are those of the system: hours",
    why="A firewall that forgets a quiet connection leaves the standby waiting at a dead one. The system asks after "
    "two hours by default.",
    fix="pgtandem apply",
)
def keepalives(look: Look) -> Iterator[Seen]:
    for name, _ in look.standbys():
        conninfo = look.conninfo(name)
        remote = conninfo.get("host", "/")[:1] != "/" and not look.one_machine
        if remote and "keepalives_idle" not in conninfo:
            yield Seen(name, "primary_conninfo has no keepalives_idle", look.where(name, "primary_conninfo"))
