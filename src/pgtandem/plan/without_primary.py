"""No node is the primary, or nobody can tell which: standbys that are stopped are started all the same.

A failover can only choose a standby that runs, since only that tells how far it has WAL. So a machine room that comes
back without its primary must not need `pg_ctl`: what `apply` can do is done, and who becomes the primary stays a
person's question.
"""

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Absent
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.plan.changes import start
from pgtandem.plan.desired import Wish
from pgtandem.plan.draft import Draft
from pgtandem.plan.order import ordered
from pgtandem.plan.roles import seen_as_standby


def start_standbys(topology: Topology, observed: Observed, refusal: PgtandemError) -> Plan | None:
    """The plan that starts the standbys that are stopped; None where there is none. `refusal` is why nothing more is
    done, and is raised by the look after these steps."""
    names = [name for name in topology.names if _is_stopped(observed, name)]
    if not names or any(former.observed.directory for former in observed.former):
        return None  # a topology file that lacks a node with data is put right first
    draft = Draft(Wish(topology, observed, topology.nodes[0].name))
    for name in names:
        start(draft, name, "is_standby", ())
    note = f"Nothing but standbys is started: {refusal.what}."
    return Plan(primary=None, steps=ordered(draft.steps), notes=(note,), look_again=True)


def _is_stopped(observed: Observed, name: NodeName) -> bool:
    node = observed.nodes[name]
    if node.directory is None or not node.directory.standby_signal or not isinstance(node.postmaster, Absent):
        return False
    return seen_as_standby(node)
