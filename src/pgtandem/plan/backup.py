"""A base backup: from which node, proven how, and which older ones it takes the place of.

It is made under another name, its WAL is seen in the archive, its content is checked, and only then it gets its name,
by one rename: whatever has a name is good. A run that was cut off after the data was whole goes on with that backup.
"""

from dataclasses import replace

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup, BackupKind, Backups, HalfMade, Verified
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.topology import HostAddress, Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.backup_room import backup_room
from pgtandem.plan.kept_archive import kept_archive, no_archive_there
from pgtandem.plan.order import ordered
from pgtandem.plan.pruning import expired_steps, prune_step
from pgtandem.plan.refusals import refuse_foreign
from pgtandem.plan.retention import spared, surely_now
from pgtandem.plan.summaries import lacks_summaries
from pgtandem.postgres.base_backups import new_label


@dataclass(frozen=True, slots=True)
class BackupOrder:
    """What was asked for: a backup of this label, begun at this time, from a node or the one that fits best."""

    label: str
    kind: BackupKind
    now: float
    source: NodeName | None = None


def order_backup(
    topology: Topology, observed: Observed, kind: BackupKind | None, source: NodeName | None, now: float
) -> BackupOrder:
    """The backup that a run makes: the one that an earlier run left whole and unproven, or a new one.

    `kind` None means an incremental one where the topology asks for those and there is one to continue.
    """
    backups = observed.backups.value if isinstance(observed.backups, Known) else Backups()
    for backup in backups.found:
        if _left_behind(observed, backup):
            continue
        if not backup.kept and kind in (None, backup.kind) and source in (None, backup.node):
            return BackupOrder(backup.label, backup.kind, now, backup.node)
    wanted = kind or BackupKind.FULL
    if kind is None and topology.backup.incremental:
        parent = _parent(topology, observed, backups)
        chain = backups.chain(parent) if parent else None
        young = chain is not None and now - chain[0].ended < topology.backup.full_every_seconds
        if parent and young and _can_continue(topology, observed, parent, source):
            wanted = BackupKind.INCREMENTAL
    return BackupOrder(new_label(now, wanted), wanted, now, source)


def plan_backup(topology: Topology, observed: Observed, order: BackupOrder) -> Plan:
    """The plan that makes this backup and removes what [backup] says is not kept; empty once that is so.

    Raises PgtandemError: PT-3051 without an archive, PT-3071 where another tool keeps it, PT-3052 where there is
    nothing to back up from, PT-3053 for an incremental one that cannot be, PT-3009 for one that does not fit on the
    archive's disk, PT-3008 for an archive that cannot be looked at.
    """
    refuse_foreign(topology, observed)
    backups = backups_in_archive(topology, observed)
    primary = _primary(observed)
    _refuse_without_folder(topology, observed, primary)
    made = backups.get(order.label)
    incremental = order.kind is BackupKind.INCREMENTAL
    parent = _parent(topology, observed, backups) if incremental else None
    source = made.node if made else _source(topology, observed, primary, order.source, parent)
    steps = [*_leftovers(observed, backups, source), *_half_made_tars(observed, source)]
    notes: list[str] = []
    if made is None or not made.kept:
        steps += _make(topology, observed, backups, order, source, primary, made)
        notes += _where(topology, source, primary, asked=order.source is not None)
        if made is None and not incremental:
            notes += backup_room(topology, observed, backups, source)
        if topology.backup.keep is not None or topology.backup.keep_for_seconds is not None:
            notes.append("WAL that no backup and no standby needs any more is removed from the archive afterwards.")
    after = backups if made and made.kept else _foreseen(topology, observed, backups, order, source, made)
    surely = surely_now(observed, order.now)
    removals, left = expired_steps(topology, backups, after, source, surely)
    notes += spared(after, topology.backup, surely)
    steps += removals
    prune = prune_step(topology, observed, left, source, ("backup.keep", *(step.id for step in removals)))
    if isinstance(prune, Step):
        steps.append(prune)
    elif prune is not None:
        notes.append(prune)
    return Plan(primary=primary, steps=ordered(steps), notes=tuple(notes))


def backups_in_archive(topology: Topology, observed: Observed) -> Backups:
    """Raises PgtandemError PT-3051, PT-3071 and PT-3008, as `plan_backup` does."""
    kept_archive(topology, "back up")
    if isinstance(observed.backups, Known):
        return observed.backups.value
    why = observed.backups.sentence if isinstance(observed.backups, Unknown) else "There is no archive yet."
    raise PgtandemError("PT-3008", "could not look at the backups in the archive", why=why, next_step="pgtandem status")


def _refuse_without_folder(topology: Topology, observed: Observed, primary: NodeName) -> None:
    """A backup makes no archive: where its disk is not mounted, backup and WAL would go to the disk below."""
    control, archive = observed.nodes[primary].control, observed.archive
    assert topology.archive is not None
    if isinstance(archive, Unknown) or control is None:
        return
    folders = (*archive.value.systems, *archive.value.elsewhere) if isinstance(archive, Known) else ()
    if control.system_identifier in folders:
        return
    raise no_archive_there(topology, needed="A backup needs the WAL that follows it, in the archive. ")


def _primary(observed: Observed) -> NodeName:
    primaries = observed.primaries()
    if len(primaries) == 1:
        return primaries[0]
    what = "no node runs as the primary" if not primaries else f"{' and '.join(primaries)} run as primaries"
    raise PgtandemError(
        "PT-3052",
        f"cannot take a backup: {what}",
        why="The WAL that makes a backup whole comes from the primary.",
        next_step="pgtandem status",
    )


def _source(
    topology: Topology, observed: Observed, primary: NodeName, wanted: NodeName | None, parent: Backup | None
) -> NodeName:
    """The first standby that is fit, else the primary: a backup is work that the primary need not have. One that
    continues `parent` is taken from a node that knows what changed since."""
    if wanted is not None:
        objection = _objection(topology, observed, primary, wanted, parent)
        if objection:
            raise PgtandemError(
                "PT-3052",
                f"cannot take a backup from {wanted}: {objection}",
                next_step="pgtandem backup   (takes it from the node that fits best)",
            )
        return wanted
    standbys = [name for name in topology.names if name != primary]
    for name in (*standbys, primary):
        if not _objection(topology, observed, primary, name, parent):
            return name
    if parent is not None:
        raise _no_incremental(f"no node has the summaries of all WAL since {parent.label}")
    raise PgtandemError(
        "PT-3052",
        "there is no node that a backup could be taken from",
        why=f"{primary}, the primary: {_objection(topology, observed, primary, primary)}.",
        next_step="take [archive] host out of the topology file, or put a node on that host",
    )


def _can_continue(topology: Topology, observed: Observed, parent: Backup, source: NodeName | None) -> bool:
    """Whether there is a node that an incremental backup after `parent` can be taken from."""
    primaries = observed.primaries()
    return len(primaries) == 1 and any(
        not _objection(topology, observed, primaries[0], name, parent) and not _has_tablespaces(observed, name)
        for name in ([source] if source else topology.names)
    )


def _has_tablespaces(observed: Observed, name: NodeName) -> bool:
    """They are restored from full backups only."""
    data = observed.nodes[name].directory
    return data is not None and bool(data.tablespaces)


def _objection(
    topology: Topology, observed: Observed, primary: NodeName, name: NodeName, parent: Backup | None = None
) -> str:
    """Why a backup cannot be taken from a node; "" where it can (manual, 25.3 and pg_basebackup)."""
    node, top = observed.nodes[name], observed.nodes[primary].running
    assert top is not None
    if node.running is None:
        return "its server does not run"
    if parent is not None and lacks_summaries(node.running, top, parent):
        return f"it lacks summaries of the WAL since {parent.label}"
    if name == primary:
        return ""
    if topology.node(name).apply_delay is not None:
        return "it replays late on purpose"
    if node.running.timeline != top.timeline:
        return f"it is on timeline {node.running.timeline}, {primary} on {top.timeline}"
    if node.running.replay_paused:
        return "its replay is paused"
    upstream = topology.upstream_of(name, primary)
    there = observed.nodes[upstream].running if upstream else None
    if there is None or not any(
        sender.application_name == name and sender.state == "streaming" for sender in there.senders
    ):
        return "it does not stream"
    full = top.settings.get("full_page_writes")
    if full is not None and full.value == "off":
        return "full_page_writes is off"
    return ""


def _host_of(topology: Topology, source: NodeName) -> HostAddress:
    """Where a backup lies: on the archive's host, or where each node archives at home, on its source's."""
    assert topology.archive is not None
    return topology.archive.host or topology.node(source).host


def _parent(topology: Topology, observed: Observed, backups: Backups) -> Backup | None:
    """The backup that an incremental one continues: the last sound one of this history (manual, 25.3.3)."""
    primaries = observed.primaries()
    top = observed.nodes[primaries[0]].running if len(primaries) == 1 else None
    if top is None or topology.postgresql < 17:
        return None
    timelines = {top.timeline, *(switch.timeline for switch in top.history)}
    sound = [backup for backup in backups.kept if backup.sound and backup.timeline in timelines]
    return sound[-1] if sound and backups.chain(sound[-1]) else None


def _check_incremental(topology: Topology, observed: Observed, backups: Backups, source: NodeName) -> Backup:
    """The parent. Raises PgtandemError PT-3053 where there can be no incremental backup."""
    what, server = "", observed.nodes[source].running
    parent = _parent(topology, observed, backups)
    next_step = "pgtandem backup --full"
    if topology.postgresql < 17:
        what = f"PostgreSQL {topology.postgresql} has none: they came with 17"
    elif parent is None:
        what = "there is no verified backup that it could continue"
    elif server is not None and (setting := server.settings.get("summarize_wal")) and setting.value != "on":
        what = f"summarize_wal is off on {source}"
        next_step = "incremental = true under [backup] in pgtandem.toml, then pgtandem apply"
    elif _has_tablespaces(observed, source):
        what = "there are tablespaces, which pgtandem restores from full backups only"
    if what or parent is None:
        raise _no_incremental(what, next_step)
    return parent


def _no_incremental(what: str, next_step: str = "pgtandem backup --full") -> PgtandemError:
    return PgtandemError(
        "PT-3053",
        f"cannot take an incremental backup: {what}",
        why="It is what changed since another backup, by the summaries of WAL that PostgreSQL keeps for that.",
        next_step=next_step,
    )


def _left_behind(observed: Observed, backup: Backup) -> bool:
    """Whether a backup has no name yet, and its timeline was left: the segment in which that happened comes into the
    archive on the next timeline alone, so that what the backup waits for may never come."""
    primaries = observed.primaries()
    top = observed.nodes[primaries[0]].running if len(primaries) == 1 else None
    return not backup.kept and top is not None and backup.timeline != top.timeline


def _leftovers(observed: Observed, backups: Backups, source: NodeName) -> list[Step]:
    left: list[HalfMade | Backup] = [*backups.half_made]
    left += [backup for backup in backups.found if _left_behind(observed, backup)]
    if not left:
        return []
    paths = tuple(f"{half.host.url} {half.folder}" for half in left)
    many = len(paths) > 1
    return [
        Step(
            "backup.leftovers",
            StepKind.REMOVE_BACKUP,
            source,
            f"remove {len(paths)} half-made backups" if many else "remove a half-made backup",
            "An interrupted run left it; nothing can be restored from it.",
            Risk.CREATE,
            names=paths,
        )
    ]


def _half_made_tars(observed: Observed, source: NodeName) -> list[Step]:
    """Where there are tablespaces, tars are written beside the data first: an interrupted run left them there."""
    node = observed.nodes[source]
    if node.running is None or not node.leftovers or node.claimed:
        return []
    return [
        Step(
            f"{source}.leftovers",
            StepKind.REMOVE_LEFTOVERS,
            source,
            f"remove what an interrupted run left half made beside its data ({len(node.leftovers)})",
            "They were never in use, and take room that the backup may need.",
            Risk.CREATE,
            names=node.leftovers,
        )
    ]


def _make(
    topology: Topology,
    observed: Observed,
    backups: Backups,
    order: BackupOrder,
    source: NodeName,
    primary: NodeName,
    made: Backup | None,
) -> list[Step]:
    programs = observed.nodes[source].programs
    control = observed.nodes[source].control
    assert control is not None
    incremental = order.kind is BackupKind.INCREMENTAL
    parent = made.parent if made else None
    if made is None and incremental:
        parent = _check_incremental(topology, observed, backups, source).label
    host = _host_of(topology, source)
    steps = []
    common = (order.label, host.url, control.system_identifier)
    where = programs.value.directory if isinstance(programs, Known) else ""
    if made is None:
        steps.append(
            Step(
                "backup.take",
                StepKind.TAKE_BACKUP,
                source,
                f"take {'an incremental' if incremental else 'a full'} backup from {source}",
                f"Only what changed since {parent} is copied."
                if parent
                else "All of the cluster's data, as it is now.",
                Risk.CREATE,
                needs=("backup.leftovers", f"{source}.leftovers"),
                expects=(Condition("answers", source),),
                proves=(Condition("backup_taken", source, order.label),),
                programs=where,
                names=(*common, order.kind.value, parent or ""),
                upstream=primary,
            )
        )
    steps += [
        Step(
            "backup.wal",
            StepKind.CHECK_BACKUP_WAL,
            source,
            "see the WAL that the backup needs in the archive",
            "Without it the backup could not be brought to any later moment.",
            Risk.READ,
            needs=("backup.take",),
            expects=(Condition("is_primary", primary),),
            names=common,
            upstream=primary,
        ),
        Step(
            "backup.verify",
            StepKind.VERIFY_BACKUP,
            source,
            "read the backup back and check every file of it",
            "What was never read back may not be there when it is needed.",
            Risk.READ,
            needs=("backup.take",),
            names=(*common, "part"),
        ),
        Step(
            "backup.keep",
            StepKind.KEEP_BACKUP,
            source,
            f"keep it as {order.label}",
            "It gets its name now that it is whole and proven.",
            Risk.CREATE,
            needs=("backup.wal", "backup.verify"),
            expects=(Condition("backup_taken", source, order.label),),
            proves=(Condition("backup_kept", source, order.label),),
            names=common,
        ),
    ]
    return steps


def _where(topology: Topology, source: NodeName, primary: NodeName, *, asked: bool) -> list[str]:
    assert topology.archive is not None
    notes = []
    if source == primary and len(topology.nodes) > 1 and not asked:
        notes.append(f"No standby is fit for it: the backup is taken from {primary}, the primary.")
    if topology.archive.host is None:
        notes.append(f"It lies on the host of {source}, as each node's archive lies on its own host.")
    return notes


def _foreseen(
    topology: Topology,
    observed: Observed,
    backups: Backups,
    order: BackupOrder,
    source: NodeName,
    made: Backup | None,
) -> Backups:
    """The backups as they will be, so that what goes because of the new one is shown with it."""
    parent = _parent(topology, observed, backups) if order.kind is BackupKind.INCREMENTAL else None
    new = made or Backup(
        *(order.label, order.kind, source, topology.cluster, "", topology.postgresql),
        *(Timeline(1), Lsn(0), Lsn(0), order.now, order.now, 0),
        parent=parent.label if parent else None,
    )
    new = replace(new, kept=True, verified=Verified(order.now))
    return replace(backups, found=(*(b for b in backups.found if b.label != order.label), new))


def plan_verify(topology: Topology, observed: Observed, labels: tuple[str, ...], since: float) -> Plan:
    """The plan that reads these backups back, all kept ones where none is named; empty once each was since then.

    Raises PgtandemError as `plan_backup` does.
    """
    backups = backups_in_archive(topology, observed)
    chosen = [backup for backup in backups.kept if not labels or backup.label in labels]
    steps = [
        Step(
            f"backup.{backup.label}.verify",
            StepKind.VERIFY_BACKUP,
            topology.names[0],
            f"read backup {backup.label} back and check every file of it",
            "Disks forget.",
            Risk.READ,
            names=(backup.label, backup.host.url, backup.system_identifier, "kept"),
        )
        for backup in chosen
        if backup.verified is None or backup.verified.at < since
    ]
    return Plan(primary=None, steps=tuple(steps))
