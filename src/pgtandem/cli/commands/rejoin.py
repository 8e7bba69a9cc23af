"""pgtandem rejoin: a former primary comes back as a standby."""

import argparse

from pgtandem.apply.engine import Outcome
from pgtandem.apply.holding import GivesWay
from pgtandem.cli.changing import change, write_client_passfile
from pgtandem.cli.invocation import spelled
from pgtandem.cli.named import named_node
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.plan.rejoin import rejoin_question
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when the node is a standby, 2 when somebody said no."""
    path = topology_path(options)
    topology = read_topology(path)
    node = named_node(topology, options.node)
    assert node is not None
    question = rejoin_question(node, copy=options.copy)

    async def work(world: World) -> Outcome:
        outcome = await change(
            topology, world, question, yes=options.yes, command="rejoin", gives=GivesWay.WHILE_COPYING
        )
        if not outcome.declined:
            write_client_passfile(topology, world)
        return outcome

    outcome = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    if outcome.plan.primary is None:
        print("\n".join(outcome.plan.notes))
    if outcome.steps_done:
        print(f"{node} is a standby of cluster {topology.cluster} again")
        print(spelled("next:  pgtandem status", path))
    else:
        print(f"{node} has nothing to come back from; nothing to do")
    return 0
