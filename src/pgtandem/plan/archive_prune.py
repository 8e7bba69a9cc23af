"""What leaves the archive without a new backup: backups that [backup] does not keep, and WAL that nobody needs."""

from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan, Step
from pgtandem.model.topology import Topology
from pgtandem.plan.backup import backups_in_archive
from pgtandem.plan.order import ordered
from pgtandem.plan.pruning import expired_steps, prune_step
from pgtandem.plan.refusals import refuse_foreign
from pgtandem.plan.retention import spared, surely_now


def plan_archive_prune(topology: Topology, observed: Observed, now: float) -> Plan:
    """Empty once nothing is there that may go; its notes say why something stays.

    Raises PgtandemError: PT-3051 without an archive, PT-3071 where another tool keeps it, PT-3008 for one that cannot
    be looked at.
    """
    refuse_foreign(topology, observed)
    backups = backups_in_archive(topology, observed)
    primaries = observed.primaries()
    node = primaries[0] if len(primaries) == 1 else topology.names[0]
    surely = surely_now(observed, now)
    removals, left = expired_steps(topology, backups, backups, node, surely)
    steps = list(removals)
    prune = prune_step(topology, observed, left, node, tuple(step.id for step in removals))
    if isinstance(prune, Step):
        steps.append(prune)
    notes = [*spared(backups, topology.backup, surely), *([prune] if isinstance(prune, str) else [])]
    return Plan(primary=primaries[0] if len(primaries) == 1 else None, steps=ordered(steps), notes=tuple(notes))


def why_it_stays(topology: Topology, observed: Observed) -> str:
    """Why there is nothing to remove, where the plan is empty."""
    policy, backups = topology.backup, backups_in_archive(topology, observed)
    if policy.keep is None and policy.keep_for_seconds is None:
        return "[backup] has neither keep nor keep_for, so that everything is kept"
    if not any(backup.sound for backup in backups.kept):
        return "there is no verified backup, and without one nothing is removed"
    if backups.unreadable:
        return f"what WAL {backups.unreadable[0][0]} needs cannot be read, so that all WAL is kept"
    return "every backup is one to keep, and its WAL with it"
