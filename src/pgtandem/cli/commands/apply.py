"""pgtandem apply: makes the cluster what the topology file says."""

import argparse
from functools import partial

from pgtandem.apply.engine import Outcome, Question
from pgtandem.apply.holding import GivesWay
from pgtandem.cli.changing import change, write_client_passfile, write_client_root
from pgtandem.cli.invocation import spelled
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.observe.passwords import observe_passwords
from pgtandem.plan.archiving import archives_again
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.passwords import plan_rotation
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when the cluster is what the topology file says, 2 when somebody said no."""
    path = topology_path(options)
    topology = read_topology(path)

    again = False

    def converge(topology: Topology, observed: Observed) -> Plan:
        nonlocal again
        again = again or archives_again(topology, observed)
        return plan_converge(topology, observed)

    async def work(world: World) -> Outcome:
        question: Question = converge
        if options.rotate_passwords:
            question = partial(plan_rotation, before=observe_passwords(world.workspace).which)
        outcome = await change(
            topology, world, question, yes=options.yes, command="apply", gives=GivesWay.WHILE_COPYING
        )
        if not outcome.declined:
            write_client_passfile(topology, world)
            write_client_root(topology, world)
        return outcome

    outcome = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    if outcome.steps_done:
        print(f"converged: cluster {topology.cluster} is what the topology file says")
        backup = "pgtandem backup --full   (the backups that are there lead only to when archiving was turned off)"
        print(spelled(f"next:  {backup if again else 'pgtandem status'}", path))
    else:
        print(f"converged: cluster {topology.cluster} is what the topology file says; nothing to do")
    return 0
