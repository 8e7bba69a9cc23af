"""Backups that are not kept any longer, and WAL that nobody needs any more: older than every backup that stays, and
than what any standby may ask for."""

from dataclasses import replace

from pgtandem.model.backup import Backups
from pgtandem.model.facts import Absent, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.retention import expired


def expired_steps(
    topology: Topology, there: Backups, after: Backups, node: NodeName, now: float
) -> tuple[list[Step], Backups]:
    """The steps that remove what [backup] does not keep of the backups in `after`, as far as it is `there`; and the
    backups that will be left."""
    steps = [
        Step(
            f"backup.{backup.label}.remove",
            StepKind.REMOVE_BACKUP,
            node,
            f"remove backup {backup.label}",
            "The ones that stay are what [backup] asks to keep.",
            Risk.CREATE,
            needs=("backup.keep",),
            proves=(Condition("backup_gone", node, backup.label),),
            names=(f"{backup.host.url} {backup.folder}",),
        )
        for backup in expired(after, topology.backup, now)
        if there.get(backup.label) is not None
    ]
    gone = {step.id.removeprefix("backup.").removesuffix(".remove") for step in steps}
    return steps, replace(after, found=tuple(backup for backup in after.found if backup.label not in gone))


def prune_step(
    topology: Topology, observed: Observed, after: Backups, node: NodeName, needs: tuple[str, ...]
) -> Step | str | None:
    """The step that removes WAL from the archive, `after` being the backups that will be left. None where there is
    nothing to remove or nobody asked for it, and a sentence where it is not known what is needed."""
    policy = topology.backup
    if policy.keep is None and policy.keep_for_seconds is None:
        return None
    # A backup that is only foreseen begins later than any that is there.
    kept = [backup for backup in after.kept if backup.segment_bytes]
    if not any(backup.sound for backup in kept) or after.unreadable:
        return None
    size = kept[0].segment_bytes
    horizon = min(backup.start_lsn.position // size for backup in kept)
    for name in topology.names:
        seen = observed.nodes[name]
        if isinstance(seen.data, Absent):
            continue
        if seen.control is None:
            reason = f": {seen.data.reason}" if isinstance(seen.data, Unknown) else ""
            return f"WAL that no backup needs stays in the archive: it is not known what {name} needs{reason}."
        # From its last restartpoint on it may have to ask the archive; what is before that it has itself.
        horizon = min(horizon, seen.control.checkpoint_lsn.position // size)
        slots = seen.running.slots.values() if seen.running else ()
        for slot in slots:
            if slot.restart_lsn is not None and slot.kind == "physical":
                horizon = min(horizon, slot.restart_lsn.position // size)
    if after.oldest_segment is None or after.oldest_segment >= horizon:
        return None
    return Step(
        "backup.prune",
        StepKind.PRUNE_WAL,
        node,
        "remove WAL from the archive that no backup and no standby needs",
        f"{horizon - after.oldest_segment} segments are older than the oldest backup that stays.",
        Risk.CREATE,
        needs=needs,
        names=(kept[0].system_identifier, str(horizon), str(size)),
    )
