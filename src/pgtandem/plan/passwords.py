"""New passwords for the superuser and the replication role of a running cluster.

The new ones are stored beside the old ones first; then the roles get them; then every node's passfile; then every
standby is made to connect again and seen to stream; and only then the old ones are forgotten. Cut off anywhere, the
stored ones tell how far it was, and the usual plan goes on from there.
"""

from dataclasses import replace

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.names import SUPERUSER, NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.desired import Wish
from pgtandem.plan.draft import Draft
from pgtandem.plan.order import ordered
from pgtandem.plan.roles import decide_primary
from pgtandem.plan.rotation import finish_rotation, roles_with_password

_CLIENTS = f"Clients that log in as {SUPERUSER} need the new password: pgtandem uri names a passfile that has it."


def plan_rotation(topology: Topology, observed: Observed, *, before: str) -> Plan:
    """The plan that gives both roles new passwords; once they are others than `before`, the plan that converges.

    What else there is to do comes first. Raises PgtandemError PT-3044, and what `plan_converge` raises.
    """
    usual = plan_converge(topology, observed)
    if observed.passwords.which != before:
        return usual
    _refuse_late_upstreams(topology, decide_primary(topology, observed))
    if usual.steps:
        return replace(usual, look_again=True)
    draft = Draft(Wish(topology, observed, decide_primary(topology, observed)))
    draft.add(
        Step(
            "cluster.passwords",
            StepKind.NEW_PASSWORDS,
            draft.wish.primary,
            f"make new passwords for {' and '.join(roles_with_password(observed))}",
            "They are kept beside the old ones until everybody is seen to have them.",
            Risk.CREATE,
        )
    )
    finish_rotation(draft, begun=True)
    return Plan(
        primary=draft.wish.primary,
        steps=ordered(draft.steps),
        notes=(*draft.notes, *((_CLIENTS,) if observed.passwords.superuser else ())),
    )


def _refuse_late_upstreams(topology: Topology, primary: NodeName) -> None:
    problems = tuple(
        Problem(
            below,
            f"{below} streams from {node.name}, which replays {node.apply_delay} late",
            f"{node.name} would ask it for the old password until then, and for the new one afterwards.",
            f"let {below} follow another node for now (nodes.{below}.upstream), and apply",
        )
        for node in topology.nodes
        if node.apply_delay is not None
        for below in topology.standbys_of(node.name, primary)
    )
    if problems:
        raise PgtandemError("PT-3044", "the passwords cannot be changed now", problems=problems)
