"""A restore for trial: the last backup in a scratch place, brought to the end of the archive, checked, and removed."""

from dataclasses import replace

from pgtandem.model.facts import Known
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.restore import RESTORED, RestoreOrder
from pgtandem.model.topology import Topology
from pgtandem.plan.order import ordered
from pgtandem.plan.recovery import RESTORE_FILE, is_drills
from pgtandem.plan.restore import (
    clear_leftovers,
    forewarned,
    holds,
    other_data,
    recover,
    refuse_full,
    refuse_in_the_way,
    refuse_unseen,
    unpack,
)


def plan_drill(
    topology: Topology, observed: Observed, order: RestoreOrder, *, query: str = "", database: str = "postgres"
) -> Plan:
    """Empty once the result stands beside the backup and nothing is left of the trial. `topology` is what
    `restore_topology` makes. Raises PgtandemError as `plan_restore` does; the folder of a drill is the drill's own."""
    node = observed.nodes[RESTORED]
    done = _noted(observed, order)
    if done:
        return Plan(primary=None, steps=_removal(observed, order, needs=()))
    refuse_unseen(node, order)
    steps: list[Step] = []
    if node.leftovers:
        steps.append(clear_leftovers(node))
    there = node.directory is not None
    if node.directory is not None and not is_drills(node.directory.files.get(RESTORE_FILE)):
        raise other_data(order)
    if there and not holds(node, order):
        (old,) = _removal(observed, order, needs=())
        steps.append(replace(old, id="restored.clear", what="remove what an interrupted drill left"))
        there = False
    if not there:
        refuse_in_the_way(node, order)
        refuse_full(node, order)
        steps.append(unpack(node, order))
    if node.running is None or node.running.in_recovery or not there:
        steps.append(recover(node, order))
    programs = node.programs.value.directory if isinstance(node.programs, Known) else ""
    steps.append(
        Step(
            "restored.check",
            StepKind.CHECK_RESTORED,
            RESTORED,
            "check what came back, and write the result down beside the backup",
            "A backup that was never restored is a hope.",
            Risk.READ,
            needs=("restored.recover",),
            programs=programs,
            names=(query, database),
            restore=order,
        )
    )
    steps += _removal(observed, order, needs=("restored.check",), foreseen=True)
    return Plan(primary=None, steps=ordered(steps), notes=forewarned(order))


def plan_drill_failed(topology: Topology, observed: Observed, order: RestoreOrder, trouble: str) -> Plan:
    """The end of a drill that failed: why is written down, and nothing of it stays but that. `trouble` is "" where
    nothing is to be said against the backup."""
    steps: list[Step] = []
    if trouble and not _noted(observed, order):
        steps.append(
            Step(
                "restored.note",
                StepKind.NOTE_DRILL,
                RESTORED,
                "write down beside the backup that the drill failed",
                "status and doctor tell of it until another one passes.",
                Risk.CREATE,
                names=(trouble,),
                restore=order,
            )
        )
    steps += _removal(observed, order, needs=())
    return Plan(primary=None, steps=ordered(steps))


def _noted(observed: Observed, order: RestoreOrder) -> bool:
    backup = observed.backups.value.get(order.backup.label) if isinstance(observed.backups, Known) else None
    assert order.drill is not None
    return backup is not None and backup.drill is not None and backup.drill.at >= order.drill


def _removal(
    observed: Observed, order: RestoreOrder, *, needs: tuple[str, ...], foreseen: bool = False
) -> tuple[Step, ...]:
    node = observed.nodes[RESTORED]
    if node.directory is None and not node.leftovers and not foreseen:
        return ()
    programs = node.programs.value.directory if isinstance(node.programs, Known) else ""
    return (
        Step(
            "restored.remove",
            StepKind.REMOVE_RESTORED,
            RESTORED,
            f"stop it, and remove {order.directory}",
            "It was there for the trial only.",
            Risk.CREATE,
            needs=needs,
            proves=(Condition("data_absent", RESTORED),),
            programs=programs,
            names=node.leftovers,
            restore=order,
        ),
    )
