"""pgtandem drill: the last backup restored for trial."""

import argparse
from functools import partial

from pgtandem.apply.engine import Outcome, carry_out
from pgtandem.apply.holding import GivesWay
from pgtandem.apply.report import Silent
from pgtandem.cli.changing import change
from pgtandem.cli.invocation import spelled
from pgtandem.cli.named import named_backup, named_node
from pgtandem.cli.restore_order import order_restore
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import Family, PgtandemError
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan, Risk
from pgtandem.model.restore import RestoreOrder, Target, TargetKind
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.query_check import observe_mistake
from pgtandem.observe.restorable import Restorable, observe_restorable
from pgtandem.plan.drill import plan_drill, plan_drill_failed
from pgtandem.plan.intervals import choose
from pgtandem.plan.restore import restore_topology
from pgtandem.ports import World

#: What came back was right, whatever else went wrong.
_RESTORED = ("PT-4057", "PT-4058")


def run(options: argparse.Namespace) -> int:
    """0 when it passed, 2 when somebody said no."""
    path = topology_path(options)
    topology = read_topology(path)
    if options.database is not None and not options.query:
        what = "drill asks nothing in a database without --query"
        raise PgtandemError("PT-1006", what, next_step=f'pgtandem drill --database {options.database} --query "SQL"')

    async def work(world: World) -> tuple[Outcome, RestoreOrder]:
        database = options.database or "postgres"
        observed = await Observer(topology, world).cluster()
        restorable = await observe_restorable(topology, world)
        if options.query:
            await _check_query(topology, world, observed, options.query, database)
        order = await _order(topology, world, observed, restorable, options)
        question = partial(plan_drill, order=order, query=options.query, database=database)
        trial = restore_topology(topology, order)
        try:
            outcome = await change(trial, world, question, yes=options.yes, command="drill", gives=GivesWay.ALWAYS)
            return outcome, order
        except PgtandemError as failure:
            if failure.code.family in (Family.APPLY, Family.VERIFY, Family.OBSERVE) and failure.code.text != "PT-4009":
                await _clean_up(trial, world, order, failure)
            raise

    outcome, order = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    print(f"backup {order.backup.label} of cluster {topology.cluster} can be restored")
    print(spelled("next:  pgtandem backup list", path))
    return 0


async def _order(
    topology: Topology, world: World, observed: Observed, restorable: Restorable, options: argparse.Namespace
) -> RestoreOrder:
    target = Target(TargetKind.LATEST, "latest")
    last = restorable.backups.kept[-1].label if restorable.backups.kept else None
    if options.backup:
        last = named_backup(restorable.backups, options.backup).label
    return await order_restore(
        topology,
        world,
        observed,
        restorable,
        choose(restorable.intervals, target, None, last),
        target,
        like=named_node(topology, options.like),
        directory=options.into,
        port=options.port,
        drill=world.clock.now(),
    )


async def _check_query(topology: Topology, world: World, observed: Observed, query: str, database: str) -> None:
    """A server of the cluster is shown it before anything is restored for it. Raises PgtandemError PT-3058."""
    mistake = await observe_mistake(topology, world, observed, query, database)
    if isinstance(mistake, Known):
        node, words = mistake.value.node, mistake.value.words
        raise PgtandemError(
            "PT-3058",
            f"the query cannot be asked: {words[:1].lower()}{words[1:].rstrip('.')}",
            why=f"So says {node} of it in database {database}; it carried nothing out, and nothing was restored.",
            next_step="mend --query, or name the database that it is for: --database NAME",
        )
    if isinstance(mistake, Unknown):
        print(f"whether the query can be asked, only what comes back tells ({mistake.reason})", flush=True)


async def _clean_up(trial: Topology, world: World, order: RestoreOrder, failure: PgtandemError) -> None:
    """Whatever failed, nothing of the trial stays but the note; what cannot be cleaned up now, the next drill does."""
    trouble = f"{failure.what}. {failure.why}".strip().replace("\n", " ")
    if failure.code.text in _RESTORED:
        trouble = ""

    async def agreed(_: Plan, __: Risk | None) -> bool:
        return True

    question = partial(plan_drill_failed, order=order, trouble=trouble)
    try:
        await carry_out(trial, world, question, agreed, Silent(), "drill", gives=GivesWay.ALWAYS)
    except PgtandemError as another:
        failure.why += f"\nCleaning up failed too: {another.what}."
