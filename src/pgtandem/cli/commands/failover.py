"""pgtandem failover: a standby becomes the primary where the primary is gone."""

import argparse

from pgtandem.apply.engine import Outcome
from pgtandem.cli.changing import change, write_client_passfile
from pgtandem.cli.invocation import spelled
from pgtandem.cli.named import named_node
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.plan.failover import choose_for_failover, plan_failover
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when the node is the primary, 2 when somebody said no."""
    path = topology_path(options)
    topology = read_topology(path)
    chosen = named_node(topology, options.to)

    def question(topology: Topology, observed: Observed) -> Plan:
        """About the same node in every round: the best one of the first look where nobody named one."""
        nonlocal chosen
        if chosen is None:
            chosen = choose_for_failover(topology, observed, archive_lost=options.the_archive_is_lost)
        dead, archive_lost = options.the_primary_is_dead, options.the_archive_is_lost
        return plan_failover(topology, observed, chosen, dead=dead, archive_lost=archive_lost)

    async def work(world: World) -> Outcome:
        outcome = await change(
            topology, world, question, yes=options.yes, command="failover", urgent=True, goes_first=True
        )
        if not outcome.declined:
            write_client_passfile(topology, world)
        return outcome

    outcome = in_world(path, topology, work, options, urgent=True)
    if outcome.declined:
        return 2
    for note in outcome.plan.notes:
        if note.startswith("Left: "):
            print(spelled(note, path))
    if outcome.steps_done:
        print(f"failed over: {chosen} is the primary of cluster {topology.cluster}")
    else:
        print(f"{chosen} is the primary of cluster {topology.cluster} already; nothing to do")
    print(spelled("next:  pgtandem status", path))
    return 0
