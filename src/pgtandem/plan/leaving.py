"""Where a primary is said to be dead and nobody can look, the standbys leave it before one of them is promoted.

It may be frozen or cut off, and go on. Commits that wait for standbys are then confirmed by those that still stream
from it, and are lost with the timeline that they are on. So whoever is seen is told to follow the successor first,
which is a standby still; and only if nobody has more than the successor after that, it is promoted. The others were
counted: without those that left, the old primary is confirmed nothing any more (`candidates`: acknowledged commits).
Where commits wait for nobody it is done all the same: one that still streams could receive more than the successor had
when it was promoted, and would have to be rewound.
"""

from dataclasses import replace

from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, StepKind
from pgtandem.model.topology import Method, Topology
from pgtandem.plan.draft import Draft

_WHY = "The old primary may go on after all: then nothing that it commits may be confirmed to its clients."

_AHEAD = "The old primary may go on after all: then nobody may receive more than the successor has."


def without_upstreams(topology: Topology, lost: tuple[NodeName, ...]) -> Topology:
    """The topology as it is until a lost node is back: what was to follow it follows the primary."""
    nodes = tuple(replace(node, upstream=None) if node.upstream in lost else node for node in topology.nodes)
    return replace(topology, nodes=nodes)


def leave_first(draft: Draft, to: NodeName) -> None:
    """Puts what moves the other standbys before the promotion of `to`, which then expects to have the most.

    For drafts with all steps of a failover.
    """
    wish, promotion = draft.wish, f"{to}.promote"
    why = _AHEAD if wish.topology.replication.synchronous.method is Method.NONE else _WHY
    node, moving = wish.node(to), list[str]()
    others = [name for name in wish.topology.names if name != to and _is_standby(draft, name)]
    for name in others:
        steps = [step for step in draft.steps if step.node == name and step.kind is not StepKind.PROVE_REPLICATION]
        for step in steps:
            needs = tuple(need for need in step.needs if need != promotion)
            # The last of them, a restart where a reload is not enough, takes it off the old primary.
            last = (Condition("follows_only", name, f"{node.address} {node.port}"),) if step is steps[-1] else ()
            proves = (*step.proves, *last)
            draft.steps[draft.steps.index(step)] = replace(step, why=why, needs=needs, proves=proves)
            moving.append(step.id)
    most = tuple(Condition("has_received_all_of", to, name) for name in others)
    draft.steps[:] = [
        replace(step, needs=(*step.needs, *moving), expects=(*step.expects, *most)) if step.id == promotion else step
        for step in draft.steps
    ]


def _is_standby(draft: Draft, name: NodeName) -> bool:
    server = draft.wish.seen(name).running
    return server is not None and server.in_recovery
