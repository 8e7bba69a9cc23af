"""pgtandem whatif: what it would mean if nodes went down now."""

import argparse
import json
import sys
from dataclasses import replace

from pgtandem.cli.json_views import whatif_json
from pgtandem.cli.named import named_failures
from pgtandem.cli.show_whatif import whatif_lines
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Absent, Known
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.parts import SERVER
from pgtandem.plan.whatif import WalRate, wal_rate, what_if
from pgtandem.ports import World

_APART_SECONDS = 1.0


def run(options: argparse.Namespace) -> int:
    """0 whatever the answer is: it was a question."""
    path = topology_path(options)
    topology = read_topology(path)
    down = named_failures(topology, options.failures)

    async def work(world: World) -> tuple[Observed, WalRate | None]:
        return await _look_twice(topology, world)

    observed, rate = in_world(path, topology, work, options)
    if all(isinstance(node.data, Absent) for node in observed.nodes.values()):
        raise PgtandemError("PT-2007", f"cluster {topology.cluster} is not built yet", next_step="pgtandem up")
    outcome = what_if(topology, observed, down, rate)
    if options.json:
        print(json.dumps(whatif_json(outcome, topology.cluster), indent=2))
    else:
        print("\n".join(whatif_lines(outcome, topology.cluster, Paint(sys.stdout), min(width(sys.stdout), 100))))
    return 0


async def _look_twice(topology: Topology, world: World) -> tuple[Observed, WalRate | None]:
    """A whole look, and how fast the primary writes WAL: two looks at its server alone, before and after a second.

    The first of these takes the place of the primary's part in the whole look: its position is then later than those of
    the standbys, and what they lack is never told too small.
    """
    observer, clock = Observer(topology, world), world.clock
    observed = await observer.cluster()
    primaries = observed.primaries()
    if len(primaries) != 1:
        return observed, None
    (primary,) = primaries
    before = (await observer.nodes({primary: SERVER})).nodes[primary].running
    began = clock.monotonic()
    await clock.sleep(_APART_SECONDS)
    after = (await observer.nodes({primary: SERVER})).nodes[primary].running
    if before is None or after is None:
        return observed, None
    seconds = clock.monotonic() - began
    seen = replace(observed.nodes[primary], server=Known(before))
    return replace(observed, nodes={**observed.nodes, primary: seen}), wal_rate(
        before.current_lsn, after.current_lsn, seconds
    )
