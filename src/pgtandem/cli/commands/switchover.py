"""pgtandem switchover: another node becomes the primary, and nothing is lost."""

import argparse

from pgtandem.apply.engine import Outcome, Question
from pgtandem.cli.changing import change, write_client_passfile
from pgtandem.cli.invocation import spelled
from pgtandem.cli.named import named_node
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import Family, PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.plan.candidates import Limits
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.roles import decide_primary, promised_primaries
from pgtandem.plan.switchover import choose_successor, plan_switchover
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when the node is the primary, 2 when somebody said no."""
    path = topology_path(options)
    topology = read_topology(path)
    to = named_node(topology, options.to)
    default = Limits()
    limits = Limits(
        default.lag_bytes if options.max_lag_bytes is None else options.max_lag_bytes,
        default.lag_seconds if options.max_lag_seconds is None else options.max_lag_seconds,
    )
    question = _question(to, limits)

    async def work(world: World) -> Outcome:
        try:
            outcome = await change(topology, world, question, yes=options.yes, command="switchover")
        except PgtandemError as failure:
            if failure.code.family not in (Family.APPLY, Family.OBSERVE):
                raise
            raise await _after_failure(topology, world, failure) from failure
        if not outcome.declined:
            write_client_passfile(topology, world)
        return outcome

    outcome = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    primary = outcome.plan.primary
    if outcome.steps_done:
        print(f"switched over: {primary} is the primary of cluster {topology.cluster}")
        print(spelled("next:  pgtandem status", path))
    else:
        print(f"{primary} is the primary of cluster {topology.cluster} already; nothing to do")
    return 0


def _question(to: NodeName | None, limits: Limits) -> Question:
    """The question, about the same node in every round: the best one of the first look where nobody named one."""
    chosen = to

    def question(topology: Topology, observed: Observed) -> Plan:
        nonlocal chosen
        if chosen is None:
            chosen = choose_successor(topology, observed, limits)
        return plan_switchover(topology, observed, chosen, limits)

    return question


async def _after_failure(topology: Topology, world: World, failure: PgtandemError) -> PgtandemError:
    """Where nobody was promoted yet, the old primary goes on at once: writes wait for that. Returns the failure, with
    what became of it."""
    try:
        observed = await Observer(topology, world).cluster()
        if observed.primaries() or promised_primaries(observed):
            return failure
        primary = decide_primary(topology, observed)
        await change(topology, world, plan_converge, yes=True, command="apply")
    except PgtandemError:
        return failure
    return PgtandemError(
        failure.code.text,
        failure.what,
        why=f"{failure.why}\n{primary} goes on as the primary.".strip(),
        next_step=failure.next_step,
        problems=failure.problems,
    )
